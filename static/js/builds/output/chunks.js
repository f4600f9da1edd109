// Lines in windows of 500: only those in sight, or nearly, have rows. The others are as high as they were, or will be.

import { makeRow } from "../../logs/row.js";

const SIZE = 500;
const NEARLY = "1200px 0px";
const LINE_HEIGHT = 21; // until one is measured

// One for a scroller: says which windows come into sight.
export class Windows {
  constructor(scroller, look) {
    this.look = look; // {marksOf(line), isCurrent(line), isMarked(line)}
    this.lineHeight = LINE_HEIGHT;
    this.known = new Map(); // element → its Window
    this.observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const found = this.known.get(target);
        if (isIntersecting) found?.fill();
        else found?.empty();
      }
    }, { root: scroller, rootMargin: NEARLY });
  }

  add(found) {
    this.known.set(found.element, found);
    this.observer.observe(found.element);
  }

  remove(found) {
    this.known.delete(found.element);
    this.observer.unobserve(found.element);
  }

  row(line) {
    const row = makeRow(line, { marks: this.look.marksOf(line), isCurrent: this.look.isCurrent(line), times: false });
    const link = document.createElement("a");
    link.className = "bo-number";
    link.href = `#L${line.number}`;
    link.dataset.number = line.number; // drawn by the stylesheet, so that it is not copied along
    link.setAttribute("aria-label", `Line ${line.number}`);
    link.title = new Date(line.at).toLocaleTimeString("en-GB");
    row.id = `L${line.number}`;
    if (this.look.isMarked(line)) row.classList.add("marked");
    row.prepend(link);
    return row;
  }
}

class Window {
  constructor(windows, source, start) {
    Object.assign(this, { windows, source, start, shown: 0, isFilled: false });
    this.element = document.createElement("div");
    this.element.className = "bo-window";
    windows.add(this);
  }

  get count() {
    return Math.min(SIZE, this.source.length - this.start);
  }

  fill() {
    if (this.isFilled) return;
    this.isFilled = true;
    this.shown = 0;
    this.element.style.blockSize = "";
    this.grow();
  }

  grow() {
    if (!this.isFilled) {
      this.element.style.blockSize = `${this.count * this.windows.lineHeight}px`;
      return;
    }
    const rows = document.createDocumentFragment();
    for (; this.shown < this.count; this.shown += 1) rows.append(this.windows.row(this.source[this.start + this.shown]));
    this.element.append(rows);
  }

  empty() {
    if (!this.isFilled) return;
    const { height } = this.element.getBoundingClientRect();
    if (!height) return; // folded away, not scrolled away
    this.isFilled = false;
    this.element.style.blockSize = `${height}px`;
    this.element.replaceChildren();
  }

  // The rows look different now.
  redraw() {
    if (!this.isFilled) return;
    this.element.replaceChildren();
    this.shown = 0;
    this.grow();
  }
}

// The lines of one step, while it is open.
export class Lines {
  constructor(box, windows) {
    Object.assign(this, { box, windows, source: null, parts: [] });
  }

  show(source) {
    if (source === this.source) return;
    this.clear();
    this.source = source;
    this.grow();
  }

  clear() {
    for (const part of this.parts) this.windows.remove(part);
    this.parts = [];
    this.box.replaceChildren();
    this.source = null;
  }

  // Lines came.
  grow() {
    this.parts.at(-1)?.grow();
    const added = document.createDocumentFragment();
    while (this.parts.length * SIZE < this.source.length) {
      const part = new Window(this.windows, this.source, this.parts.length * SIZE);
      part.grow();
      this.parts.push(part);
      added.append(part.element);
    }
    this.box.append(added);
  }

  redraw() {
    for (const part of this.parts) part.redraw();
  }

  changed(line) {
    const part = this.partOf(line);
    const row = part?.isFilled ? part.element.querySelector(`#L${line.number}`) : null;
    row?.replaceWith(this.windows.row(line));
  }

  fillLast() {
    this.parts.at(-1)?.fill();
  }

  // The line's row, made if it is not there.
  rowOf(line) {
    const part = this.partOf(line);
    part?.fill();
    return part?.element.querySelector(`#L${line.number}`) ?? null;
  }

  partOf(line) {
    let low = 0;
    let high = this.source?.length ?? 0;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.source[middle].number < line.number) low = middle + 1;
      else high = middle;
    }
    return this.source?.[low] === line ? this.parts[Math.floor(low / SIZE)] : undefined;
  }
}
