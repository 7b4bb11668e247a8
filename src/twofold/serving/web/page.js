// The page: the present request, its answer, and what a person does to them.

import * as api from "./api.js";
import { agreement, answerColumn, titleOf } from "./answer.js";
import { count, element, kindLabel } from "./elements.js";
import { explanationPanel } from "./explanation.js";
import { facetRows, facetsOf } from "./facets.js";
import { bodyOf, contextOf, kindOf, readAddress, taskOf, withFilter, writeAddress } from "./request.js";
import { suggestTitles } from "./suggestions.js";
import { welcome } from "./welcome.js";

const TYPING = 150; // milliseconds without a key before the server is asked
const ITEMS = 10; // and so many more with each press of "More items"
const MOST_ITEMS = 100;
const LONGEST_WAIT = 60; // seconds after which the page asks again by itself

const $ = (id) => document.getElementById(id);
const titles = new Map(); // item_id -> title, of every item seen so far
let request = readAddress(location.search);
let items = ITEMS;
let models = [];
let facets = { of: "", rows: new Map() };
let asked = new AbortController();
let timer = 0;

// --- the request changes ---

/** A step that a person can take back with the browser's Back. */
function change(next) {
  request = { ...request, ...next };
  history.pushState(null, "", writeAddress(request) || location.pathname);
  showRequest();
  ask();
}

function typed() {
  request = { ...request, query: $("query").value };
  history.replaceState(null, "", writeAddress(request) || location.pathname);
  later(TYPING);
}

function pick(item) {
  titles.set(item.item_id, titleOf(item));
  const without = request.history.filter((itemId) => itemId !== item.item_id);
  const had = without.length < request.history.length;
  change({ history: had ? without : [...request.history, item.item_id] });
}

function drop(place) {
  change({ history: request.history.filter((_, other) => other !== place) });
  const chips = $("history").querySelectorAll("button");
  (chips[Math.min(place, chips.length - 1)] ?? $("titles")).focus();
}

// --- the request is shown ---

function showRequest() {
  if ($("query").value.trim() !== request.query.trim()) $("query").value = request.query;
  $("history").replaceChildren(...request.history.map(historyChip));
  $("history").hidden = !request.history.length;
  $("clear").hidden = !request.history.length;
  $("compare").setAttribute("aria-checked", String(request.compare));
  showFacets();
}

function historyChip(itemId, place) {
  const title = titles.get(itemId) ?? itemId;
  return element(
    "li",
    { class: "held", title },
    element("span", { dir: "auto" }, title),
    element(
      "button",
      { type: "button", "aria-label": `Remove ${title} from the history`, onclick: () => drop(place) },
      "×",
    ),
  );
}

function showFacets() {
  const focused = document.activeElement?.dataset.facet;
  const rows = facetRows(facets.rows, request.filters, {
    toggle: (name, value) => change(withFilter(request, name, value)),
    clear: () => {
      change({ filters: new Map() });
      $("answer").focus();
    },
  });
  $("facets").replaceChildren(...rows);
  $("facets").hidden = !rows.length || !kindOf(request);
  if (focused) [...$("facets").querySelectorAll("button")].find(({ dataset }) => dataset.facet === focused)?.focus();
}

/** Titles of a history that came with the address. */
async function nameHistory() {
  const unknown = request.history.filter((itemId) => !titles.has(itemId));
  const found = await Promise.allSettled([...new Set(unknown)].map(api.item));
  found.forEach(({ value }) => value && titles.set(value.item_id, titleOf(value)));
  if (unknown.length) showRequest();
}

// --- the server is asked ---

function later(milliseconds, most = ITEMS) {
  asked.abort();
  clearTimeout(timer);
  timer = setTimeout(() => ask(most), milliseconds);
}

/** Ask for the present request; an answer to an earlier one is dropped. */
async function ask(most = ITEMS) {
  clearTimeout(timer);
  asked.abort();
  asked = new AbortController();
  const { signal } = asked;
  items = most;
  if (!kindOf(request)) return showWelcome(signal);
  $("answer").setAttribute("aria-busy", "true");
  try {
    const pair = request.compare ? comparedModels() : null;
    const bodies = (pair ?? [modelFor(request)]).map(({ model }) => bodyOf(request, items, model));
    const answers = await Promise.all(bodies.map((body) => api.retrieve(body, signal)));
    if (!signal.aborted) showAnswers(answers, pair);
  } catch (problem) {
    if (signal.aborted) return;
    if (!(problem instanceof api.Problem)) throw problem;
    showProblem(problem);
  }
}

const trainedFor = (wanted) => models.find(({ tasks }) => tasks.includes(taskOf(wanted)));

/** The first model that was trained for the task; where there is none, the first, whose refusal says so. */
const modelFor = (wanted) => trainedFor(wanted) ?? models[0] ?? {};

/** The joint model, and the one trained for the present task alone; null where one is missing. */
function comparedModels() {
  const named = (name) => models.find(({ model }) => model === name);
  const joint = named("joint");
  const single = named(taskOf(request));
  return joint && single ? [joint, single] : null;
}

function showProblem(problem) {
  const { message, status, seconds } = problem;
  if (status === 401) return askForKey();
  const wait = status === 429 ? Math.max(1, Math.ceil(seconds ?? 2)) : 0;
  const again = wait > 0 && wait <= LONGEST_WAIT;
  const words = again
    ? `The server is busy. This page asks again in ${count(wait, "second")}.`
    : wait
      ? `The server is busy. Try again in ${count(wait, "second")}.`
      : message;
  $("problem").replaceChildren(
    element("p", {}, words),
    element("button", { type: "button", onclick: () => ask(items) }, again ? "Ask now" : "Try again"),
  );
  $("problem").hidden = false;
  $("shown").replaceChildren();
  if (again) later(1000 * wait, items);
  else $("answer").replaceChildren();
  if (!again) $("answer").removeAttribute("aria-busy");
}

function askForKey() {
  const printable = { required: true, pattern: "[!-~]+", title: "printable characters, no spaces" };
  const key = element("input", { type: "password", autocomplete: "off", "aria-label": "Key", ...printable });
  const use = (event) => {
    event.preventDefault();
    api.useKey(key.value.trim());
    begin();
  };
  const button = element("button", { type: "submit" }, "Use this key");
  $("problem").replaceChildren(
    element("p", {}, "This server asks for a key. It is kept until this tab is closed."),
    element("form", { onsubmit: use }, key, button),
  );
  $("problem").hidden = false;
  $("shown").replaceChildren();
  $("answer").replaceChildren();
  $("answer").removeAttribute("aria-busy");
}

// --- the answer is shown ---

function showAnswers(answers, pair) {
  answers.flatMap((answer) => answer.items).forEach((item) => titles.set(item.item_id, titleOf(item)));
  keepFacets(answers[0].items);
  const wanted = document.activeElement.matches(".more") ? { column: 0, place: items - ITEMS } : null;
  const focus = wanted ?? focusedResult();
  const columns = pair ? comparison(answers) : [answerColumn(answers[0], columnOptions())];
  $("problem").hidden = true;
  $("answer").replaceChildren(...columns, ...footOf(answers));
  $("answer").classList.toggle("compared", Boolean(pair));
  document.body.classList.toggle("wide", Boolean(pair));
  $("answer").removeAttribute("aria-busy");
  $("shown").replaceChildren(...statusOf(answers, pair));
  showServed(answers);
  showFacets();
  restoreFocus(focus);
}

function columnOptions() {
  const context = contextOf(request);
  return {
    chosen: new Set(request.history),
    pick,
    why: (row, item, model) => toggleExplanation(row, { ...context, item_id: item.item_id, model }),
  };
}

function comparison([joint, single]) {
  const headings = [
    { name: "joint", words: "trained for both tasks" },
    { name: "the single-task model", words: `trained for ${single.model} alone` },
  ];
  const options = columnOptions();
  return [
    answerColumn(joint, { ...options, heading: headings[0], beside: single, other: headings[1].name }),
    answerColumn(single, { ...options, heading: headings[1], beside: joint, other: headings[0].name }),
  ];
}

function footOf([answer]) {
  if (!answer.items.length) {
    const words = request.filters.size ? "No item passes these filters." : "No item is left.";
    return [element("p", { class: "nothing" }, words)];
  }
  if (answer.items.length < items || items >= MOST_ITEMS) return [];
  const more = () => ask(items + ITEMS);
  return [element("button", { type: "button", class: "more", onclick: more }, "More items")];
}

/** In a line: what is shown, and what it rests on. */
function statusOf(answers, pair) {
  const kind = kindOf(request);
  const query = request.query.trim();
  const given = `a history of ${count(request.history.length, "item")}`;
  const source = { search: `for “${query}”`, recommendation: `after ${given}` }[kind];
  const words = `${count(answers[0].items.length, "item")} ${source ?? `for “${query}”, given ${given}`}`;
  const only = [...request.filters.values()].map((values) => `, only ${values.join(" or ")}`);
  return [
    kindLabel(kind),
    ` ${words}${only.join("")}${pair ? ` · ${agreement(...answers)}` : ""}`,
    answers.some((answer) => answer.no_known_words)
      ? element("span", { class: "unknown" }, unknownWords(query))
      : "",
    request.compare && !pair ? " · no single-task model is served for this request" : "",
  ];
}

function unknownWords(query) {
  const used = request.history.length ? "the history" : "popularity";
  return ` · No word of “${query}” is known to the model; the ranking uses subwords and ${used} alone.`;
}

/** Facets stay the same while only filters change, so that chips keep their places. */
function keepFacets(shown) {
  const of = JSON.stringify(contextOf(request));
  if (of !== facets.of || !request.filters.size) facets = { of, rows: facetsOf(shown) };
}

function showServed(served) {
  const words = served.map(
    (one) => `${one.model} · model ${one.model_version} · catalog ${one.catalog_version}`,
  );
  $("served").replaceChildren(...words.map((line) => element("span", {}, line)));
}

async function toggleExplanation(row, body) {
  const button = row.querySelector(".why");
  const open = row.querySelector(".explanation");
  button.setAttribute("aria-expanded", String(!open));
  if (open) return open.remove();
  const panel = element("div", { class: "explanation", role: "region", "aria-live": "polite" });
  panel.setAttribute("aria-label", "Explanation of this result");
  panel.append(element("p", {}, "Asking the model…"));
  row.append(panel);
  try {
    panel.replaceChildren(...explanationPanel(await api.explain(body)));
  } catch (problem) {
    if (!(problem instanceof api.Problem)) throw problem;
    const wait = problem.seconds ? ` Try again in ${count(Math.ceil(problem.seconds), "second")}.` : "";
    const words = problem.status === 429 ? `The server is busy.${wait}` : problem.message;
    panel.replaceChildren(element("p", {}, words));
  }
}

async function showWelcome(signal) {
  $("problem").hidden = true;
  $("shown").replaceChildren();
  $("answer").removeAttribute("aria-busy");
  $("answer").classList.remove("compared");
  document.body.classList.remove("wide");
  $("facets").hidden = true;
  if (document.activeElement.closest("#answer")) $("query").focus();
  const take = (next) => {
    change(next);
    $("answer").focus();
  };
  $("answer").replaceChildren(welcome([], take, trainedFor));
  const popular = await api.titles("", 2, signal).catch(() => []);
  if (signal.aborted) return;
  popular.forEach((item) => titles.set(item.item_id, titleOf(item)));
  $("answer").replaceChildren(welcome(popular, take, trainedFor));
}

// --- the keyboard ---

function focusedResult() {
  const row = document.activeElement.closest(".result");
  if (!row) return null;
  const column = [...$("answer").querySelectorAll(".column")].indexOf(row.closest(".column"));
  return { itemId: row.dataset.item, column, place: [...row.parentElement.children].indexOf(row) };
}

/** The same item has the focus again, or the one that took its place. */
function restoreFocus(was) {
  if (!was) return;
  const columns = $("answer").querySelectorAll(".column");
  const rows = [...(columns[was.column] ?? columns[0]).querySelectorAll(".result")];
  const row = rows.find(({ dataset }) => dataset.item === was.itemId) ?? rows[was.place] ?? rows.at(-1);
  (row?.querySelector(".pick") ?? $("query")).focus({ preventScroll: true });
}

function moveAmongResults(event) {
  const was = focusedResult();
  const columns = [...$("answer").querySelectorAll(".column")];
  const fromBox = event.target === $("query") && event.key === "ArrowDown";
  if (!columns.length || !(was || fromBox)) return;
  const down = { ArrowDown: 1, ArrowUp: -1 }[event.key] ?? 0;
  const right = { ArrowRight: 1, ArrowLeft: -1 }[event.key] ?? 0;
  const column = columns[(was?.column ?? 0) + right];
  const rows = column ? [...column.querySelectorAll(".result")] : [];
  const place = was ? was.place + down : 0;
  const target = place < 0 ? $("query") : rows[Math.min(place, rows.length - 1)]?.querySelector(".pick");
  if (!target || (was && !down && !right)) return;
  event.preventDefault();
  target.focus();
}

function onKey(event) {
  // The keys with which a person composes a character belong to the input method.
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || event.isComposing) return;
  const typing = event.target.matches?.("input");
  const row = event.target.closest?.(".result");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    $("query").focus();
    $("query").select();
  } else if (event.key === "?" && row) {
    event.preventDefault();
    row.querySelector(".why").click();
  } else if (event.key === "Escape" && row?.querySelector(".explanation")) {
    row.querySelector(".why").click();
    row.querySelector(".pick").focus();
  } else if (event.key.startsWith("Arrow")) {
    moveAmongResults(event);
  }
}

/** In a comparison the same item in the other column is marked with the one pointed at. */
function markTwins(event) {
  const itemId = event.target.closest?.(".result")?.dataset.item;
  for (const row of $("answer").querySelectorAll(".compared .result")) {
    row.classList.toggle("twin", itemId !== undefined && row.dataset.item === itemId);
  }
}

// --- start ---

function start() {
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  $("query").addEventListener("input", typed);
  $("clear").addEventListener("click", () => {
    change({ history: [] });
    $("titles").focus();
  });
  $("compare").addEventListener("click", () => change({ compare: !request.compare }));
  suggestTitles($("titles"), $("suggestions"), {
    wait: TYPING,
    find: api.titles,
    pick: (item) => !request.history.includes(item.item_id) && pick(item),
    back: () => request.history.length && change({ history: request.history.slice(0, -1) }),
  });
  document.addEventListener("keydown", onKey);
  ["pointerover", "focusin"].forEach((name) => document.addEventListener(name, markTwins));
  addEventListener("popstate", () => {
    request = readAddress(location.search);
    showRequest();
    nameHistory();
    ask();
  });
  showRequest();
  begin();
}

async function begin() {
  try {
    models = await api.models();
  } catch (problem) {
    if (!(problem instanceof api.Problem)) throw problem;
    if (problem.status === 401) return askForKey();
    models = []; // the first request says what is wrong
  }
  $("problem").hidden = true;
  $("compare").hidden = models.length < 2;
  if (models.length) showServed(models.slice(0, 1));
  nameHistory();
  ask();
}

start();
