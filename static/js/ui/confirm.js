// Asks before what cannot be undone, and says what it will hit. On a form, a submit button or an htmx element:
//   data-confirm="Remove 3 containers?"   the question (enough by itself)
//   data-confirm-text="…"                 what follows from it
//   data-confirm-hits='["web-1","db"]'    the things, listed; or data-confirm-hits="bulk": the ticked rows
//   data-confirm-verb="Remove"            the word on the button
//   data-confirm-type="edge-fra-01"       must be typed before the button works

const passed = new WeakSet();

function hitsOf(element) {
  const given = element.dataset.confirmHits;
  if (!given) return [];
  if (given !== "bulk") return JSON.parse(given);
  const scope = element.form ?? element.closest("form") ?? document;
  return [...scope.querySelectorAll(".pick:checked")].map((box) => box.dataset.name ?? box.value);
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function build(element) {
  const { confirm: question, confirmText, confirmVerb, confirmType } = element.dataset;
  const hits = hitsOf(element);
  const agree = make("button", { type: "submit", value: "yes", class: "btn btn-danger solid" }, confirmVerb || "Go ahead");
  const refuse = make("button", { type: "submit", value: "no", class: "btn", formnovalidate: "" }, "Cancel");
  const body = make("div", { class: "dialog-body" }, make("h2", { id: "confirm-title" }, question.replace("{n}", hits.length)));
  if (confirmText) body.append(make("p", {}, confirmText));
  if (hits.length) body.append(make("ul", { class: "hits", tabindex: "0", "aria-label": "What it will hit" }, ...hits.map((hit) => make("li", {}, hit))));
  if (confirmType) {
    const input = make("input", { class: "form-control mono", autocomplete: "off", spellcheck: "false", autofocus: "" });
    agree.disabled = true;
    input.addEventListener("input", () => { agree.disabled = input.value !== confirmType; });
    body.append(make("label", { class: "typed" }, "Type ", make("code", { class: "chip" }, confirmType), " to confirm", input));
  } else refuse.setAttribute("autofocus", "");
  const form = make("form", { method: "dialog" }, body, make("div", { class: "dialog-foot" }, refuse, agree));
  return make("dialog", { class: "dialog", "aria-labelledby": "confirm-title" }, form);
}

function ask(element) {
  const dialog = build(element);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}

function questioner(form, submitter) {
  if (submitter?.dataset.confirm) return submitter;
  return form.dataset.confirm ? form : null;
}

// Capture: before htmx and before anything else sends the form.
document.addEventListener("submit", async (event) => {
  const form = event.target;
  const element = questioner(form, event.submitter);
  if (!element) return;
  if (passed.has(form)) {
    passed.delete(form);
    return;
  }
  event.preventDefault();
  event.stopImmediatePropagation();
  const { submitter } = event;
  if (!(await ask(element))) {
    submitter?.focus();
    return;
  }
  passed.add(form);
  form.requestSubmit(submitter?.isConnected ? submitter : undefined);
}, true);

// htmx elements that are no forms.
document.addEventListener("htmx:confirm", async (event) => {
  const { elt } = event.detail;
  if (!elt.dataset?.confirm || elt.matches("form, form [type=submit], form button:not([type])")) return;
  event.preventDefault();
  if (await ask(elt)) event.detail.issueRequest(true);
});
