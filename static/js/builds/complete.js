// Completion in a Dockerfile: what may stand where the caret is.

import { startCompletion } from "../../vendor/codemirror/codemirror.js";
import { outline, stagesAbove, variablesAbove } from "./outline.js";
import { FLAGS, HINTS, MOUNTS, PREDEFINED, SHARING, VALUES } from "./words.js";

const WORD = /^[\w./:$-]*$/;

export function complete(context) {
  const { doc } = context.state;
  const place = doc.lineAt(context.pos);
  const number = place.number - 1;
  const instructions = outline(doc.toString().split("\n"));
  const inside = instructions.find(({ from, to }) => from <= number && number <= to);
  const before = place.text.slice(0, context.pos - place.from);
  if (!inside && place.text.trim()) return null; // a comment, or a heredoc's body
  if (!inside && !isFree(instructions, doc, number)) return null;
  if (!inside || (inside.from === number && /^\s*[a-z]*$/i.test(before))) return ofInstructions(context, before);
  return ofWords(context, before, inside, { number, instructions });
}

// An empty line within a heredoc is part of it: the outline of all before it, an instruction put there, tells.
function isFree(instructions, doc, number) {
  const lines = doc.toString().split("\n").slice(0, number);
  return outline([...lines, "RUN x"]).some(({ from }) => from === lines.length);
}

function ofInstructions(context, before) {
  const typed = /[a-z]*$/i.exec(before)[0];
  if (!typed && !context.explicit) return null;
  const small = typed !== "" && typed === typed.toLowerCase();
  return answer(context.pos - typed.length, instructionOptions(), /^[a-z]*$/i, small);
}

function instructionOptions() {
  return Object.entries(HINTS).map(([name, [takes, info]]) => ({ label: name, detail: takes, info, type: "keyword", apply: `${name} ` }));
}

function ofWords(context, before, inside, where) {
  const word = /\S*$/.exec(before)[0];
  const start = context.pos - word.length;
  const instruction = inside.name === "ONBUILD" ? (/^\s*onbuild\s+([a-z]+)\s/i.exec(inside.text)?.[1].toUpperCase() ?? "ONBUILD") : inside.name;
  const head = inside.from === where.number ? before : `${inside.text.split(/\s/)[0]} `;
  const variable = /\$\{?(\w*)$/.exec(word);
  if (variable) return ofVariables(context, variable, where);
  if (instruction === "ONBUILD") return answer(start, instructionOptions().filter(({ label }) => !["FROM", "ONBUILD", "MAINTAINER"].includes(label)), /^[a-z]*$/i);
  if (word.startsWith("-")) return ofFlags(context, word, start, instruction, where);
  if (instruction === "FROM") return ofFrom(context, head, word, start, where);
  if (instruction === "HEALTHCHECK" && !/\s(CMD|NONE)\s/i.test(head)) return answer(start, [plain("CMD", "The command that looks.", "keyword"), plain("NONE", "No look, whatever the image below says.", "keyword")], /^[a-z]*$/i);
  return null;
}

function ofVariables(context, [, typed], { number, instructions }) {
  const names = variablesAbove(instructions, number);
  const options = [...names.map((name) => plain(name, "", "variable")), ...PREDEFINED.filter((name) => !names.includes(name)).map((name) => (plain(name, "Known to every build; a stage has to name it with ARG.", "variable")))];
  return answer(context.pos - typed.length, options, /^\w*$/);
}

function ofFrom(context, head, word, start, { number, instructions }) {
  const words = head.trim().split(/\s+/).filter((each) => !each.startsWith("--"));
  const nth = words.length - (word ? 1 : 0); // 1: the image, 2: AS
  if (nth === 1) {
    const stages = stagesAbove(instructions, number).map((name) => plain(name, "A stage above.", "class"));
    return answer(start, [...stages, plain("scratch", "Nothing at all: what is copied is what there is.", "class")], WORD);
  }
  return nth === 2 ? answer(start, [{ ...plain("AS", "Names the stage.", "keyword"), apply: "AS " }], /^[a-z]*$/i) : null;
}

function ofFlags(context, word, start, instruction, where) {
  const equals = word.indexOf("=");
  if (equals < 0) {
    const options = (FLAGS[instruction] ?? []).map(([label, info]) => ({ label, info, type: "property", apply: withMore(label) }));
    return answer(start, options, /^[\w-]*$/);
  }
  const flag = word.slice(0, equals + 1);
  if (flag === "--mount=") return ofMount(context, word.slice(equals + 1), where);
  const from = start + flag.length;
  if (flag === "--from=") return answer(from, stagesAbove(where.instructions, where.number).map((name) => plain(name, "A stage above.", "class")), WORD);
  return VALUES[flag] ? answer(from, VALUES[flag].map((value) => plain(value)), WORD) : null;
}

// type=cache,target=… : the fields of a mount, one after the other.
function ofMount(context, text, { number, instructions }) {
  const field = text.split(",").at(-1);
  const type = /(?:^|,)type=(\w+)/.exec(text)?.[1] ?? "bind";
  const [key, value] = field.split("=");
  const from = context.pos - (value ?? key).length;
  if (value === undefined) {
    const keys = text.includes("type=") ? (MOUNTS[type]?.[1] ?? []) : ["type=", ...MOUNTS.bind[1]];
    return answer(from, keys.map((label) => ({ label, type: "property", apply: withMore(label) })), /^\w*$/);
  }
  if (key === "type") return answer(from, Object.entries(MOUNTS).map(([name, [info]]) => plain(name, info)), /^\w*$/);
  if (key === "sharing") return answer(from, SHARING.map((name) => plain(name)), /^\w*$/);
  if (key === "from") return answer(from, stagesAbove(instructions, number).map((name) => plain(name, "A stage above.", "class")), WORD);
  return null;
}

// What ends with "=" is followed by what it may be.
function withMore(label) {
  if (!label.endsWith("=")) return label;
  return (view, completion, from, to) => {
    view.dispatch({ changes: { from, to, insert: label }, selection: { anchor: from + label.length }, userEvent: "input.complete" });
    startCompletion(view);
  };
}

function plain(label, info = "", type = "constant") {
  return { label, type, ...(info && { info }) };
}

function answer(from, options, validFor, small = false) {
  if (!options.length) return null;
  const ordered = options.map((option, index) => ({ boost: Math.max(-99, 50 - index), ...option })); // ours, not the alphabet's
  return { from, validFor, options: small ? ordered.map((option) => ({ ...option, label: option.label.toLowerCase(), displayLabel: option.label })) : ordered };
}
