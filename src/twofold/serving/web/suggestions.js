// Titles to pick a history from: a combobox over a list.

import { shortened, titleOf } from "./answer.js";
import { element } from "./elements.js";

const MOST = 8;

/** `find(text, most, signal)` gives items; `pick(item)` and `back()` (erase at the start) act. */
export function suggestTitles(input, list, { wait, find, pick, back }) {
  let items = [];
  let active = -1;
  let answered = ""; // the text that the items are for
  let timer = 0;
  let asked = new AbortController();

  function show(found) {
    items = found;
    active = found.length ? 0 : -1;
    list.replaceChildren(...found.map(option));
    list.hidden = !found.length;
    input.setAttribute("aria-expanded", String(found.length > 0));
    mark();
  }

  function option(item, place) {
    // mousedown, so that the input keeps the focus
    const choose = (event) => {
      event.preventDefault();
      take(place);
    };
    const properties = { role: "option", id: `suggestion-${place}`, dir: "auto", onmousedown: choose };
    return element("li", properties, shortened(titleOf(item)));
  }

  function mark() {
    [...list.children].forEach((child, place) =>
      child.setAttribute("aria-selected", String(place === active)),
    );
    if (active < 0) input.removeAttribute("aria-activedescendant");
    else input.setAttribute("aria-activedescendant", `suggestion-${active}`);
    list.children[active]?.scrollIntoView({ block: "nearest" });
  }

  function take(place) {
    const item = items[place];
    close();
    input.value = "";
    pick(item);
  }

  function close() {
    clearTimeout(timer);
    asked.abort();
    show([]);
  }

  async function ask() {
    asked.abort();
    asked = new AbortController();
    const { signal } = asked;
    const text = input.value.trim();
    try {
      const found = await find(text, MOST, signal);
      if (signal.aborted) return;
      answered = text;
      show(found);
    } catch {
      if (!signal.aborted) show([]); // a list of suggestions is a help, never an error
    }
  }

  input.addEventListener("input", () => {
    if (!input.value.trim()) return close();
    clearTimeout(timer);
    timer = setTimeout(ask, wait);
  });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return; // Enter ends the composition of a character
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Backspace" && !input.value) back();
    else if (event.key === "Escape") close();
    else if (event.key === "Enter") {
      event.preventDefault();
      // one who types faster than the server answers never takes what an earlier text found
      if (active >= 0 && answered === input.value.trim()) take(active);
    } else if (move && items.length) {
      event.preventDefault();
      active = (active + move + items.length) % items.length;
      mark();
    }
  });
}
