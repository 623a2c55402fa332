// What is asked: reads the form, and shows at a field what is wrong with it. Must not know requests.

import { examples } from "./examples.js";

const by = (id) => document.getElementById(id);
const FIELDS = ["key", "request", "schema", "steps", "layout", "verify", "temperature", "seed"];

export class Wrong extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

export function setUp() {
  const chosen = (name, button) => {
    by("request").value = examples[name].requests[0];
    by("schema").value = JSON.stringify(examples[name].offered, null, 2);
    suggest(examples[name].requests);
    button.checked = true;
    clear();
    title();
  };
  for (const name of Object.keys(examples)) {
    const label = document.createElement("label");
    const button = Object.assign(document.createElement("input"), {
      type: "radio", name: "example", value: name,
    });
    const shown = document.createElement("span");
    shown.textContent = name;
    label.append(button, shown);
    button.addEventListener("change", () => chosen(name, button));
    by("examples").append(label);
    if (!by("request").value) chosen(name, button);
  }
  by("schema").addEventListener("input", () => {
    for (const one of document.querySelectorAll("[name=example]")) one.checked = false;
    title();
  });
}

// Requests to try, but for the one that is there.
function suggest(requests) {
  const others = requests.filter((request) => request !== by("request").value);
  by("suggestions").replaceChildren(...others.map((request) => {
    const button = Object.assign(document.createElement("button"), {
      type: "button", textContent: request,
    });
    button.addEventListener("click", () => {
      by("request").value = request;
      by("request").focus();
      suggest(requests);
    });
    return button;
  }));
}

// Only what the server's model knows can be chosen.
export function offer({ layouts, verify }) {
  const known = { layout: layouts, verify: ["", ...verify] };
  for (const [name, values] of Object.entries(known)) {
    const buttons = [...document.querySelectorAll(`[name=${name}]`)];
    for (const one of buttons) one.disabled = !values.includes(one.value);
    const first = buttons.find((one) => one.value === values[0]);
    if (buttons.some((one) => one.checked && one.disabled)) first.checked = true;
  }
}

function title() {
  let names = "";
  let kind = "Tools";
  try {
    const { tools } = offered();
    if (tools) names = tools.map((one) => one.name).join(", ");
    else kind = "JSON Schema";
  } catch {
    names = "not readable yet";
  }
  by("schema-title").textContent = kind;
  by("schema-names").textContent = names;
}

function offered() {
  let given;
  try {
    given = JSON.parse(by("schema").value);
  } catch (error) {
    throw new Wrong("schema", `This is no JSON: ${error.message}`);
  }
  const list = Array.isArray(given) ? given : [given];
  const plain = list.map((one) => (one?.type === "function" && one.function ? one.function : one));
  if (!Array.isArray(given) && !isTool(plain[0])) return { schema: given };
  const odd = plain.findIndex((one) => !isTool(one));
  if (odd >= 0) throw new Wrong("schema", `Number ${odd + 1} is no tool: it needs a name and parameters.`);
  if (!plain.length) throw new Wrong("schema", "The list is empty. Offer one tool at least.");
  return {
    tools: plain.map(({ name, description = "", parameters = { type: "object" } }) => ({
      name, description, parameters,
    })),
  };
}

const isTool = (one) => typeof one?.name === "string" && (one.parameters ?? one.description) !== undefined;

// What is asked, as `client.fill` takes it; what is left to the server is left out.
export function read() {
  const form = new FormData(by("ask"));
  const steps = form.get("steps");
  const settings = { steps: steps === "auto" ? steps : Number(steps), layout: form.get("layout") };
  if (form.get("verify")) settings.verify = form.get("verify");
  const temperature = number("temperature");
  if (temperature < 0) throw new Wrong("temperature", "Take 0 or more.");
  if (temperature > 0) settings.temperature = temperature;
  const seed = number("seed");
  if (!Number.isSafeInteger(seed)) throw new Wrong("seed", "Take a whole number.");
  settings.seed = seed;
  return { ...offered(), request: by("request").value.trim(), settings };
}

function number(id) {
  const field = by(id);
  if (field.validity.badInput || !Number.isFinite(field.valueAsNumber)) {
    throw new Wrong(id, "Take a number.");
  }
  return field.valueAsNumber;
}

// The field of the form that a server's error is about, or nothing.
export function fieldOf({ status, kind, field = "" }) {
  if (FIELDS.includes(field)) return field;
  if (status === 401) return "key";
  if (kind === "ContextTooLong" || /^(messages|instructions)/.test(field)) return "request";
  if (kind === "LayoutError") return "layout";
  if (/Schema$|^CanvasTooShort$/.test(kind) || /^(tools|schema|output|template)/.test(field)) return "schema";
  return FIELDS.find((one) => field.split(".").includes(one));
}

export function showError(field, message) {
  by(`${field}-error`).textContent = message;
  const control = by(field) ?? document.querySelector(`[name=${field}]:checked`);
  control.closest("details")?.setAttribute("open", "");
  if (by(field)) control.setAttribute("aria-invalid", "true");
  control.focus();
}

export function clear() {
  for (const field of FIELDS) {
    by(`${field}-error`).textContent = "";
    by(field)?.removeAttribute("aria-invalid");
  }
}
