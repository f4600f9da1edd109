// A build's output, folded by step: <div data-build-output="OPERATION_ID" data-keep>. A click on anything with
// data-goto-step="KEY" shows that step; #L7 in the address shows line 7, also when it comes only later.

import { Search } from "../logs/search.js";
import { write as copy } from "../ui/copy.js";
import { toast } from "../ui/toast.js";
import { Bar } from "./output/bar.js";
import { Windows } from "./output/chunks.js";
import { Feed } from "./output/feed.js";
import { Output } from "./output/model.js";
import { Section } from "./output/section.js";
import { el, icon, whenever } from "./parts.js";

const PIECE_MS = 12; // of work a frame
const NEAR_END = 30; // px from the end that still count as the end
const PHASES = { live: "", lost: "reconnecting…", refused: "not to be had: reload the page", ended: "" };

class BuildOutput {
  constructor(root) {
    this.root = root;
    this.output = new Output();
    this.search = new Search(this.output);
    this.sections = new Map(); // Step → Section
    this.taken = 0; // of the search's hits, told to their steps
    this.only = false;
    this.current = null; // the line at hand in a search
    this.marked = null; // the line the address names
    this.following = true;
    this.lastTop = 0;
    this.phase = "";
    this.wanted = lineInAddress();
    if (this.wanted) this.following = false;
    this.build();
  }

  build() {
    this.bar = new Bar({ find: (query) => this.find(query), only: () => this.setOnly(!this.only), step: (way) => this.step(way), fold: () => this.foldAll(), copy: () => this.copy(), download: () => this.download() });
    this.list = el("div", { class: "bo-list" });
    this.note = el("p", { class: "bo-note" }, "Connecting…");
    this.scroller = el("div", { class: "bo-scroll", tabindex: "0", role: "log", "aria-live": "off", "aria-label": "Output of the build" }, this.note, this.list);
    this.pill = el("button", { type: "button", class: "bo-pill", hidden: true, onclick: () => this.follow() }, icon("follow"), el("span", {}, "To the end"));
    this.root.classList.add("stream", "build-output");
    this.root.replaceChildren(this.bar.element, el("div", { class: "bo-screen" }, this.scroller, this.pill));
    this.windows = new Windows(this.scroller, {
      marksOf: (line) => (this.search.isOn ? this.search.marks(line.text) : []),
      isCurrent: (line) => line === this.current,
      isMarked: (line) => line === this.marked,
    });
  }

  start() {
    this.scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.list.addEventListener("click", (event) => this.clicked(event));
    addEventListener("hashchange", () => this.addressChanged());
    document.addEventListener("click", (event) => {
      const goto = event.target.closest("[data-goto-step]");
      if (goto && this.gotoStep(goto.dataset.gotoStep)) event.preventDefault();
    });
    // What is drawn is no button: a key has to do what a button's would.
    document.addEventListener("keydown", (event) => {
      const goto = event.key === "Enter" || event.key === " " ? event.target.closest("svg [data-goto-step]") : null;
      if (goto && this.gotoStep(goto.dataset.gotoStep)) event.preventDefault();
    });
    new Feed(this.root.dataset.buildOutput, {
      onLines: (lines) => {
        for (const line of lines) this.output.take(line);
        this.schedule();
      },
      onPhase: (phase, state) => {
        this.phase = phase;
        if (phase === "ended") this.output.conclude(state);
        this.schedule();
      },
    }).connect();
  }

  // --- Drawing, once a frame

  schedule() {
    this.scheduled ??= requestAnimationFrame(() => {
      this.scheduled = null;
      this.work();
    });
  }

  work() {
    const deadline = performance.now() + PIECE_MS;
    for (const number of this.output.overwritten) this.search.changed(number - 1);
    while (!this.search.isDone && performance.now() < deadline) this.search.scan();
    this.tellSteps();
    for (const step of this.output.steps) if (step.changed) this.draw(step);
    for (const number of this.output.overwritten) this.redrawLine(this.output.lines[number - 1]);
    this.output.overwritten = [];
    this.say();
    if (this.wanted) this.reach();
    else if (this.following) this.toEnd();
    this.setFollowing(this.following);
    if (!this.search.isDone) this.schedule();
  }

  // Hits that are new belong to steps.
  tellSteps() {
    const { hits } = this.search;
    for (; this.taken < hits.length; this.taken += 1) {
      const line = this.output.lines[hits[this.taken]];
      line.step.found.push(line);
      line.step.changed = true;
    }
  }

  draw(step) {
    let section = this.sections.get(step);
    if (!section) {
      section = new Section(step, this.windows, (toggled) => this.toggle(toggled));
      this.sections.set(step, section);
      this.list.append(section.element);
    }
    const filtered = this.only && this.search.isOn;
    section.element.hidden = filtered && !step.found.length;
    section.update({ isOpen: this.isOpen(step), source: filtered ? step.found : step.lines });
  }

  redrawLine(line) {
    this.sections.get(line.step)?.lines.changed(line);
  }

  isOpen(step) {
    if (this.search.isOn) {
      if (step.searchChoice !== null) return step.searchChoice;
      if (step.found.length) return true;
    }
    if (step.choice !== null) return step.choice;
    return step.state === "running" || step.state === "failed" || step.state === "unfinished" || !this.output.begun;
  }

  redrawAll() {
    for (const step of this.output.steps) step.changed = true;
    this.schedule();
  }

  say() {
    const { steps, lines, begun, ended } = this.output;
    this.note.hidden = steps.length > 0;
    this.note.textContent = ended ? "It wrote no output." : this.phase === "live" ? "Nothing yet. Lines appear as they are written." : this.phase ? PHASES[this.phase] : "Connecting…";
    const over = steps.filter((step) => step.isStep && step.state !== "running").length;
    const words = [begun ? (ended || over === begun ? `${begun} step${begun === 1 ? "" : "s"}` : `${over} of ${begun} steps`) : "", lines.length ? `${lines.length.toLocaleString("en-GB")} line${lines.length === 1 ? "" : "s"}` : "", PHASES[this.phase]];
    this.bar.say(words.filter(Boolean).join(", ") || "Output");
    this.bar.foldOffers(!steps.some((step) => this.isOpen(step)));
    const index = this.current ? this.search.indexFrom(this.current.number - 1) : -1;
    this.bar.count({ isOn: this.search.isOn, index, count: this.search.count, isDone: this.search.isDone });
  }

  // --- Where one is

  scrolled() {
    const top = this.scroller.scrollTop;
    const atEnd = top + this.scroller.clientHeight >= this.scroller.scrollHeight - NEAR_END;
    // Only going up lets go of the end, which itself moves away all the time.
    if (top < this.lastTop - 1 && !atEnd) this.letGo();
    else if (atEnd && !this.wanted) this.setFollowing(true);
    this.lastTop = top;
  }

  setFollowing(on) {
    this.following = on;
    this.pill.hidden = on || this.scroller.scrollHeight <= this.scroller.clientHeight + NEAR_END;
  }

  letGo() {
    this.setFollowing(false);
  }

  follow() {
    this.wanted = 0;
    this.setFollowing(true);
    this.schedule();
  }

  toEnd() {
    const last = this.output.steps.at(-1);
    if (last) this.sections.get(last).lines.fillLast();
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.lastTop = this.scroller.scrollTop;
  }

  // Show a line, whatever is folded or filtered away.
  reveal(line) {
    this.letGo();
    const { step } = line;
    const section = this.sections.get(step);
    if (this.only && this.search.isOn && !step.found.includes(line)) this.setOnly(false);
    if (!this.isOpen(step)) this.choose(step, true);
    this.draw(step);
    const row = section.lines.rowOf(line);
    row?.scrollIntoView({ block: "center", inline: "nearest" });
    this.lastTop = this.scroller.scrollTop;
    this.setFollowing(false);
    return row;
  }

  choose(step, open) {
    if (this.search.isOn) step.searchChoice = open;
    step.choice = open;
    step.changed = true;
  }

  toggle(section) {
    const open = !section.isOpen;
    const isStuck = section.element.getBoundingClientRect().top < this.scroller.getBoundingClientRect().top;
    this.letGo(); // what comes shall not take away what was just opened
    this.choose(section.step, open);
    this.draw(section.step);
    if (!open && isStuck) this.scrollTo(section);
    this.say();
  }

  scrollTo({ element }) {
    this.scroller.scrollTop += element.getBoundingClientRect().top - this.scroller.getBoundingClientRect().top;
    this.lastTop = this.scroller.scrollTop;
  }

  foldAll() {
    const open = !this.output.steps.some((step) => this.isOpen(step));
    for (const step of this.output.steps) this.choose(step, open);
    this.schedule();
  }

  gotoStep(key) {
    const step = this.output.find(key);
    if (!step) return false;
    this.wanted = 0;
    this.letGo();
    if (!this.isOpen(step)) this.choose(step, true);
    this.draw(step);
    const section = this.sections.get(step);
    this.root.scrollIntoView({ block: "nearest" });
    this.scrollTo(section);
    section.button.focus({ preventScroll: true });
    return true;
  }

  // --- Links to a line

  clicked(event) {
    const link = event.target.closest("a.bo-number");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault(); // the row is in sight already
    window.history.replaceState(window.history.state, "", link.hash);
    this.mark(this.output.lines[Number(link.dataset.number) - 1]);
  }

  addressChanged() {
    this.wanted = lineInAddress();
    if (this.wanted) this.schedule();
  }

  // The line the address names, as soon as it is there.
  reach() {
    const line = this.output.lines[this.wanted - 1];
    if (line) {
      this.wanted = 0;
      this.mark(line);
      this.reveal(line);
      this.root.scrollIntoView({ block: "nearest" });
    } else if (this.output.ended) {
      this.wanted = 0;
      this.setFollowing(true);
    }
  }

  mark(line) {
    const before = this.marked;
    this.marked = line;
    for (const each of [before, line]) if (each) this.redrawLine(each);
  }

  // --- Search

  find(query) {
    this.search.set(query, false);
    this.taken = 0;
    this.current = null;
    for (const step of this.output.steps) {
      step.found = [];
      step.searchChoice = null;
      this.sections.get(step)?.lines.redraw();
    }
    if (query) this.letGo();
    this.redrawAll();
  }

  setOnly(on) {
    this.only = on;
    this.bar.only.setAttribute("aria-pressed", String(on));
    this.redrawAll();
  }

  step(way) {
    const { search } = this;
    while (!search.isDone) search.scan();
    this.tellSteps();
    if (!search.count) {
      this.say();
      return;
    }
    const index = this.current ? search.indexFrom(this.current.number - 1) + way : way > 0 ? 0 : search.count - 1;
    const before = this.current;
    this.current = this.output.lines[search.hits[(index + search.count) % search.count]];
    for (const step of this.output.steps) if (step.changed) this.draw(step);
    if (before) this.redrawLine(before);
    this.reveal(this.current);
    this.redrawLine(this.current);
    this.say();
  }

  // --- All of it

  async copy() {
    await copy([...this.output.text()].join(""));
    toast({ text: "Copied the output.", tone: "ok" });
  }

  download() {
    const url = URL.createObjectURL(new Blob([...this.output.text()], { type: "text/plain;charset=utf-8" }));
    el("a", { href: url, download: `build-${this.root.dataset.buildOutput}.txt` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }
}

function lineInAddress() {
  return Number(/^#L(\d+)$/.exec(location.hash)?.[1] ?? 0);
}

whenever("[data-build-output]", (root) => new BuildOutput(root).start());
