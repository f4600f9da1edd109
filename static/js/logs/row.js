// One line as an element. Text only ever becomes text nodes; colours are set through the CSSOM.

import { PLAIN } from "./ansi.js";
import { NOTE } from "./lines.js";
import { STDERR } from "./frames.js";
import { exactTime, localTime } from "./times.js";

// A level as loggers write it, near the line's beginning: LEVEL in capitals, level=…, "level":"…".
const LEVEL =
  /\b(?:(FATAL|PANIC|CRITICAL|ERROR|ERR)|(WARN(?:ING)?)|(INFO|NOTICE)|(DEBUG|TRACE))\b|\blevel"?[=:]\s?"?(?:(fatal|panic|critical|error|err)|(warn(?:ing)?)|(info|notice)|(debug|trace))\b/;
const LEVELS = ["bad", "warn", "info", "faint"];
const LOOK_FOR_LEVEL = 160;

export function makeRow(line, { marks = [], isCurrent = false, times = true } = {}) {
  const row = document.createElement("div");
  row.className = line.stream === NOTE ? `line note ${line.tone ?? ""}` : line.stream === STDERR ? "line stderr" : "line stdout";
  if (line.continued) row.classList.add("continued");
  if (isCurrent) row.classList.add("current");
  if (times) row.append(time(line));
  const text = document.createElement("span");
  text.className = "text";
  if (line.runs || marks.length) fill(text, line, marks, isCurrent);
  else plain(text, line);
  row.append(text);
  return row;
}

function time(line) {
  const element = document.createElement("time");
  element.className = "at";
  if (line.seconds) {
    element.textContent = line.continued ? "" : localTime(line.seconds, line.nanos);
    element.title = exactTime(line.seconds, line.nanos);
  }
  return element;
}

function plain(element, line) {
  const found = line.stream === NOTE ? null : LEVEL.exec(line.text.slice(0, LOOK_FOR_LEVEL));
  if (!found) {
    element.textContent = line.text;
    return;
  }
  const group = found.findIndex((part, index) => index > 0 && part !== undefined);
  const word = found[group];
  const at = found.index + found[0].lastIndexOf(word);
  const level = document.createElement("span");
  level.className = `level-${LEVELS[(group - 1) % 4]}`;
  level.textContent = word;
  element.append(line.text.slice(0, at), level, line.text.slice(at + word.length));
}

// Cut the text at every beginning and end of a run and of a match.
function fill(element, line, marks, isCurrent) {
  const runs = line.runs ?? [0, PLAIN];
  const length = line.text.length;
  let mark = 0;
  for (let i = 0; i < runs.length; i += 2) {
    const end = Math.min(length, i + 2 < runs.length ? runs[i + 2] : length);
    let at = runs[i];
    while (at < end) {
      while (mark < marks.length && marks[mark + 1] <= at) mark += 2;
      const inside = mark < marks.length && marks[mark] <= at;
      const next = Math.min(end, mark < marks.length ? (inside ? marks[mark + 1] : marks[mark]) : end);
      element.append(piece(line.text.slice(at, next), runs[i + 1], inside, isCurrent));
      at = next;
    }
  }
}

function piece(text, style, isMatch, isCurrent) {
  if (style === PLAIN && !isMatch) return text;
  const element = document.createElement(isMatch ? "mark" : "span");
  element.textContent = text;
  if (isMatch && isCurrent) element.className = "current";
  if (style !== PLAIN) dress(element, style);
  return element;
}

function dress(element, style) {
  const [fg, bg] = style.inverse ? [style.bg ?? "ground", style.fg ?? "ink"] : [style.fg, style.bg];
  // Bold brightens the eight dark colours, as most terminals do.
  colour(element, "fg", "color", style.bold && typeof fg === "number" && fg < 8 ? fg + 8 : fg);
  if (element.tagName !== "MARK") colour(element, "bg", "backgroundColor", bg);
  for (const flag of ["bold", "dim", "italic", "underline", "strike", "hidden"]) if (style[flag]) element.classList.add(`sgr-${flag}`);
}

function colour(element, prefix, property, value) {
  if (value === null) return;
  if (typeof value === "string" && value[0] === "#") element.style[property] = value;
  else element.classList.add(`${prefix}-${value}`);
}
