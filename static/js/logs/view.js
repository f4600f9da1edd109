// Only the rows in sight exist. A source has `first`, `end` (numbers of its rows, growing on and on) and `line(row)`.

import { Even, Uneven } from "./heights.js";
import { makeRow } from "./row.js";

const BEYOND = 12; // rows kept above and below what is seen
const NEAR_END = 1.5; // lines from the end that still count as the end

export class View {
  constructor(scroller, { marksOf, isCurrent, onFollow }) {
    this.scroller = scroller;
    this.space = scroller.querySelector(".logs-space");
    this.rows = scroller.querySelector(".logs-rows");
    this.marksOf = marksOf;
    this.isCurrent = isCurrent;
    this.onFollow = onFollow;
    this.following = true;
    this.wrap = false;
    this.times = true;
    this.nodes = new Map();
    this.lastTop = 0;
    this.shown = 0; // rows there were when the reader last saw the end
    this.measure();
    scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    new ResizeObserver(() => this.resized()).observe(scroller);
  }

  show(source) {
    this.source = source;
    this.rebuild();
    if (this.following) this.shown = source.end;
  }

  measure() {
    const probe = makeRow({ stream: 1, seconds: 1, nanos: 0, text: "0".repeat(100), runs: null }, { times: this.times });
    probe.classList.add("probe");
    this.rows.append(probe);
    const text = probe.querySelector(".text").getBoundingClientRect();
    this.lineHeight = text.height || 21;
    this.columnWidth = text.width / 100 || 8;
    const styles = getComputedStyle(probe);
    const beside = text.left - probe.getBoundingClientRect().left + parseFloat(styles.paddingRight);
    this.columns = Math.max(10, Math.floor((this.scroller.clientWidth - beside) / this.columnWidth));
    this.width = this.scroller.clientWidth;
    this.height = this.scroller.clientHeight;
    probe.remove();
  }

  // Lines of text a row will need; corrected by what is measured once it is in sight.
  estimate(row) {
    if (!this.wrap) return 1;
    const { text } = this.source.line(row);
    return Math.max(1, Math.ceil(text.length / this.columns));
  }

  rebuild() {
    const { source } = this;
    const anchor = this.heights && !this.following ? this.topRow() : null;
    this.heights = this.wrap ? new Uneven(source.first) : new Even(source.first);
    while (this.heights.end < source.end) this.heights.push(this.estimate(this.heights.end));
    this.clearNodes();
    if (anchor !== null && anchor >= source.first && anchor < source.end) this.scrollTo(this.heights.offset(anchor) * this.lineHeight);
    this.dirty = true;
  }

  clearNodes() {
    this.rows.replaceChildren();
    this.nodes.clear();
  }

  topRow() {
    return this.heights.total ? this.heights.find(this.scroller.scrollTop / this.lineHeight) : null;
  }

  resized() {
    if (!this.source || this.scroller.clientWidth === 0) return;
    const before = this.width;
    this.measure();
    if (this.wrap && this.width !== before) this.rebuild();
    this.render();
  }

  set(options) {
    Object.assign(this, options);
    this.scroller.classList.toggle("wrap-lines", this.wrap);
    this.scroller.classList.toggle("no-times", !this.times);
    this.measure();
    this.rebuild();
    this.render();
  }

  // Rows look different now (search, current match): draw them anew.
  refresh() {
    this.clearNodes();
    this.dirty = true;
  }

  changed(row) {
    const node = this.nodes.get(row);
    if (row < this.heights.first || row >= this.heights.end) return;
    this.heights.set(row, this.estimate(row));
    if (node) {
      node.remove();
      this.nodes.delete(row);
    }
    this.dirty = true;
  }

  follow(on = true) {
    if (on !== this.following) {
      this.following = on;
      this.onFollow(on);
    }
    if (on) this.dirty = true;
  }

  scrolled() {
    const top = this.scroller.scrollTop;
    const atEnd = top + this.scroller.clientHeight >= this.scroller.scrollHeight - NEAR_END * this.lineHeight;
    // Only going up lets go of the end (which itself moves away all the time), and not a move of our own.
    if (Math.abs(top - this.lastTop) > 1) {
      if (top < this.lastTop && !atEnd) this.follow(false);
      else if (atEnd) this.follow(true);
    }
    this.lastTop = top;
    this.render();
  }

  scrollTo(top) {
    this.space.style.height = `${this.heights.total * this.lineHeight}px`;
    this.scroller.scrollTop = top;
    this.lastTop = this.scroller.scrollTop;
  }

  reveal(row) {
    this.follow(false);
    const middle = this.heights.offset(row) * this.lineHeight - this.scroller.clientHeight / 2;
    this.scrollTo(Math.max(0, middle));
    this.rows.querySelector(".current mark")?.scrollIntoView({ block: "nearest", inline: "nearest" });
    this.dirty = true;
  }

  // Bring heights in step with the source: rows came at the end, rows went at the start.
  sync() {
    const { heights, source } = this;
    let gone = 0;
    while (heights.first < source.first && heights.first < heights.end) gone += heights.shift();
    if (heights.first < source.first) heights.first = heights.end = source.first;
    while (heights.end < source.end) heights.push(this.estimate(heights.end));
    if (gone && !this.following) this.lastTop = this.scroller.scrollTop = Math.max(0, this.scroller.scrollTop - gone * this.lineHeight);
    return gone;
  }

  render() {
    if (!this.source) return;
    this.dirty = false;
    this.sync();
    this.place();
    if (this.wrap && this.correct()) this.place();
    if (this.following) this.shown = this.source.end;
  }

  // Everything is written before anything is read: one layout a frame.
  place() {
    const { heights, lineHeight, scroller } = this;
    const height = heights.total * lineHeight;
    const top = this.following ? Math.max(0, height - this.height) : Math.min(this.lastTop, Math.max(0, height - this.height));
    this.space.style.height = `${height}px`;
    if (!heights.total) {
      this.clearNodes();
      return;
    }
    const from = Math.max(heights.first, heights.find(top / lineHeight) - BEYOND);
    const to = Math.min(heights.end, heights.find((top + this.height) / lineHeight) + 1 + BEYOND);
    this.rows.style.transform = `translateY(${heights.offset(from) * lineHeight}px)`;
    this.reconcile(from, to);
    if (this.following) {
      scroller.scrollTop = height;
      this.lastTop = scroller.scrollTop;
    }
  }

  // Nodes that stay are not touched, so that a selection in them lives on.
  reconcile(from, to) {
    for (const [row, node] of this.nodes) {
      if (row < from || row >= to) {
        node.remove();
        this.nodes.delete(row);
      }
    }
    let next = this.rows.firstChild;
    for (let row = from; row < to; row += 1) {
      const there = this.nodes.get(row);
      if (there) {
        next = there.nextSibling;
        continue;
      }
      const line = this.source.line(row);
      const node = makeRow(line, { marks: this.marksOf(line), isCurrent: this.isCurrent(row), times: this.times });
      node.dataset.row = row;
      this.rows.insertBefore(node, next);
      this.nodes.set(row, node);
    }
  }

  // Answers whether a row in sight was not as high as thought.
  correct() {
    let grown = 0;
    for (const [row, node] of this.nodes) grown += Math.abs(this.heights.set(row, Math.max(1, Math.round(node.offsetHeight / this.lineHeight))));
    return grown > 0;
  }
}
