// Requests to the server. A refusal becomes a sentence that says what to do.

const PLACE = "kshot-key";

export const key = {
  get: () => sessionStorage.getItem(PLACE) ?? "",
  set: (value) => (value ? sessionStorage.setItem(PLACE, value) : sessionStorage.removeItem(PLACE)),
};

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const SAID = {
  401: "This server asks for a key, or the key is not valid.",
  403: "This key may not do that. Ask whoever runs the server for a key that may teach.",
  412: "Somebody else changed this model at the same time. Reload the page to see their version.",
  413: "That is too much at once. Send fewer or smaller examples.",
  429: "Too many requests in a short time. Wait a moment and try again.",
  503: "The server is busy. Try again in a second.",
  507: "The server's disk is full. Nothing was changed; free some space and try again.",
};

async function refusal(response) {
  let detail = "";
  try {
    detail = (await response.json()).detail ?? "";
  } catch {
    // no JSON: the status says enough
  }
  const said = SAID[response.status];
  if (said) return new Refused(response.status, said);
  return new Refused(response.status, detail ? sentence(detail) : `The server answered ${response.status}.`);
}

const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

async function send(method, path, body, signal) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  let response;
  try {
    response = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (cause) {
    if (cause.name === "AbortError") throw cause;
    throw new Refused(0, "The server does not answer. Is kshot serve still running?");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

export async function ask(method, path, body, signal) {
  const response = await send(method, path, body, signal);
  return response.status === 204 ? null : response.json();
}

export async function download(path, name) {
  const blob = await (await send("GET", path)).blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
