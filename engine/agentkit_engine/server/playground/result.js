// What came of a request: value, confidence, choice, figures. Knows elements; must not know requests.

const percent = (share) => `${(100 * share).toFixed(share > 0.9995 || share < 0.0005 ? 0 : 1)} %`;
const milliseconds = (seconds) => `${(1000 * seconds).toFixed(seconds < 0.01 ? 1 : 0)} ms`;

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// What a filling or a decision says, whichever it is.
export function outcome(filled) {
  if ("value" in filled && "text" in filled) {
    return { kind: "value", value: filled.value, confidence: filled.confidence ?? {} };
  }
  const [call] = filled.calls;
  if (call) return { kind: "call", name: call.tool, value: call.arguments, confidence: call.confidence };
  return { kind: "answer", value: filled.answer, confidence: {} };
}

// On one line: `get_weather(city: "Lisbon")`.
export function brief(filled) {
  const { kind, name, value } = outcome(filled);
  if (kind === "answer") return `“${value}”`;
  if (kind === "value") return JSON.stringify(value);
  const parts = Object.entries(value).map(([key, one]) => `${key}: ${JSON.stringify(one)}`);
  return `${name}(${parts.join(", ")})`;
}

export const least = (filled) => {
  const found = Object.values(outcome(filled).confidence);
  return found.length ? Math.min(...found) : null;
};

export const spent = ({ timings }) => Object.values(timings).reduce((sum, one) => sum + one, 0);

export const effort = (filled) => `${count(filled.forwards, "forward")}, ${count(filled.passes, "pass", "passes")}, ${milliseconds(spent(filled))}`;

const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

// A sentence for those who listen.
export function spoken(filled) {
  const { kind } = outcome(filled);
  const what = { call: "Calls", value: "Filled in", answer: "Answers" }[kind];
  return `${what} ${brief(filled)}. ${effort(filled)}.`;
}

function bars(shares, named) {
  return shares.map(([name, share]) => {
    const fill = element("span", { className: "fill" });
    fill.style.width = `${100 * share}%`;
    const track = element("span", { className: "track" }, fill);
    const bar = element("li", {}, element("span", { className: "name", textContent: named(name) }), track,
      element("span", { className: "share", textContent: percent(share) }));
    track.setAttribute("role", "meter");
    track.setAttribute("aria-label", named(name));
    track.setAttribute("aria-valuemin", "0");
    track.setAttribute("aria-valuemax", "1");
    track.setAttribute("aria-valuenow", share.toFixed(4));
    track.setAttribute("aria-valuetext", percent(share));
    return bar;
  });
}

export function show(elements, filled) {
  const { kind, name, value, confidence } = outcome(filled);
  elements.value.replaceChildren();
  if (kind === "call") elements.value.append(element("b", { textContent: name }), "\n");
  elements.value.append(kind === "answer" ? value : JSON.stringify(value, null, 2));
  elements.value.className = kind;
  const pointers = Object.entries(confidence);
  const parts = pointers.length > 1 ? pointers.filter(([pointer]) => pointer) : pointers;
  elements.confidence.replaceChildren(...bars(parts, (pointer) => pointer.slice(1) || "the whole"));
  elements.confidence.parentElement.hidden = !parts.length;
  const choice = Object.entries(filled.choice ?? {}).sort(([, one], [, other]) => other - one);
  elements.choice.replaceChildren(...bars(choice, (tool) => tool || "answer in words"));
  elements.choice.parentElement.hidden = !choice.length;
  elements.figures.replaceChildren(...figures(filled));
  elements.phases.textContent = Object.entries(filled.timings)
    .map(([phase, seconds]) => `${phase} ${milliseconds(seconds)}`).join(" · ");
}

function figures(filled) {
  const shown = [
    ["forwards", filled.forwards], ["passes", filled.passes], ["tokens", filled.tokens],
    ["model", milliseconds(spent(filled))], ["round trip", `${filled.elapsed.toFixed(0)} ms`],
  ];
  return shown.map(([name, figure]) => element("div", {},
    element("dt", { textContent: name }), element("dd", { textContent: figure })));
}
