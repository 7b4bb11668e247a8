// Before there is a request: what can be done here, with a few things to try.

import { titleOf } from "./answer.js";
import { element, kindLabel } from "./elements.js";
import { valuesOf } from "./facets.js";

/**
 * `popular` items, from none to two, make the examples; `change(request)` takes one, and
 * `modelOf(request)` is the model that is trained for its task, undefined without one.
 */
export function welcome(popular, change, modelOf) {
  const shown = popular.length ? examples(popular).filter(({ next }) => modelOf(next)) : [];
  const [title, words] = invitation(modelOf({ query: "any" }), modelOf({}));
  return element(
    "div",
    { class: "welcome" },
    element("h2", {}, title),
    element("p", {}, words),
    shown.length ? element("ul", { role: "list" }, shown.map(example)) : null,
  );

  function example({ kind, words, next }) {
    return element(
      "li",
      {},
      element(
        "button",
        { type: "button", onclick: () => change(next) },
        kindLabel(kind),
        element("span", { dir: "auto" }, words),
      ),
    );
  }
}

/** A title and a sentence, by the models that search and recommend. */
function invitation(search, recommendation) {
  if (search && !recommendation)
    return ["Type a query.", "The model was trained for search. Titles you liked make the search personal."];
  if (recommendation && !search)
    return ["Add titles you liked.", "The model was trained for recommendation, and does not search."];
  const words =
    "A query alone is a search. A history alone gives recommendations. With both, the search is personal.";
  const one = search === recommendation ? " One model answers all three." : "";
  return ["Type a query, add titles you liked, or do both.", words + one];
}

function examples(popular) {
  const [first] = popular;
  const query = wordOf(first);
  const liked = popular.map(titleOf).join(" and ");
  const history = popular.map(({ item_id }) => item_id);
  return [
    { kind: "search", words: `“${query}”`, next: { query } },
    { kind: "recommendation", words: `for someone who liked ${liked}`, next: { history } },
    {
      kind: "search, personal",
      words: `“${query}” for someone who liked ${titleOf(first)}`,
      next: { query, history: [first.item_id] },
    },
  ];
}

/** A query that should have results: a short attribute, or else a word of a title. */
function wordOf(item) {
  const values = Object.values(item.attributes).flatMap((attribute) => valuesOf(attribute).slice(0, 1));
  const word = values.find((value) => /^\p{L}[\p{L} '-]{2,20}$/u.test(value));
  return (word ?? titleOf(item).split(/\s+/).sort((a, b) => b.length - a.length)[0]).toLowerCase();
}
