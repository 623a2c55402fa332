// Requests to this server and the events that come back. Knows HTTP; must not know the page.

export class Failure extends Error {
  constructor(message, { status = 0, kind = "", field = "" } = {}) {
    super(message);
    Object.assign(this, { status, kind, field });
  }
}

const KEY = "agentkit-key";

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

// Where the server is, whatever path it is mounted at; with a slash at its end.
export const base = new URL(".", document.baseURI).href;

async function send(path, { body, ...options } = {}) {
  const headers = {};
  if (body !== undefined) headers["content-type"] = "application/json";
  if (key.get()) headers.authorization = `Bearer ${key.get()}`;
  let response;
  try {
    const text = body === undefined ? undefined : JSON.stringify(body);
    response = await fetch(base + path, { ...options, body: text, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server does not answer. Is it still running?");
  }
  if (!response.ok) throw failure(response.status, await response.json().catch(() => null));
  return response;
}

function failure(status, body) {
  const { message, type, field } = body?.error ?? {};
  const why = message || `The server answers with status ${status}.`;
  return new Failure(why, { status, kind: type, field: field ?? "" });
}

async function* events(response) {
  let rest = "";
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Failure("The server went away in the midst of its answer.");
    });
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(part) ?? [];
      if (name) yield [name, JSON.parse(data)];
    }
  }
}

async function last(response, onDraft) {
  for await (const [name, value] of events(response)) {
    if (name === "draft") onDraft(value);
    else if (name === "error") throw failure(response.status, { error: value.error });
    else return value;
  }
  throw new Failure("The server ended its answer before it was whole.");
}

export const about = async () => (await send("playground/about")).json();

// The bodies of what is asked: one for a schema; two for tools, where a session is made first.
export const opening = ({ tools, request }) => ({ tools, messages: said(request) });
export const deciding = ({ settings }) => ({ settings, stream: true });
export const infilling = ({ schema, request, settings }) => ({
  schema, messages: said(request), ...settings, stream: true,
});

const said = (request) => (request ? [{ role: "user", content: request }] : []);

// What is filled in, and the milliseconds until it was here. Drafts are told as they come.
export async function fill(asked, { onDraft = () => {}, signal } = {}) {
  const began = performance.now();
  const filled = asked.tools
    ? await decide(asked, onDraft, signal)
    : await last(await post("v1/infill", infilling(asked), signal), onDraft);
  return { ...filled, elapsed: performance.now() - began };
}

const post = (path, body, signal) => send(path, { method: "POST", body, signal });

async function decide(asked, onDraft, signal) {
  const { id } = await (await post("v1/sessions", opening(asked), signal)).json();
  const path = `v1/sessions/${encodeURIComponent(id)}`;
  try {
    return await last(await post(`${path}/decide`, deciding(asked), signal), onDraft);
  } finally {
    send(path, { method: "DELETE", keepalive: true }).catch(() => {}); // it would go by itself, later
  }
}
