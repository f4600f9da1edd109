// The bar over a build's output: what it is doing, the search, and what one can do with all of it.

import { button, el, icon, iconButton } from "../parts.js";

const SEARCH_AFTER = 120; // ms of silence while typing

export class Bar {
  // `actions`: {find(query), only(), step(direction), fold(open), copy(), download()}.
  constructor(actions) {
    this.field = el("input", { class: "form-control form-control-sm", type: "search", placeholder: "Search", "aria-label": "Search the output", title: "Enter and Shift+Enter go from match to match. Small letters find capitals too.", autocomplete: "off", autocapitalize: "off", spellcheck: "false", "data-search": true });
    this.found = el("span", { class: "bo-found", role: "status" });
    this.only = iconButton("filter", "Only lines that match", { "aria-pressed": "false", onclick: () => actions.only() });
    this.status = el("span", { class: "bo-status", role: "status" }, "Output");
    this.fold = button("unfold", "Open all", { onclick: () => actions.fold() });
    this.element = el(
      "div",
      { class: "stream-bar" },
      this.status,
      el("div", { class: "bo-find", role: "search" }, icon("search"), this.field, this.found, el("span", { class: "btn-row" }, this.only, iconButton("sort-up", "Previous match", { onclick: () => actions.step(-1) }), iconButton("sort-down", "Next match", { onclick: () => actions.step(1) }))),
      el("span", { class: "btn-row" }, this.fold, iconButton("copy", "Copy all of it", { onclick: () => actions.copy() }), iconButton("download", "Download as text", { onclick: () => actions.download() })),
    );
    this.bind(actions);
  }

  bind(actions) {
    let timer = 0;
    const find = () => {
      clearTimeout(timer);
      timer = 0;
      actions.find(this.field.value);
    };
    this.field.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(find, SEARCH_AFTER);
    });
    this.field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      if (timer) find();
      actions.step(event.shiftKey ? -1 : 1);
    });
  }

  say(words) {
    if (this.status.textContent !== words) this.status.textContent = words;
  }

  // `index`: the match at hand, -1 for none.
  count({ isOn, index, count, isDone }) {
    const all = `${count.toLocaleString("en-GB")}${isDone ? "" : "…"}`;
    this.found.textContent = !isOn ? "" : !count && isDone ? "none" : index >= 0 ? `${(index + 1).toLocaleString("en-GB")} of ${all}` : all;
  }

  foldOffers(open) {
    this.fold.lastChild.textContent = open ? "Open all" : "Fold all";
    this.fold.querySelector("use").setAttribute("href", `${document.body.dataset.sprite ?? ""}#${open ? "unfold" : "fold"}`);
  }
}
