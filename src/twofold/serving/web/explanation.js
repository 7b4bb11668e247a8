// Explanation of a result: the loss of score without each part of the request.

import { count, element, signed } from "./elements.js";

const MOST_PARTS = 12;

/** The panel of an explanation. */
export function explanationPanel({ score, contributions }) {
  const parts = contributions.slice(0, MOST_PARTS);
  const scores = parts.map((part) => part.score);
  const low = Math.min(0, ...scores);
  const span = Math.max(0, ...scores) - low || 1;
  const left = contributions.length - parts.length;
  return [
    element("h3", {}, "What contributes to the score"),
    element(
      "p",
      {},
      `The score is ${signed(score).replace("+", "")}, the item's log-probability. A bar shows by how ` +
        "much the score falls if that part of the request is left out; × is the factor by which the " +
        "part raises the item's probability.",
    ),
    element("ul", { class: "parts" }, parts.map((part) => partRow(part, low, span))),
    left ? element("p", {}, `${count(left, "smaller part")} not shown.`) : null,
  ].filter(Boolean);
}

function partRow({ kind, title, score }, low, span) {
  const bar = element("span", { class: `bar ${kind}` });
  const axis = element("span", { class: "axis" });
  // Lengths are set through the style object: the page's policy allows no style attributes.
  bar.style.left = `${(100 * (Math.min(0, score) - low)) / span}%`;
  bar.style.width = `${(100 * Math.abs(score)) / span}%`;
  axis.style.left = `${(100 * -low) / span}%`;
  return element(
    "li",
    { class: score < 0 ? "lowers" : "raises" },
    element(
      "span",
      { class: "part" },
      element("span", { class: `kind ${kind}` }, kind),
      " ",
      element("span", { dir: "auto" }, title),
    ),
    element("span", { class: "scale", "aria-hidden": "true" }, bar, axis),
    element("span", { class: "value" }, signed(score)),
    element("span", { class: "effect" }, effectOf(score)),
  );
}

function effectOf(score) {
  const exact = Math.exp(Math.abs(score));
  if (exact < 1.005) return "no effect";
  const factor = Number(exact.toPrecision(exact < 1.1 ? 3 : 2)); // 1.04, not 1.0
  return score > 0 ? `raises it, ×${factor}` : `lowers it, ÷${factor}`;
}
