// What happens on the page: brings form, requests, canvas, result and comparison together.

import { Canvas, calm } from "./canvas.js";
import { Failure, about, fill, key } from "./client.js";
import { compare } from "./compare.js";
import { Wrong, clear, fieldOf, offer, read, setUp, showError } from "./form.js";
import { element, show, spoken } from "./result.js";
import { curl, python } from "./snippets.js";

const by = (id) => document.getElementById(id);
const elements = (...ids) => Object.fromEntries(ids.map((id) => [id, by(id)]));

const canvas = new Canvas(elements("rows", "scrubber", "back", "play", "forth", "at", "step"));
let layouts = ["slots", "float"];
let running = null; // what can be aborted
let shown = null; // what was asked for the result that is shown

setUp();
by("key").value = key.get();
look();

async function look() {
  try {
    const known = await about();
    layouts = known.layouts;
    offer(known);
    by("about").textContent = `${known.model} · canvas of ${known.canvas_length} tokens · context of ${known.context_length}`;
    by("alert").replaceChildren();
    clear();
  } catch (error) {
    by("about").textContent = "not connected";
    tell(error);
  }
}

// What went wrong, at its field where it has one.
function tell(error) {
  const field = error instanceof Wrong ? error.field : fieldOf(error);
  if (field) return showError(field, error.message);
  const parts = [element("p", { textContent: error.message })];
  if (!error.status && error instanceof Failure) {
    const again = element("button", { type: "button", textContent: "Try again" });
    again.addEventListener("click", look);
    parts.push(again);
  }
  if (!(error instanceof Failure)) console.error(error);
  by("alert").replaceChildren(...parts);
}

// Runs one work at a time, which `work` is given the signal of; its button stops it.
async function once(button, work) {
  if (running) {
    running.abort();
    return;
  }
  let asked;
  clear();
  by("alert").replaceChildren();
  try {
    asked = read();
  } catch (error) {
    tell(error);
    return;
  }
  const label = button.textContent;
  const others = [by("run"), by("compare")].filter((one) => one !== button);
  running = new AbortController();
  button.textContent = "Stop";
  for (const other of others) other.disabled = true;
  try {
    await work(asked, running.signal);
  } catch (error) {
    if (error.name === "AbortError") by("said").textContent = "Stopped.";
    else tell(error);
  } finally {
    running = null;
    button.textContent = label;
    for (const other of others) other.disabled = false;
  }
}

const run = () => once(by("run"), async (asked, signal) => {
  canvas.clear();
  by("canvas-what").textContent = "";
  by("said").textContent = "Running.";
  const drafts = [];
  let filled;
  try {
    filled = await fill(asked, {
      signal,
      onDraft: (draft) => {
        drafts.push(draft);
        canvas.add(draft);
      },
    });
  } finally {
    canvas.finish();
    if (!drafts.length) by("rows").replaceChildren(element("p", { className: "empty", textContent: "Nothing was denoised." }));
  }
  present(asked, filled, drafts.length);
});

function present(asked, filled, drafts) {
  shown = asked;
  by("result").hidden = false;
  by("copied").open = false;
  show(elements("value", "confidence", "choice", "figures", "phases"), filled);
  by("canvas-what").textContent = `${drafts} drafts${calm() ? "" : ", slower than they came"}`;
  by("said").textContent = spoken(filled);
}

const comparing = () => once(by("compare"), async (asked, signal) => {
  by("compared").hidden = false;
  by("compared").scrollIntoView({ behavior: calm() ? "auto" : "smooth", block: "nearest" });
  const found = await compare(asked, {
    ways: by("ways"),
    layouts,
    fill: (one, onDraft) => fill(one, { onDraft, signal }),
    watch: ({ drafts, filled, steps, layout }) => {
      canvas.load(drafts);
      present({ ...asked, settings: { ...asked.settings, steps, layout } }, filled, drafts.length);
      by("canvas-title").scrollIntoView({ behavior: calm() ? "auto" : "smooth" });
      by("play").focus({ preventScroll: true });
    },
    told: (what) => { by("compared-what").textContent = what; },
  });
  by("said").textContent = `Compared. ${found}`;
});

async function copy(button, code) {
  by("code").textContent = code;
  by("copied").open = true;
  const label = button.textContent;
  let what = "Copied";
  try {
    await navigator.clipboard.writeText(code);
  } catch { // not allowed, or no secure context: the code is there to be selected
    getSelection().selectAllChildren(by("code"));
    what = "Selected below";
  }
  button.textContent = what;
  by("said").textContent = `${what}.`;
  setTimeout(() => { button.textContent = label; }, 1500);
}

by("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
by("ask").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !running) {
    event.preventDefault();
    run();
  }
});
by("compare").addEventListener("click", comparing);
by("copy-curl").addEventListener("click", () => copy(by("copy-curl"), curl(shown)));
by("copy-python").addEventListener("click", () => copy(by("copy-python"), python(shown)));
by("key").addEventListener("change", () => {
  key.set(by("key").value.trim());
  look();
});
