// A Dockerfile's syntax for the editor's colours: instructions, flags, words of each, shell in RUN, here-documents.
// It need not be right about every corner (the lint is the builder's own reader), but never loses its place for long.

import { shell, StreamLanguage } from "../../vendor/codemirror/codemirror.js";

export const INSTRUCTIONS = ["FROM", "ARG", "RUN", "COPY", "ADD", "ENV", "WORKDIR", "CMD", "ENTRYPOINT", "EXPOSE", "USER", "VOLUME", "LABEL", "HEALTHCHECK", "SHELL", "STOPSIGNAL", "ONBUILD", "MAINTAINER"];
const KNOWN = new Set(INSTRUCTIONS);
const WITH_HEREDOCS = new Set(["RUN", "COPY", "ADD"]);
const WITH_SHELL = new Set(["RUN", "CMD", "ENTRYPOINT", "HEALTHCHECK"]);
const WITH_PAIRS = new Set(["ENV", "ARG", "LABEL"]);
const HEREDOC = /^<<(-?)(["']?)([\w.-]+)\2/;
const VARIABLE = /^\$(?:\{[^}\s]*\}?|\w+)/;

// Whether a line goes on in the next: an escape character at its end, not two, white space behind it allowed.
export function goesOn(line, escape = "\\") {
  const end = line.trimEnd();
  return end.endsWith(escape) && !end.endsWith(escape + escape);
}

// The escape character that a `# escape=` in the first lines sets.
export function escapeIn(line) {
  return /^\s*#\s*escape\s*=\s*([\\`])\s*$/i.exec(line)?.[1] ?? "";
}

// The heredocs a line announces: [{name, tabs}].
export function heredocsIn(line) {
  return [...line.matchAll(/(?:^|[\s\d;&|(])<<(-?)(["']?)([\w.-]+)\2/g)].map((match) => ({ name: match[3], tabs: match[1] === "-" }));
}

export function closes(line, { name, tabs }) {
  return (tabs ? line.replace(/^\t+/, "") : line) === name;
}

const mode = {
  name: "dockerfile",
  languageData: { commentTokens: { line: "#" }, closeBrackets: { brackets: ["[", "{", '"', "'"] } },
  startState: () => ({ instruction: "", escape: "\\", goesOn: false, head: true, flags: false, words: 0, shell: null, announced: [], bodies: [], json: false }),
  copyState: (state) => ({
    ...state,
    announced: [...state.announced],
    bodies: [...state.bodies],
    shell: state.shell && { tokens: [...state.shell.tokens] },
  }),
  token(stream, state) {
    if (stream.sol()) {
      const style = beginLine(stream, state);
      if (style) return style;
    }
    if (stream.eatSpace()) return null;
    if (isLineEnd(stream, state)) return stream.skipToEnd(), "escape";
    return state.instruction ? inInstruction(stream, state) : begin(stream, state);
  },
};

// What a whole line is, when it is one thing; otherwise the state is made ready for its words.
function beginLine(stream, state) {
  if (!state.goesOn && state.announced.length) {
    state.bodies.push(...state.announced);
    state.announced = [];
    state.shell = state.instruction === "RUN" ? shell.startState() : null;
  }
  if (state.bodies.length) return inBody(stream, state);
  if (/^\s*#/.test(stream.string)) {
    const escape = state.head ? escapeIn(stream.string) : "";
    if (escape) state.escape = escape;
    const isDirective = state.head && /^\s*#\s*(syntax|escape|check)\s*=/i.test(stream.string);
    if (!isDirective) state.head = false;
    stream.skipToEnd();
    return isDirective ? "meta" : "comment";
  }
  state.head = false;
  if (!state.goesOn) Object.assign(state, { instruction: "", flags: true, words: 0, shell: null, json: false });
  state.goesOn = goesOn(stream.string, state.escape);
  return null;
}

function inBody(stream, state) {
  if (closes(stream.string, state.bodies[0])) {
    state.bodies.shift();
    if (!state.bodies.length) Object.assign(state, { goesOn: false, instruction: "", shell: null });
    stream.skipToEnd();
    return "labelName";
  }
  if (!state.shell) {
    stream.skipToEnd();
    return "string";
  }
  return shell.token(stream, state.shell);
}

function isLineEnd(stream, state) {
  return state.goesOn && stream.peek() === state.escape && /^.\s*$/.test(stream.string.slice(stream.pos));
}

function begin(stream, state) {
  const word = stream.match(/^[^\s=]+/)?.[0].toUpperCase();
  if (!word) return stream.next(), null;
  state.instruction = word;
  return KNOWN.has(word) ? "keyword" : "invalid";
}

function inInstruction(stream, state) {
  if (state.bodies.length) return inBody(stream, state);
  const { instruction } = state;
  if (state.flags && stream.match(/^--[a-z-]+/i)) {
    if (stream.peek() === "=") stream.next();
    return "attributeName";
  }
  // A flag's value is what stands behind its sign, up to the next white space.
  if (state.flags && stream.pos > 0 && stream.string[stream.pos - 1] === "=") {
    if (stream.match(VARIABLE)) return "variableName.special";
    return stream.match(/^[^\s$]+/), "string";
  }
  if (WITH_HEREDOCS.has(instruction)) {
    const found = stream.match(HEREDOC);
    if (found) {
      state.flags = false;
      state.announced.push({ name: found[3], tabs: found[1] === "-" });
      return "labelName";
    }
  }
  if (instruction === "ONBUILD") return begin(stream, state);
  if (instruction === "HEALTHCHECK" && state.flags && stream.match(/^(CMD|NONE)\b/i)) {
    state.flags = false;
    return "keyword";
  }
  const first = state.flags;
  state.flags = false;
  if (first && stream.peek() === "[") state.json = true;
  if (WITH_SHELL.has(instruction) && !state.json) {
    state.shell ??= shell.startState();
    return shell.token(stream, state.shell);
  }
  return word(stream, state);
}

function word(stream, state) {
  if (stream.match(VARIABLE)) return "variableName.special";
  if (stream.match(/^"(?:[^"\\]|\\.)*"?|^'[^']*'?/)) return "string";
  if (state.json && stream.match(/^[[\],]/)) return "punctuation";
  const { instruction } = state;
  if (instruction === "FROM") return fromWord(stream, state);
  if (WITH_PAIRS.has(instruction) && stream.match(/^[\w.\-/]+(?==)/)) return "propertyName";
  if (instruction === "EXPOSE" && stream.match(/^\d+/)) return "number";
  if (stream.match(/^[^\s"'$[\],=]+/)) return null;
  stream.next();
  return null;
}

function fromWord(stream, state) {
  if (state.words > 0 && stream.match(/^as(?=\s|$)/i)) {
    state.words = 2;
    return "keyword";
  }
  if (!stream.match(/^[^\s$]+/)) stream.next();
  state.words ||= 1;
  return state.words === 2 ? "labelName" : "typeName";
}

export const dockerfile = StreamLanguage.define(mode);
