// Filters, made of the attributes of the items that are shown.

import { element } from "./elements.js";

const MOST_ATTRIBUTES = 3;
const MOST_VALUES = 8;
const LONGEST_VALUE = 32;

/** The values of an attribute: those joined by | are several. */
export const valuesOf = (attribute) =>
  String(attribute ?? "")
    .split("|")
    .map((value) => value.trim())
    .filter(Boolean);

/** attribute -> values, the most frequent first; only where half of the items share a value. */
export function facetsOf(items) {
  const counts = new Map();
  for (const { attributes } of items) {
    for (const [name, attribute] of Object.entries(attributes)) {
      const values = counts.get(name) ?? new Map();
      counts.set(name, values);
      for (const value of valuesOf(attribute)) values.set(value, (values.get(value) ?? 0) + 1);
    }
  }
  const telling = [...counts].filter(([name, values]) => {
    const shared = ({ attributes }) => valuesOf(attributes[name]).some((value) => values.get(value) > 1);
    const short = [...values.keys()].every((value) => value.length <= LONGEST_VALUE);
    return short && 2 * items.filter(shared).length >= items.length;
  });
  return new Map(
    telling.slice(0, MOST_ATTRIBUTES).map(([name, values]) => {
      const ordered = [...values].sort(([a, n], [b, m]) => m - n || a.localeCompare(b));
      return [name, ordered.slice(0, MOST_VALUES).map(([value]) => value)];
    }),
  );
}

/** The facets with every chosen value among them. */
export function withChosen(facets, filters) {
  const shown = new Map(facets);
  for (const [name, values] of filters) {
    shown.set(name, [...new Set([...(shown.get(name) ?? []), ...values])]);
  }
  return shown;
}

/** Rows of chips; `toggle(name, value)` and `clear()` are called on a press. */
export function facetRows(facets, filters, { toggle, clear }) {
  const rows = [...withChosen(facets, filters)].map(([name, values]) =>
    element(
      "div",
      { class: "facet", role: "group", "aria-label": name },
      element("span", { class: "name", "aria-hidden": "true" }, name),
      element("div", { class: "values" }, values.map((value) => chip(name, value))),
    ),
  );
  if (filters.size) {
    rows.push(
      element("button", { type: "button", class: "quiet", onclick: clear }, "Clear the filters"),
    );
  }
  return rows;

  function chip(name, value) {
    const properties = {
      type: "button",
      class: "chip",
      "aria-pressed": String(filters.get(name)?.includes(value) ?? false),
      "data-facet": `${name}=${value}`,
      onclick: () => toggle(name, value),
    };
    return element("button", properties, value);
  }
}
