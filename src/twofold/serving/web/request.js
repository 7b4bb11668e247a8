// The present request, and its form in the page's address.
// {query: string, history: [item_id, ...], filters: Map(attribute -> [value, ...]), compare: bool}

const FILTER = "filter.";

export function readAddress(search) {
  const given = new URLSearchParams(search);
  const filters = new Map();
  for (const key of new Set(given.keys())) {
    if (key.startsWith(FILTER)) filters.set(key.slice(FILTER.length), given.getAll(key));
  }
  return {
    query: given.get("query") ?? "",
    history: given.getAll("history"),
    filters,
    compare: given.has("compare"),
  };
}

export function writeAddress({ query, history, filters, compare }) {
  const given = new URLSearchParams();
  if (query.trim()) given.set("query", query.trim());
  history.forEach((itemId) => given.append("history", itemId));
  filters.forEach((values, name) => values.forEach((value) => given.append(FILTER + name, value)));
  if (compare) given.set("compare", "1");
  const written = given.toString();
  return written ? `?${written}` : "";
}

/** What the request is: a search, a recommendation, both, or nothing yet. */
export function kindOf({ query, history }) {
  if (query.trim()) return history.length ? "search, personal" : "search";
  return history.length ? "recommendation" : null;
}

/** The task that a model must be trained for to answer it. */
export const taskOf = ({ query = "" }) => (query.trim() ? "search" : "recommendation");

/** The part of a request that every call about it repeats. */
export const contextOf = ({ query, history }) =>
  query.trim() ? { query: query.trim(), history } : { history };

export function bodyOf(request, k, model) {
  return { ...contextOf(request), k, model, filters: Object.fromEntries(request.filters) };
}

/** The same request with a value of a filter turned on or off. */
export function withFilter(request, name, value) {
  const values = request.filters.get(name) ?? [];
  const others = values.filter((other) => other !== value);
  const chosen = others.length === values.length ? [...values, value] : others;
  const filters = new Map(request.filters).set(name, chosen);
  if (!chosen.length) filters.delete(name);
  return { ...request, filters };
}
