// The server's answers, and what is said where there is none.

/** What went wrong, in words for a person; `seconds` to wait where the server named them. */
export class Problem extends Error {
  constructor(message, status = 0, seconds = null) {
    super(message);
    this.status = status;
    this.seconds = seconds;
  }
}

async function call(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server cannot be reached. Is it still running?");
  }
  if (response.ok) return response.json();
  const body = await response.json().catch(() => ({}));
  const seconds = Number.parseFloat(response.headers.get("Retry-After"));
  throw new Problem(
    wordsOf(body.detail) || `The server answered with status ${response.status}.`,
    response.status,
    Number.isFinite(seconds) ? seconds : null,
  );
}

/** A detail is a sentence, or a list of what is wrong with each field. */
function wordsOf(detail) {
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
export const titles = (text, most, signal) =>
  call(`titles?${new URLSearchParams({ q: text, k: most })}`, { signal });
export const arms = () => call("arms");
