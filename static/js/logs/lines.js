// The lines a page holds: the newest of them, by number of lines and by characters. And how units become lines.

import { PLAIN, parseLine } from "./ansi.js";

export const MOST_LINES = 200_000;
const MOST_CHARACTERS = 32 * 1024 * 1024;
// A longer line is shown in several rows: neither a browser's layout nor a person copes with one of 100 MB.
export const LONGEST_ROW = 16 * 1024;
export const NOTE = 0; // the "stream" of what the viewer itself says between the lines

export class Lines {
  constructor(capacity = MOST_LINES) {
    this.capacity = capacity;
    this.clear();
  }

  clear() {
    this.items = new Array(this.capacity);
    this.first = 0;
    this.end = 0;
    this.characters = 0;
    this.dropped = 0;
  }

  get count() {
    return this.end - this.first;
  }

  get(number) {
    return this.items[number % this.capacity];
  }

  push(line) {
    if (this.count === this.capacity) this.shift();
    this.items[this.end % this.capacity] = line;
    this.end += 1;
    this.characters += line.text.length;
    while (this.characters > MOST_CHARACTERS && this.count > 1) this.shift();
    return this.end - 1;
  }

  shift() {
    const at = this.first % this.capacity;
    this.characters -= this.items[at].text.length;
    this.items[at] = undefined;
    this.first += 1;
    this.dropped += 1;
  }

  replace(number, line) {
    if (number < this.first) return false;
    this.characters += line.text.length - this.get(number).text.length;
    this.items[number % this.capacity] = line;
    return true;
  }
}

// What is known of one stream's unfinished line.
class Open {
  constructor() {
    this.decoder = new TextDecoder();
    this.style = PLAIN;
    this.reset();
  }

  reset() {
    this.raw = "";
    this.number = -1; // the row that shows it, -1: none yet
    this.continued = false;
    this.stamp = null;
    this.mid = false; // the decoder holds half a character
  }
}

// Units in, rows out: `add(line)` answers the row's number, `change(number, line)` shows an unfinished row anew.
export class Assembler {
  constructor(add, change) {
    this.add = add;
    this.change = change;
    this.forget();
  }

  forget() {
    this.open = [new Open(), new Open(), new Open(), new Open()];
  }

  take(stream, stamp, bytes) {
    const open = this.open[stream];
    const text = this.decode(open, bytes);
    let at = 0;
    for (;;) {
      const newline = text.indexOf("\n", at);
      if (newline < 0) break;
      this.row(stream, open, stamp, at === 0 && newline === text.length - 1 ? text.slice(0, -1) : text.slice(at, newline), true);
      at = newline + 1;
    }
    if (at < text.length) this.row(stream, open, stamp, at ? text.slice(at) : text, false);
  }

  decode(open, bytes) {
    const whole = bytes[bytes.length - 1] === 10;
    if (whole && !open.mid) return decoder.decode(bytes);
    open.mid = !whole;
    return open.decoder.decode(bytes, { stream: !whole });
  }

  row(stream, open, stamp, piece, finished) {
    if (open.raw === "" && open.number < 0 && !open.continued && finished && piece.length <= LONGEST_ROW) {
      this.add(this.line(stream, open, stamp, piece, true)); // nearly every line comes this way
      return;
    }
    open.stamp ??= stamp ? { seconds: stamp.seconds, nanos: stamp.nanos } : null;
    let rest = open.raw + piece;
    while (rest.length > LONGEST_ROW) {
      this.show(stream, open, rest.slice(0, LONGEST_ROW), true);
      rest = rest.slice(LONGEST_ROW);
      open.number = -1;
      open.continued = true;
    }
    if (rest || !open.continued) this.show(stream, open, rest, finished);
    open.raw = rest;
    if (finished) open.reset();
  }

  show(stream, open, raw, final) {
    const line = this.line(stream, open, open.stamp, raw, final);
    line.continued = open.continued;
    if (open.number < 0) open.number = this.add(line);
    else this.change(open.number, line);
  }

  line(stream, open, stamp, raw, final) {
    const trimmed = raw.charCodeAt(raw.length - 1) === 13 ? raw.slice(0, -1) : raw;
    const { text, runs, style } = parseLine(trimmed, open.style);
    if (final) open.style = style;
    return { stream, seconds: stamp ? stamp.seconds : 0, nanos: stamp ? stamp.nanos : 0, text, runs, continued: false };
  }
}

const decoder = new TextDecoder();
