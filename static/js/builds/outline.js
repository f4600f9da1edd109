// A Dockerfile in outline, as far as completion has to know it: where instructions are, which stages and variables.

import { closes, escapeIn, goesOn, heredocsIn } from "./dockerfile.js";

const WITH_HEREDOCS = /^\s*(?:ONBUILD\s+)?(?:RUN|COPY|ADD)\b/i;

// → [{name, text, from, to}]: the lines (counted from 0) an instruction reaches over, without heredocs' bodies. What
// stands in a body belongs to no instruction.
export function outline(lines) {
  const found = [];
  let escape = "\\";
  let open = null;
  let bodies = [];
  let head = true;
  lines.forEach((line, number) => {
    if (bodies.length) {
      if (closes(line, bodies[0])) bodies.shift();
      return;
    }
    if (/^\s*#/.test(line)) {
      if (head) escape = escapeIn(line) || escape;
      return;
    }
    if (!line.trim()) return;
    head = false;
    const more = goesOn(line, escape);
    const text = more ? line.trimEnd().slice(0, -1) : line;
    if (!open) found.push((open = { name: /^\s*([a-z]*)/i.exec(line)[1].toUpperCase(), text: "", from: number, to: number }));
    open.text += text;
    open.to = number;
    if (more) return;
    if (WITH_HEREDOCS.test(open.text)) bodies = heredocsIn(open.text);
    open = null;
  });
  return found;
}

// The names of the stages begun above a line.
export function stagesAbove(instructions, line) {
  const names = [];
  for (const { name, text, from } of instructions) {
    if (name !== "FROM" || from >= line) continue;
    const stage = /\sAS\s+([\w.-]+)\s*$/i.exec(text);
    if (stage) names.push(stage[1]);
  }
  return names;
}

// The names ARG and ENV have set above a line, in its stage or before the first.
export function variablesAbove(instructions, line) {
  let names = new Set();
  const globals = new Set();
  for (const { name, text, from } of instructions) {
    if (from >= line) break;
    if (name === "FROM") names = new Set();
    if (name !== "ARG" && name !== "ENV") continue;
    const rest = text.replace(/^\s*\S+\s*/, "");
    const pairs = [...rest.matchAll(/(?:^|\s)([A-Za-z_]\w*)(?==)/g)].map((match) => match[1]);
    const alone = name === "ARG" ? rest.split(/\s+/).filter((word) => /^[A-Za-z_]\w*$/.test(word)) : pairs.length ? [] : [rest.split(/\s/)[0]];
    for (const each of [...pairs, ...alone]) names.add(each);
    if (!instructions.some((other) => other.name === "FROM" && other.from < from)) names.forEach((each) => globals.add(each));
  }
  return [...new Set([...names, ...globals])].filter(Boolean);
}
