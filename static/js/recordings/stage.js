// Plays events of a cast on an xterm: in pieces, so that the page answers meanwhile.
import { size } from "./cast.js";

const PIECE = 128 * 1024; // characters written at once
const SLICE = 12; // ms of work before the page gets its turn

export class Stage {
  constructor(terminal, onResize = () => {}) {
    this.terminal = terminal;
    this.onResize = onResize;
    this.rested = performance.now();
  }

  // The events from `from` up to `to`; where it came to, which is before `to` once `isStale()`.
  async apply(cast, from, to, isStale = () => false) {
    let at = from;
    while (at < to) {
      let text = "";
      while (at < to && text.length < PIECE && cast.codes[at] !== "r") {
        if (cast.codes[at] === "o") text += cast.data[at];
        at += 1;
      }
      if (text) await this.write(text);
      if (at < to && cast.codes[at] === "r") {
        const wanted = size(cast.data[at]);
        if (wanted) this.resize(...wanted);
        at += 1;
      }
      await this.rest();
      if (isStale()) break;
    }
    return at;
  }

  write(text) {
    return new Promise((resolve) => { this.terminal.write(text, resolve); });
  }

  resize(columns, rows) {
    if (columns === this.terminal.cols && rows === this.terminal.rows) return;
    this.terminal.resize(Math.max(2, columns), rows);
    this.onResize();
  }

  // A blank screen of that size, or the one that `state` (of the serialize addon) holds.
  async begin(columns, rows, state = "") {
    this.terminal.reset();
    this.resize(columns, rows);
    if (state) await this.write(state);
  }

  async rest() {
    if (performance.now() - this.rested < SLICE) return;
    await new Promise((resolve) => { setTimeout(resolve); });
    this.rested = performance.now();
  }
}
