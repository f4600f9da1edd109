// The viewer's buttons, fields and keys.

import { isSpan } from "./options.js";

const typing = (element) => element?.closest("input, textarea, select, [contenteditable]");
const SEARCH_AFTER = 120; // ms of silence while typing

export function bindControls(root, viewer) {
  const controls = new Controls(root, viewer);
  controls.bind();
  return controls;
}

class Controls {
  constructor(root, viewer) {
    this.root = root;
    this.viewer = viewer;
    this.field = (name) => root.querySelector(`[name="${name}"]`);
    this.button = (name) => root.querySelector(`[data-do="${name}"]`);
  }

  bind() {
    const { options } = this.viewer;
    this.fill(options);
    this.root.addEventListener("click", (event) => {
      const button = event.target.closest("[data-do]");
      if (button) this.act(button.dataset.do, button);
    });
    this.root.addEventListener("change", (event) => this.chosen(event.target));
    const query = this.field("q");
    query.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.viewer.find({ q: query.value }), SEARCH_AFTER);
    });
    query.addEventListener("keydown", (event) => this.searchKey(event));
    document.addEventListener("keydown", (event) => this.key(event));
  }

  fill(options) {
    const tail = this.field("tail");
    if (![...tail.options].some((option) => option.value === options.tail)) tail.add(new Option(`Last ${options.tail}`, options.tail));
    tail.value = options.tail;
    const custom = !isSpan(options.since);
    this.field("since").value = custom ? "custom" : options.since;
    this.field("moment").value = custom ? options.since : "";
    this.field("moment").hidden = !custom;
    this.field("q").value = options.q;
    this.pressed("stdout", options.stdout);
    this.pressed("stderr", options.stderr);
  }

  chosen(field) {
    const { viewer } = this;
    if (field.name === "tail") viewer.reread({ tail: field.value });
    else if (field.name === "since" && field.value === "custom") {
      const moment = this.field("moment");
      moment.hidden = false;
      moment.focus();
    } else if (field.name === "since") {
      this.field("moment").hidden = true;
      viewer.reread({ since: field.value, tail: field.value ? "all" : viewer.options.tail });
      this.field("tail").value = viewer.options.tail;
    } else if (field.name === "moment" && field.value) {
      viewer.reread({ since: field.value, tail: "all" });
      this.field("tail").value = "all";
    }
  }

  act(name, button) {
    const { viewer } = this;
    const { options } = viewer;
    if (name === "times" || name === "wrap") viewer.look({ [name]: !options[name] });
    else if (name === "only" || name === "expression") viewer.find({ [name]: !options[name] });
    else if (name === "next") viewer.step(1);
    else if (name === "previous") viewer.step(-1);
    else if (name === "pause") viewer.pause();
    else if (name === "follow") viewer.view.following ? viewer.view.follow(false) : viewer.toEnd();
    else if (name === "end") viewer.toEnd();
    else if (name === "clear") viewer.clear();
    else if (name === "copy") viewer.copyLines();
    else if (name === "full") this.full();
    else if (name === "stdout" || name === "stderr") this.stream(name, button);
  }

  // One of the two streams is always on.
  stream(name) {
    const other = name === "stdout" ? "stderr" : "stdout";
    const on = !this.viewer.options[name];
    const change = on ? { [name]: true } : { [name]: false, [other]: true };
    this.viewer.reread(change);
    this.pressed("stdout", this.viewer.options.stdout);
    this.pressed("stderr", this.viewer.options.stderr);
  }

  full() {
    const on = document.body.classList.toggle("logs-full");
    this.pressed("full", on);
  }

  pressed(name, on) {
    this.button(name)?.setAttribute("aria-pressed", String(on));
  }

  paused(on) {
    const button = this.button("pause");
    button.setAttribute("aria-pressed", String(on));
    button.querySelector("use").setAttribute("href", `${document.body.dataset.sprite}#${on ? "play" : "pause"}`);
    button.querySelector(".label").textContent = on ? "Resume" : "Pause";
  }

  download(address) {
    this.root.querySelector("[data-download-link]").href = address;
  }

  hint(text) {
    const hint = this.root.querySelector('[data-part="hint"]');
    hint.textContent = text;
    clearTimeout(this.hintTimer);
    this.hintTimer = setTimeout(() => (hint.textContent = ""), 5_000);
  }

  searchKey(event) {
    if (event.key === "Enter") {
      event.preventDefault();
      clearTimeout(this.timer);
      if (this.viewer.options.q !== event.target.value) this.viewer.find({ q: event.target.value });
      this.viewer.step(event.shiftKey ? -1 : 1);
    } else if (event.key === "Escape") {
      event.target.value = "";
      this.viewer.find({ q: "" });
      this.root.querySelector(".stream-body").focus();
    }
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector("dialog[open]")) return;
    const { viewer } = this;
    const keys = {
      n: () => viewer.step(1),
      N: () => viewer.step(-1),
      p: () => viewer.pause(),
      f: () => this.act("follow"),
      t: () => this.act("times"),
      w: () => this.act("wrap"),
      x: () => this.act("only"),
      z: () => this.full(),
      G: () => viewer.toEnd(),
      End: () => viewer.toEnd(),
      Home: () => viewer.toStart(),
      Escape: () => document.body.classList.contains("logs-full") && this.full(),
    };
    if (!keys[event.key]) return;
    if (event.key !== "Escape") event.preventDefault();
    keys[event.key]();
  }
}
