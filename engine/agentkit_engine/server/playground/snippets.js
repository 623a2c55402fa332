// The same request as curl and as Python, to be run elsewhere. Knows the bodies; must not send them.

import { base, infilling, key, opening } from "./client.js";

const KEY = "AGENTKIT_API_KEY"; // the environment's; a key is never written into what is copied

function bodies(asked) {
  if (asked.tools) return { open: opening(asked), decide: { settings: asked.settings } };
  const { stream, ...fill } = infilling(asked);
  return { fill };
}

export function curl(asked) {
  const { open, decide, fill } = bodies(asked);
  const kind = "-H 'content-type: application/json'";
  const who = key.get() ? ` -H "authorization: Bearer $${KEY}"` : "";
  const post = (path, body, then = "") =>
    `curl -sS --fail-with-body "$server/${path}"${who} ${kind} -d @- <<'JSON'${then}\n${JSON.stringify(body, null, 2)}\nJSON\n`;
  const server = `server='${base.replace(/\/$/, "").replaceAll("'", "%27")}'\n`;
  if (fill) return server + post("v1/infill", fill);
  const id = `session=$(${post("v1/sessions", open, ` | sed 's/^{"id":"\\([^"]*\\)".*/\\1/'`)})\n`;
  const gone = `curl -sS -X DELETE "$server/v1/sessions/$session"${who}\n`;
  return `${server}${id}${post("v1/sessions/$session/decide", decide)}${gone}`;
}

// A JSON value as Python writes it.
function literal(value, indent = "") {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}    `;
  const parts = Array.isArray(value)
    ? value.map((one) => literal(one, inner))
    : Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${literal(one, inner)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const flat = `${open}${parts.join(", ")}${close}`;
  if (flat.length + indent.length < 84 && !flat.includes("\n")) return flat;
  return `${open}\n${parts.map((part) => `${inner}${part},\n`).join("")}${indent}${close}`;
}

export function python(asked) {
  const { open, decide, fill } = bodies(asked);
  const headers = key.get()
    ? `HEADERS = {\n    "Content-Type": "application/json",\n    "Authorization": f"Bearer {os.environ['${KEY}']}",\n}`
    : 'HEADERS = {"Content-Type": "application/json"}';
  const steps = fill
    ? `filling = ask("POST", "v1/infill", ${literal(fill)})\nprint(json.dumps(filling["value"], indent=2))\n`
    : `session = "v1/sessions/" + ask("POST", "v1/sessions", ${literal(open)})["id"]\n` +
      `decision = ask("POST", f"{session}/decide", ${literal(decide)})\nask("DELETE", session)\n` +
      'print(json.dumps(decision["calls"] or decision["answer"], indent=2))\n';
  return `import json
${key.get() ? "import os\n" : ""}import urllib.request

SERVER = ${JSON.stringify(base)}
${headers}


def ask(method, path, body=None):
    sent = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(SERVER + path, sent, HEADERS, method=method)
    with urllib.request.urlopen(request) as response:
        return json.loads(response.read() or b"null")


${steps}`;
}
