// <textarea data-dockerfile data-lint="/builds/lint/"> becomes an editor, and stays in step with it: the form posts the
// textarea, and without script it is the field itself. <pre data-dockerfile-view data-mark-line="7"> is shown alike.

import {
  acceptCompletion,
  autocompletion,
  completionKeymap,
  Decoration,
  defaultKeymap,
  EditorState,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  highlightSelectionMatches,
  history,
  historyKeymap,
  HighlightStyle,
  keymap,
  lineNumbers,
  search,
  searchKeymap,
  syntaxHighlighting,
  tags,
} from "../../vendor/codemirror/codemirror.js";
import { complete } from "./complete.js";
import { dockerfile } from "./dockerfile.js";
import { lintWith } from "./lint.js";
import { el, whenever } from "./parts.js";

// Names for css/builds.css, where the colours are.
const COLOURS = HighlightStyle.define(
  Object.entries({
    keyword: tags.keyword,
    comment: tags.comment,
    meta: tags.meta,
    string: [tags.string, tags.special(tags.string)],
    number: tags.number,
    flag: tags.attributeName,
    name: [tags.labelName, tags.typeName],
    property: tags.propertyName,
    variable: [tags.special(tags.variableName), tags.definition(tags.variableName)],
    builtin: tags.standard(tags.variableName),
    operator: [tags.operator, tags.escape],
    invalid: tags.invalid,
  }).map(([name, tag]) => ({ tag, class: `df-${name}` })),
);

const LOOK = [lineNumbers(), dockerfile, syntaxHighlighting(COLOURS), EditorView.lineWrapping, EditorState.tabSize.of(4)];

// Tab goes on to the next field; only a completion that is open takes it.
const KEYS = keymap.of([{ key: "Tab", run: acceptCompletion }, ...completionKeymap, ...searchKeymap, ...historyKeymap, ...defaultKeymap]);

function edit(field) {
  const list = el("div", { class: "lint-list", role: "status", "aria-label": "What the check found" });
  const view = new EditorView({
    doc: field.value,
    extensions: [
      LOOK,
      history(),
      KEYS,
      highlightActiveLine(),
      highlightActiveLineGutter(),
      highlightSelectionMatches(),
      search({ top: true }),
      autocompletion({ override: [complete], icons: false, aboveCursor: false }),
      field.dataset.lint ? lintWith(field.dataset.lint, list) : [],
      EditorView.contentAttributes.of(namesOf(field)),
      EditorView.editable.of(!field.disabled),
      EditorState.readOnly.of(field.readOnly),
      EditorView.updateListener.of((update) => update.docChanged && toField(field, view)),
    ],
  });
  field.after(el("div", { class: `df-editor${field.classList.contains("is-invalid") ? " is-invalid" : ""}` }, view.dom), list);
  field.hidden = true;
  field.required = false; // a field that is not seen cannot be asked for; the server does
  for (const label of field.labels) {
    label.addEventListener("click", (event) => {
      event.preventDefault();
      view.focus();
    });
  }
  // Whoever writes the field, a template or the browser's own restoring, writes the editor.
  for (const name of ["input", "change"]) field.addEventListener(name, () => fromField(field, view));
  field.form?.addEventListener("reset", () => setTimeout(() => fromField(field, view)));
  if (field.autofocus) view.focus();
}

function namesOf(field) {
  const attributes = { "aria-label": field.getAttribute("aria-label") || [...field.labels].map((label) => label.textContent.trim()).join(" ") || "Dockerfile", spellcheck: "false", autocapitalize: "off", autocorrect: "off" };
  for (const name of ["aria-describedby", "aria-invalid"]) if (field.hasAttribute(name)) attributes[name] = field.getAttribute(name);
  return attributes;
}

function toField(field, view) {
  field.value = view.state.doc.toString();
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

function fromField(field, view) {
  if (field.value !== view.state.doc.toString()) view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: field.value } });
}

// "7" or "7-9" → the lines' decorations, and where the first is.
function marksOf(text, doc) {
  const [first, last] = (text ?? "").split("-").map(Number);
  if (!(first >= 1) || first > doc.lines) return { at: null, marks: Decoration.none };
  const lines = [];
  for (let number = first; number <= Math.min(last || first, doc.lines); number += 1) lines.push(doc.line(number).from);
  return { at: lines[0], marks: Decoration.set(lines.map((from) => Decoration.line({ class: "df-marked" }).range(from))) };
}

function show(element) {
  const state = EditorState.create({ doc: (element.value ?? element.textContent).replace(/\n$/, "") });
  const { at, marks } = marksOf(element.dataset.markLine, state.doc);
  const view = new EditorView({
    doc: state.doc,
    extensions: [
      LOOK,
      EditorState.readOnly.of(true),
      EditorView.editable.of(false),
      EditorView.decorations.of(marks),
      EditorView.contentAttributes.of({ tabindex: "0", "aria-label": element.getAttribute("aria-label") || "Dockerfile", "aria-readonly": "true" }),
      search({ top: true }),
      keymap.of(searchKeymap),
    ],
  });
  element.after(el("div", { class: "df-editor df-view" }, view.dom));
  element.hidden = true;
  if (at !== null) view.dispatch({ effects: EditorView.scrollIntoView(at, { y: "center" }) });
}

whenever("textarea[data-dockerfile]", edit);
whenever("[data-dockerfile-view]", show);
