// The canvas: drafts drawn as rows of cells, played and stepped through. Must not know requests.

const READABLE = 450; // milliseconds a draft is shown for
const PATIENCE = 9000; // that all of them may take together
const LEAST = 40;
const WIDEST = 8; // characters that a cell is kept wide for, while it holds less
const SHOWN = { '<|"|>': "”", " ": "␣", "\n": "⏎", "\t": "⇥" };
const STATES = { pinned: "pinned", settled: "settled", draft: "drafted", noise: "noise" };

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

function shown(text, state) {
  if (state === "noise") return text && text !== "<pad>" ? (SHOWN[text] ?? text) : "·";
  return SHOWN[text] ?? text;
}

const isOpen = (row) => row.cells.some(([, state]) => state === "noise" || state === "draft");

function counted(cells) {
  const counts = { settled: 0, draft: 0, noise: 0, pinned: 0 };
  for (const [, state] of cells) counts[state] += 1;
  return Object.entries(counts).filter(([, count]) => count)
    .map(([state, count]) => `${count} ${STATES[state]}`).join(", ");
}

export class Canvas {
  // Elements: rows, scrubber, back, play, forth, at, step; those of the page.
  constructor(elements) {
    this.elements = elements;
    this.#forget();
    elements.at.addEventListener("input", () => this.#by(elements.at.valueAsNumber));
    elements.back.addEventListener("click", () => this.#by(this.index - 1));
    elements.forth.addEventListener("click", () => this.#by(this.index + 1));
    elements.play.addEventListener("click", () => this.#toggle());
  }

  #forget() {
    clearTimeout(this.timer);
    Object.assign(this, {
      drafts: [], widths: {}, order: [], index: -1, playing: !calm(), whole: false, timer: 0,
    });
  }

  clear() {
    this.#forget();
    this.elements.rows.replaceChildren();
    this.elements.rows.style.minHeight = "";
    this.elements.scrubber.hidden = true;
  }

  // One more draft; it is shown when those before have been seen.
  add(draft) {
    this.drafts.push(draft);
    for (const { name, cells } of draft.rows) {
      if (!this.order.includes(name)) this.order.push(name);
      const widths = (this.widths[name] ??= []);
      cells.forEach(([text, state], place) => {
        const width = Math.min(WIDEST, [...shown(text, state)].length);
        widths[place] = Math.max(widths[place] ?? 0, width);
      });
    }
    this.elements.scrubber.hidden = this.drafts.length < 2;
    this.elements.at.max = this.drafts.length - 1;
    if (this.index < 0) this.#show(0);
    else this.#label();
    this.#tick();
  }

  // There are no more.
  finish() {
    this.whole = true;
    if (!this.drafts.length) return;
    if (!this.playing) this.#show(this.drafts.length - 1);
    this.#tick();
  }

  // All at once: drafts of another run, from their beginning.
  load(drafts) {
    this.clear();
    drafts.forEach((draft) => this.add(draft));
    this.finish();
  }

  #tick() {
    if (this.timer || !this.playing) return;
    if (this.index >= this.drafts.length - 1) {
      if (this.whole) this.#stop();
      return;
    }
    const pace = Math.max(LEAST, Math.min(READABLE, PATIENCE / this.drafts.length));
    this.timer = setTimeout(() => {
      this.timer = 0;
      this.#show(this.index + 1);
      this.#tick();
    }, pace);
  }

  #stop() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.playing = false;
    if (matchMedia("(max-width: 60rem)").matches) this.elements.rows.style.minHeight = "";
    this.#label();
  }

  #by(index) {
    this.#stop();
    this.#show(Math.max(0, Math.min(index, this.drafts.length - 1)));
  }

  #toggle() {
    if (this.playing) return this.#stop();
    this.playing = true;
    if (this.index >= this.drafts.length - 1) this.#show(0);
    this.#label();
    this.#tick();
  }

  #label() {
    const { at, step, play, back, forth } = this.elements;
    const draft = this.drafts[this.index];
    at.value = this.index;
    step.textContent = draft.step ? `Forward ${draft.step}` : "Noise";
    at.setAttribute("aria-valuetext", `${step.textContent}: ${counted(draft.rows.flatMap((row) => row.cells))}`);
    play.textContent = this.playing ? "Pause" : "Play";
    back.disabled = this.index <= 0;
    forth.disabled = this.index >= this.drafts.length - 1;
  }

  #show(index) {
    this.index = index;
    const { rows } = this.elements;
    const now = new Map(this.drafts[index].rows.map((row) => [row.name, row]));
    for (const name of this.order) {
      const row = now.get(name) ?? this.#before(name);
      this.#row(name, row, now.has(name) || (row && !isOpen(row)) || name === "");
    }
    // nothing below moves while it plays
    if (this.playing) rows.style.minHeight = `${Math.max(rows.offsetHeight, parseFloat(rows.style.minHeight) || 0)}px`;
    this.#label();
  }

  // As a row was when it was last seen; it may have been set aside since.
  #before(name) {
    for (let index = this.index; index >= 0; index -= 1) {
      const found = this.drafts[index].rows.find((row) => row.name === name);
      if (found) return found;
    }
    return null;
  }

  #row(name, row, kept) {
    const { rows } = this.elements;
    let box = [...rows.children].find((one) => one.dataset.row === name);
    if (!box) {
      box = document.createElement("div");
      box.dataset.row = name;
      box.className = "row";
      box.append(document.createElement("h3"), document.createElement("div"));
      box.lastChild.className = "cells";
      box.lastChild.setAttribute("role", "img");
      rows.append(box);
    }
    const [heading, cells] = box.children;
    box.hidden = !row;
    cells.hidden = !kept;
    box.classList.toggle("aside", !kept);
    heading.textContent = (name || "which tool") + (kept ? "" : " · not chosen");
    if (row && kept) this.#cells(cells, row, this.widths[name]);
  }

  #cells(box, { cells }, widths) {
    while (box.children.length > cells.length) box.lastChild.remove();
    cells.forEach(([text, state], place) => {
      const cell = box.children[place] ?? box.appendChild(document.createElement("span"));
      const label = shown(text, state);
      const blank = widths[place] === 0 || (label === "" && state !== "noise") ? " blank" : "";
      const look = `cell ${state}${blank}${/^<.*>$/.test(label) ? " special" : ""}`;
      if (cell.className !== look) cell.className = look;
      if (cell.textContent !== label) cell.textContent = label;
      cell.style.minWidth = blank ? "" : `calc(${widths[place]}ch + .5em)`;
      cell.title = `${STATES[state]}${text ? ` ${text}` : ""}`;
    });
    const reading = cells.filter(([, state]) => state !== "noise").map(([text]) => text).join("");
    box.setAttribute("aria-label", `${counted(cells)}. Reads: ${reading || "nothing yet"}`);
  }
}
