// The server's answers, and what is said where there is none.

/** What went wrong, in words for a person; `seconds` to wait where the server named them. */
export class Problem extends Error {
  constructor(message, status = 0, seconds = null) {
    super(message);
    this.status = status;
    this.seconds = seconds;
  }
}

const KEY = "twofold.key"; // kept while the tab is open

/** The key to show from now on, where the server asks for one. */
export const useKey = (key) => sessionStorage.setItem(KEY, key);

async function call(path, { headers = {}, ...options } = {}) {
  const key = sessionStorage.getItem(KEY);
  const shown = key ? { ...headers, Authorization: `Bearer ${key}` } : headers;
  let response, body;
  try {
    response = await fetch(path, { ...options, headers: shown });
    body = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server cannot be reached. Is it still running?");
  }
  if (response.ok) return JSON.parse(body);
  const seconds = Number.parseFloat(response.headers.get("Retry-After"));
  throw new Problem(
    wordsOf(body) || `The server answered with status ${response.status}.`,
    response.status,
    Number.isFinite(seconds) ? seconds : null,
  );
}

/** The detail of a refusal: a sentence, or a list of what is wrong with each field. */
function wordsOf(body) {
  let detail;
  try {
    detail = JSON.parse(body).detail;
  } catch {
    return ""; // not this server's: a proxy's page, say
  }
  if (Array.isArray(detail)) return detail.map((part) => part.msg).join("; ");
  return typeof detail === "string" ? detail : "";
}

const post = (path, body, signal) =>
  call(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });

export const retrieve = (body, signal) => post("retrieve", body, signal);
export const explain = (body, signal) => post("explain", body, signal);
export const item = (itemId) => call(`items/${encodeURIComponent(itemId)}`);
export const titles = async (text, most, signal) =>
  (await call(`titles?${new URLSearchParams({ q: text, k: most })}`, { signal })).items;
export const models = async () => (await call("models")).models;
