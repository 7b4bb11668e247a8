// An answer as a list, and two answers side by side.

import { count, element, signed, unseen } from "./elements.js";
import { valuesOf } from "./facets.js";

const MOST_DETAILS = 3;
const LONGEST_DETAIL = 60;
const LONGEST_TITLE = 300;

export const titleOf = (item) => item.title || item.item_id;

/**
 * The items of an answer.
 * `heading` {name, words} and `beside` (the other column's answer, named `other`) are for a
 * comparison; `pick(item)` and `why(row, item, model)` are called on a press.
 */
export function answerColumn(answer, { chosen, pick, why, heading, beside, other }) {
  const rows = answer.items.map((item) =>
    resultRow(item, {
      chosen: chosen.has(item.item_id),
      pick,
      why: (row) => why(row, item, answer.model),
      mark: beside ? markOf(item, beside, other) : null,
    }),
  );
  return element(
    "section",
    { class: "column", "aria-label": heading?.name ?? "Results" },
    heading
      ? element("header", {}, element("h2", {}, heading.name), element("p", {}, heading.words))
      : element("h2", { class: "unseen" }, "Results"),
    element("ol", { class: "results", role: "list" }, rows),
  );
}

function resultRow(item, { chosen, pick, why, mark }) {
  const title = titleOf(item);
  const act = chosen ? "remove from the history" : "add to the history";
  return element(
    "li",
    { class: "result", "data-item": item.item_id },
    element("span", { class: "rank" }, unseen("Rank "), String(item.rank)),
    element(
      "div",
      { class: "what" },
      element(
        "button",
        { type: "button", class: "pick", "aria-label": `${title}, ${act}`, title: act, onclick: () => pick(item) },
        element("span", { class: "title", dir: "auto" }, shortened(title)),
        element("span", { class: chosen ? "sign chosen" : "sign", "aria-hidden": "true" }, chosen ? "✓" : "+"),
      ),
      detailsLine(item, mark),
    ),
    element(
      "span",
      { class: "score", title: "the score: log p(identifier), the item's log-probability" },
      unseen("score "),
      signed(item.score).replace("+", ""),
    ),
    element(
      "button",
      { type: "button", class: "why", "aria-expanded": "false", onclick: (event) => why(event.target.closest(".result")) },
      "Why?",
      unseen(` ${title}`),
    ),
  );
}

/** A title that may be a whole text, in as many characters as a row has room for. */
export function shortened(title) {
  const characters = [...title.slice(0, 2 * LONGEST_TITLE + 1)];
  return characters.length > LONGEST_TITLE ? `${characters.slice(0, LONGEST_TITLE).join("")}…` : title;
}

function detailsLine(item, mark) {
  const details = Object.values(item.attributes)
    .map((attribute) => valuesOf(attribute).join(", "))
    .filter((detail) => detail && detail.length <= LONGEST_DETAIL)
    .slice(0, MOST_DETAILS);
  if (!details.length && !mark) return null;
  return element(
    "p",
    { class: "details" },
    mark && element("span", { class: `mark ${mark.kind}`, title: mark.title }, mark.words),
    details.map((detail) => element("span", { dir: "auto" }, detail)),
  );
}

/** Where the other answer has the item, in words. */
function markOf(item, beside, other) {
  const twin = beside.items.find(({ item_id }) => item_id === item.item_id);
  if (!twin) {
    const first = count(beside.items.length, "item");
    return { kind: "alone", words: "◆ only here", title: `not among the first ${first} of ${other}` };
  }
  const title = `rank ${twin.rank} in ${other}`;
  const places = twin.rank - item.rank;
  if (places > 0) return { kind: "higher", words: `▲ ${places} higher`, title };
  if (places < 0) return { kind: "lower", words: `▼ ${-places} lower`, title };
  return { kind: "same", words: "= same rank", title };
}

/** How far two answers agree, in a sentence. */
export function agreement(one, two) {
  const found = new Set(two.items.map(({ item_id }) => item_id));
  const both = one.items.filter(({ item_id }) => found.has(item_id)).length;
  const most = Math.max(one.items.length, two.items.length);
  return `${both} of ${count(most, "item")} in both lists`;
}
