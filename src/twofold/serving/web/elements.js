// Building the page out of data. Data only ever becomes text nodes and attribute values, never
// markup: titles come from users' catalogs.

/** A new element; `on...` properties are listeners, false and null ones are left out. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null));
  return made;
}

/** Words that only a screen reader says. */
export const unseen = (words) => element("span", { class: "unseen" }, words);

/** What a request is, each part in its colour: "search", "recommendation", "search, personal". */
export function kindLabel(kind) {
  const [first, second] = kind.split(", ");
  const rest = second ? [", ", element("span", { class: "recommendation" }, second)] : [];
  return element("strong", { class: "kind-label" }, element("span", { class: first }, first), rest);
}

/** "1 item", "3 items" */
export const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

/** A number with a sign that is as wide as a plus. */
export const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(2)}`;
