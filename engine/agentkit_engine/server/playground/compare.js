// The same request in other ways, one after the other, side by side. Must not know how it is sent.

import { brief, effort, element, least, outcome, spent } from "./result.js";

const STEPS = [1, 2, 4, 8];

const named = ({ steps, layout }) => `${layout}, ${steps} ${steps === 1 ? "step" : "steps"}`;
const says = ({ filled }) => JSON.stringify(outcome(filled).value);

// Fills `ways` (an element) as they come; returns what they have in common, in words.
// fill(asked, onDraft) runs one, watch(way) shows its drafts, told(what) says how far it is.
export async function compare(asked, { ways, layouts, fill, watch, told }) {
  const all = STEPS.flatMap((steps) => layouts.map((layout) => ({ steps, layout, drafts: [] })));
  for (const way of all) way.box = card(way);
  ways.style.setProperty("--columns", layouts.length);
  ways.replaceChildren(...all.map((way) => way.box));
  for (const [done, way] of all.entries()) {
    told(`${done} of ${all.length}`);
    const settings = { ...asked.settings, steps: way.steps, layout: way.layout };
    try {
      way.filled = await fill({ ...asked, settings }, (draft) => way.drafts.push(draft));
      draw(way, watch);
    } catch (error) {
      if (error.name === "AbortError" || done === 0) {
        for (const { filled, box } of all) if (!filled) box.lastChild.textContent = "not run";
        told("");
        throw error;
      }
      way.box.lastChild.replaceWith(element("p", { className: "error", textContent: error.message }));
    }
  }
  const found = common(all.filter((way) => way.filled), asked.settings.verify);
  told(found);
  return found;
}

function card(way) {
  const waiting = element("p", { className: "hint", textContent: "waiting" });
  return element("article", { className: "way" }, element("h3", { textContent: named(way) }), waiting);
}

function draw(way, watch) {
  const sure = least(way.filled);
  const figures = effort(way.filled) + (sure === null ? "" : `, least sure ${Math.floor(100 * sure)} %`);
  const button = element("button", { type: "button", textContent: "Watch" });
  button.setAttribute("aria-label", `Watch ${named(way)}`);
  button.addEventListener("click", () => watch(way));
  way.bar = element("span", { className: "fill" });
  way.box.lastChild.replaceWith(element("code", { textContent: brief(way.filled) }),
    element("p", { className: "hint", textContent: figures }),
    element("span", { className: "track" }, way.bar), button);
}

// What most say is the measure: who says otherwise is marked. A bar is the time, the slowest being whole.
function common(ways, verify) {
  const counts = new Map();
  for (const way of ways) counts.set(says(way), (counts.get(says(way)) ?? 0) + 1);
  const [[usual, most]] = [...counts].sort(([, one], [, other]) => other - one);
  const slowest = Math.max(...ways.map((way) => spent(way.filled)));
  for (const way of ways) {
    way.bar.style.width = `${(100 * spent(way.filled)) / slowest}%`;
    if (says(way) === usual) continue;
    way.box.classList.add("differs");
    way.box.firstChild.append(element("span", { className: "tag", textContent: "differs" }));
  }
  if (most < ways.length) return `${most} of ${ways.length} say the same.`;
  return `All ${most} say the same.${verify === "off" ? "" : " Take verify off to see the denoising alone."}`;
}
