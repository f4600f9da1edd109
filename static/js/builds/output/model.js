// A build's output as steps with their lines. "step" and "done" records begin and end a step; every other line belongs
// to the step begun last, to "Preparing" before the first, to "Finishing" after the last.

import { parseLine, PLAIN } from "../../logs/ansi.js";
import { LONGEST_ROW, NOTE } from "../../logs/lines.js";
import { STDERR, STDOUT } from "../../logs/frames.js";

const STREAMS = { stderr: STDERR, error: NOTE, note: NOTE };
const TONES = { error: "bad" };
const ENDS = new Set(["cached", "built", "failed", "cancelled"]);

export class Step {
  constructor(key, title, at, number) {
    Object.assign(this, { key, title, startedAt: at, number, state: "running", seconds: null });
    this.lines = [];
    this.found = []; // of these, the ones a search has found
    this.choice = null; // whether the reader opened or folded it
    this.searchChoice = null; // the same while a search is on
    this.style = PLAIN; // what the next line begins in
    this.open = null; // a progress line that what comes next may overwrite
    this.changed = true;
  }

  get isStep() {
    return this.number > 0;
  }

  end(state, seconds = null) {
    Object.assign(this, { state, seconds, changed: true, open: null });
  }
}

export class Output {
  constructor() {
    this.steps = []; // in the order they appear, groups of lines outside of steps among them
    this.lines = []; // all, in the order they came: line N is lines[N - 1]
    this.current = null;
    this.begun = 0;
    this.ended = "";
    this.overwritten = []; // numbers of lines that changed, since last asked
  }

  // What logs/search.js asks for: first, end, get(index).
  get first() {
    return 0;
  }

  get end() {
    return this.lines.length;
  }

  get(index) {
    return this.lines[index];
  }

  take([, at, stream, text]) {
    if (stream === "step") this.begin(text, at);
    else if (stream === "done") this.finish(text);
    else this.write(stream, text, at);
  }

  begin(text, at) {
    const [key, title] = cut(text);
    const again = this.find(key);
    if (again?.state === "running") again.end("unfinished"); // a second attempt begins it anew
    if (this.current && !this.current.isStep) this.close(this.current, this.begun ? "Between steps" : "");
    this.begun += 1;
    this.current = this.push(new Step(key, title || key, at, this.begun));
  }

  finish(text) {
    const [key, rest] = cut(text);
    const [state, seconds] = rest.split("\t");
    const length = Number.parseFloat(seconds);
    this.find(key)?.end(ENDS.has(state) ? state : "unfinished", Number.isFinite(length) ? length : null);
  }

  // The newest step of a key.
  find(key) {
    return this.steps.findLast((step) => step.isStep && step.key === key);
  }

  push(step) {
    this.steps.push(step);
    return step;
  }

  close(group, title = "") {
    if (title) group.title = title;
    group.end("built");
  }

  // The step lines go to now.
  place(at) {
    const { current } = this;
    if (current?.state === "running") return current;
    const running = this.steps.findLast((step) => step.state === "running");
    if (running) return running;
    const isFirst = !this.begun;
    this.current = this.push(new Step(isFirst ? "preparing" : "finishing", isFirst ? "Preparing" : "Finishing", at, 0));
    return this.current;
  }

  write(stream, text, at) {
    const step = this.place(at);
    step.changed = true;
    const pieces = text.replace(/\r?\n$/, "").split(/\r?\n/).flatMap(cutLong);
    const unfinished = !text.endsWith("\n") && pieces.at(-1).includes("\r");
    pieces.forEach((piece, index) => {
      const line = this.line(step, stream, piece, at);
      step.open = unfinished && index === pieces.length - 1 ? { line, raw: piece } : null;
    });
  }

  line(step, stream, piece, at) {
    const { open } = step;
    const parsed = parseLine(piece, step.style);
    step.style = parsed.style;
    if (open && (open.raw.endsWith("\r") || piece.startsWith("\r"))) {
      Object.assign(open.line, { text: parsed.text, runs: parsed.runs, at });
      this.overwritten.push(open.line.number);
      return open.line;
    }
    const line = { number: this.lines.length + 1, stream: STREAMS[stream] ?? STDOUT, tone: TONES[stream], text: parsed.text, runs: parsed.runs, at, step };
    this.lines.push(line);
    step.lines.push(line);
    return line;
  }

  // The operation is over: what still runs never said how it ended.
  conclude(state) {
    this.ended = state;
    for (const step of this.steps) {
      if (step.state !== "running") continue;
      if (step.isStep) step.end(state === "cancelled" ? "cancelled" : "unfinished");
      else step.end(state === "succeeded" ? "built" : state === "cancelled" ? "cancelled" : "failed");
    }
  }

  // Everything as text, each step under its instruction.
  *text() {
    for (const step of this.steps) {
      const how = step.state === "built" || step.state === "running" ? "" : ` (${step.state})`;
      yield `${step.isStep ? `#${step.number} ` : ""}${step.title}${how}\n`;
      for (const line of step.lines) yield `${line.text}\n`;
      yield "\n";
    }
  }
}

// A line as long as a file is many rows: no browser lays it out as one.
function cutLong(line) {
  if (line.length <= LONGEST_ROW) return [line];
  return Array.from({ length: Math.ceil(line.length / LONGEST_ROW) }, (_, at) => line.slice(at * LONGEST_ROW, (at + 1) * LONGEST_ROW));
}

function cut(text) {
  const [key] = text.split("\t", 1);
  return [key, text.slice(key.length + 1).trim()];
}
