// A line as a program wrote it for a terminal → plain text and styled runs. SGR colours are kept; every other escape
// sequence (titles, links, clipboard, cursor) is dropped; what is left of control characters is made visible.

const SPECIAL = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]/;
// ESC or its 8-bit form, then: CSI | a string (OSC, DCS, SOS, PM, APC) to its terminator or the line's end | other.
// A lone control character ends the match too. Unterminated sequences swallow what follows, as in a terminal.
const TOKEN =
  /(?:\x1b\[|\x9b)([\x30-\x3f]*)([\x20-\x2f]*)([\x40-\x7e]?)|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$|(?=\x1b))|\x1b[\x20-\x2f]*[\x30-\x7e]?|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

export const PLAIN = Object.freeze({ fg: null, bg: null, bold: false, dim: false, italic: false, underline: false, inverse: false, strike: false, hidden: false });

const FLAGS = { 1: ["bold", true], 2: ["dim", true], 3: ["italic", true], 4: ["underline", true], 7: ["inverse", true], 8: ["hidden", true], 9: ["strike", true], 23: ["italic", false], 24: ["underline", false], 27: ["inverse", false], 28: ["hidden", false], 29: ["strike", false] };

// Styles are shared: a log repeats a few. The bound is for a program that draws rainbows.
const shared = new Map();

function share(style) {
  const key = `${style.fg}|${style.bg}|${+style.bold}${+style.dim}${+style.italic}${+style.underline}${+style.inverse}${+style.strike}${+style.hidden}`;
  let found = shared.get(key);
  if (!found) {
    if (shared.size > 4096) shared.clear();
    shared.set(key, (found = key === "null|null|0000000" ? PLAIN : Object.freeze(style)));
  }
  return found;
}

// A colour: 0–15 as a number (the theme's own), the rest as "#rrggbb".
function indexed(number) {
  if (!(number >= 0 && number <= 255)) return null;
  if (number < 16) return number;
  if (number >= 232) return hex(...Array(3).fill(8 + (number - 232) * 10));
  const level = (value) => (value ? 55 + value * 40 : 0);
  const cube = number - 16;
  return hex(level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6));
}

function hex(...parts) {
  return `#${parts.map((part) => Math.min(255, Math.max(0, part | 0)).toString(16).padStart(2, "0")).join("")}`;
}

// 38;5;n, 38;2;r;g;b and their forms with colons. Answers [colour, parameters used].
function extended(values, at) {
  if (values[at + 1] === 5) return [indexed(values[at + 2]), 2];
  if (values[at + 1] === 2) return [hex(values[at + 2], values[at + 3], values[at + 4]), 4];
  return [null, 1];
}

function withColons(group) {
  const parts = group.split(":").map((part) => (part === "" ? 0 : Number(part)));
  // 38:2:<space>:r:g:b has a colour space before its colours.
  if (parts[1] === 2 && parts.length > 5) parts.splice(2, 1);
  return parts;
}

export function applySgr(style, parameters) {
  const next = { ...style };
  const groups = parameters.split(";");
  const values = groups.map((group) => (group === "" ? 0 : Number(group.split(":")[0])));
  for (let i = 0; i < values.length; i += 1) {
    const value = values[i];
    const colons = groups[i].includes(":");
    if (value === 0) Object.assign(next, PLAIN);
    else if (value === 4 && colons) next.underline = !groups[i].startsWith("4:0");
    else if (FLAGS[value]) next[FLAGS[value][0]] = FLAGS[value][1];
    else if (value === 22) next.bold = next.dim = false;
    else if (value === 21) next.underline = true;
    else if (value >= 30 && value <= 37) next.fg = value - 30;
    else if (value >= 40 && value <= 47) next.bg = value - 40;
    else if (value >= 90 && value <= 97) next.fg = value - 82;
    else if (value >= 100 && value <= 107) next.bg = value - 92;
    else if (value === 39) next.fg = null;
    else if (value === 49) next.bg = null;
    else if (value === 38 || value === 48) {
      const [colour, used] = colons ? extended(withColons(groups[i]), 0) : extended(values, i);
      next[value === 38 ? "fg" : "bg"] = colour;
      if (!colons) i += used;
    }
  }
  return share(next);
}

function visible(character) {
  const code = character.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  if (code > 0x9f) return `‹U+${code.toString(16).toUpperCase()}›`; // turns the direction of what follows
  return "";
}

// → {text, runs, style}: runs is null, or a flat list [start, style, start, style …]; style is what the next line begins in.
export function parseLine(raw, style = PLAIN) {
  if (style === PLAIN && !SPECIAL.test(raw)) return { text: raw, runs: null, style };
  const out = new Writer(style);
  let last = 0;
  for (const token of raw.matchAll(TOKEN)) {
    out.text(raw.slice(last, token.index));
    last = token.index + token[0].length;
    const first = token[0][0];
    if (token[3] !== undefined) {
      if (token[3] === "m" && !/[^\d;:]/.test(token[1])) out.style = applySgr(out.style, token[1]);
    } else if (first === "\r") out.overwrite = true;
    else if (first === "\b") out.back();
    else if (token[0].length === 1 && first !== "\x1b" && first !== "\x07") out.text(visible(first));
  }
  out.text(raw.slice(last));
  return { text: out.plain, runs: out.runs.length === 2 && out.runs[1] === PLAIN ? null : out.runs.length ? out.runs : null, style: out.style };
}

class Writer {
  constructor(style) {
    this.plain = "";
    this.runs = [];
    this.style = style;
    this.overwrite = false; // after a carriage return: what comes replaces the line, as a progress bar does
  }

  text(piece) {
    if (!piece) return;
    if (this.overwrite) {
      this.plain = "";
      this.runs = [];
      this.overwrite = false;
    }
    if (this.runs.at(-1) !== this.style) this.runs.push(this.plain.length, this.style);
    this.plain += piece;
  }

  back() {
    this.plain = this.plain.slice(0, -1);
    while (this.runs.length && this.runs.at(-2) > this.plain.length) this.runs.splice(-2);
  }
}
