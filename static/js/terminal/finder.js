// Search in the screen and its scroll-back.

import { colour } from "./screen.js";

export class Finder {
  constructor(bar, screen) {
    this.bar = bar;
    this.screen = screen;
    this.field = bar.querySelector("input");
    this.count = bar.querySelector("[data-count]");
    this.field.addEventListener("input", () => this.find(true, true));
    this.field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.find(!event.shiftKey);
      else if (event.key === "Escape") this.close();
      else return;
      event.preventDefault();
    });
    bar.querySelector("[data-find=next]").addEventListener("click", () => this.find(true));
    bar.querySelector("[data-find=previous]").addEventListener("click", () => this.find(false));
    bar.querySelector("[data-find=close]").addEventListener("click", () => this.close());
    screen.search.onDidChangeResults(({ resultIndex, resultCount }) => this.say(resultIndex, resultCount));
  }

  open() {
    this.bar.hidden = false;
    const selected = this.screen.terminal.getSelection();
    if (selected && !selected.includes("\n")) this.field.value = selected;
    this.field.focus();
    this.field.select();
    this.find(true, true);
  }

  close() {
    this.bar.hidden = true;
    this.screen.search.clearDecorations();
    this.screen.terminal.focus();
  }

  find(forward, incremental = false) {
    const text = this.field.value;
    if (!text) {
      this.screen.search.clearDecorations();
      this.count.textContent = "";
      return;
    }
    const [match, active] = ["match", "match-active"].map((name) => colour(this.bar, name));
    const decorations = { matchBackground: match, matchOverviewRuler: match, activeMatchBackground: active, activeMatchColorOverviewRuler: active };
    const options = { decorations, incremental: incremental && forward };
    const found = forward ? this.screen.search.findNext(text, options) : this.screen.search.findPrevious(text, options);
    if (!found) this.say(-1, 0);
  }

  say(index, count) {
    if (!this.field.value) return;
    this.count.textContent = count ? `${index < 0 ? "?" : index + 1} of ${count}` : "none";
  }
}
