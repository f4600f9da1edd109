// One step: a head that says how it is, and its lines while it is open.

import { duration, el, icon, setIcon } from "../parts.js";
import { Lines } from "./chunks.js";

const LOOKS = {
  running: ["s-busy", "busy", "running"],
  cached: ["s-cached", "idle", "cached"],
  built: ["s-succeeded", "ok", "built"],
  failed: ["s-dead", "bad", "failed"],
  cancelled: ["s-cancelled", "idle", "cancelled"],
  unfinished: ["s-unknown", "warn", "not finished"],
};
const FINISHED_GROUP = ["s-succeeded", "ok", "done"];

export class Section {
  constructor(step, windows, onToggle) {
    this.step = step;
    this.shape = icon("s-busy", "state-shape");
    this.word = el("span", { class: "word" });
    this.state = el("span", { class: "state" }, this.shape, this.word);
    this.title = el("code", { class: "bo-title" });
    this.amount = el("span", { class: "bo-amount" });
    this.time = el("span", { class: "bo-time" });
    this.button = el(
      "button",
      { type: "button", class: "bo-head", "aria-expanded": "false", onclick: () => onToggle(this) },
      icon("chevron-right", "icon bo-chevron"),
      this.state,
      el("span", { class: "bo-step-number" }, step.isStep ? String(step.number) : ""),
      this.title,
      this.amount,
      this.time,
    );
    this.box = el("div", { class: "bo-lines", hidden: true });
    this.element = el("section", { class: "bo-step", "data-step": step.key }, el("h3", {}, this.button), this.box);
    this.lines = new Lines(this.box, windows);
    this.isOpen = false;
  }

  // `source`: the lines to show (all, or those found).
  update({ isOpen, source }) {
    const { step } = this;
    const [shape, tone, word] = !step.isStep && step.state === "built" ? FINISHED_GROUP : LOOKS[step.state];
    setIcon(this.shape, shape);
    this.state.className = `state ${tone}${shape === "s-busy" ? " turning" : ""}`;
    this.element.dataset.state = step.state;
    write(this.word, word);
    write(this.title, step.title.replace(/\s*\\?\n\s*/g, " "));
    if (step.title.length > 40 || step.title.includes("\n")) this.title.title = step.title;
    const number = source.length;
    write(this.amount, number ? `${number.toLocaleString("en-GB")} ${number === 1 ? "line" : "lines"}` : "");
    this.clock();
    this.toggle(isOpen, source);
    step.changed = false;
  }

  // A running clock is kept by ui/time.js.
  clock() {
    const { step, time } = this;
    if (step.state === "running") {
      time.dataset.elapsed = step.startedAt;
      if (!time.textContent) write(time, duration(Math.floor((Date.now() - new Date(step.startedAt)) / 1000)));
    } else delete time.dataset.elapsed;
    if (step.state !== "running") write(time, step.state === "cached" || step.seconds === null ? "" : duration(step.seconds));
  }

  toggle(isOpen, source) {
    if (isOpen !== this.isOpen) {
      this.isOpen = isOpen;
      this.button.setAttribute("aria-expanded", String(isOpen));
      this.element.classList.toggle("is-open", isOpen);
      this.box.hidden = !isOpen;
    }
    if (!isOpen) this.lines.clear();
    else if (source !== this.lines.source) this.lines.show(source);
    else this.lines.grow();
  }
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
