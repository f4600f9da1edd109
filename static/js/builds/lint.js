// Asks the builder's own reader what is wrong with a Dockerfile, as it is typed: marks in the text, and a list below.

import { linter, lintGutter } from "../../vendor/codemirror/codemirror.js";
import { changeHeaders, el, icon } from "./parts.js";

const QUIET = 400; // ms without a key
const SHAPES = { error: ["s-dead", "bad"], warning: ["s-warning", "warn"], info: ["info", "busy"] };

// `list`: where the findings are said. Answers the editor's extension.
export function lintWith(address, list) {
  let asking = null;
  const source = async (view) => {
    const { doc } = view.state;
    asking?.abort();
    asking = new AbortController();
    if (!doc.toString().trim()) {
      show(list, [], view);
      return [];
    }
    try {
      const found = (await ask(address, doc.toString(), asking.signal)).filter(({ line }) => line >= 1);
      if (view.state.doc === doc) show(list, found, view);
      return found.map((each) => placed(each, doc));
    } catch (error) {
      if (error.name !== "AbortError" && view.state.doc === doc) list.replaceChildren(el("p", { class: "lint-none muted" }, "It could not be checked just now. The build checks it in any case."));
      return [];
    }
  };
  return [linter(source, { delay: QUIET }), lintGutter()];
}

async function ask(address, dockerfile, signal) {
  const response = await fetch(address, { method: "POST", headers: { ...changeHeaders(), "Content-Type": "application/json", Accept: "application/json" }, body: JSON.stringify({ dockerfile }), signal });
  if (!response.ok) throw new Error(`The server answered ${response.status}`);
  return (await response.json()).diagnostics;
}

// A finding's stretch of the text. Without columns, or with columns that are not there, it is the line's text.
function placed({ line: number, from, to, severity, message }, doc) {
  const line = doc.line(Math.min(Math.max(number, 1), doc.lines));
  const indent = line.length - line.text.trimStart().length;
  const start = line.from + Math.min(from ?? indent, line.length);
  const end = line.from + Math.min(to ?? line.text.trimEnd().length, line.length);
  return { from: start, to: Math.max(start, end), severity: SHAPES[severity] ? severity : "error", message };
}

function show(list, found, view) {
  const rows = [...found].sort((a, b) => a.line - b.line).map(({ line, severity, message, from }) => {
    const [shape, tone] = SHAPES[severity] ?? SHAPES.error;
    const go = el("button", { type: "button", class: "lint-go", onclick: () => goTo(view, line, from) }, `Line ${line}`);
    return el("li", { class: tone }, icon(shape, "state-shape"), el("span", { class: "visually-hidden" }, `${severity}: `), go, el("span", { class: "words" }, message));
  });
  list.replaceChildren(...(rows.length ? [el("ul", {}, ...rows)] : []));
}

function goTo(view, number, column) {
  const line = view.state.doc.line(Math.min(number, view.state.doc.lines));
  view.dispatch({ selection: { anchor: line.from + Math.min(column ?? 0, line.length) }, scrollIntoView: true });
  view.focus();
}
