// Asks before what cannot be undone, and says what it will hit. On a form, a submit button or an htmx element:
//   data-confirm="Remove 3 containers?"   the question (enough by itself)
//   data-confirm-text="…"                 what follows from it
//   data-confirm-hits='["web-1","db"]'    the things, listed; or data-confirm-hits="bulk": the ticked rows
//   data-confirm-verb="Remove"            the word on the button
//   data-confirm-mild                     nothing is lost by it: the button is not red
//   data-confirm-options='[["force","Kill it first"]]'   boxes to tick, sent with the form
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

function option([name, words]) {
  const box = make("input", { class: "form-check-input", type: "checkbox", name });
  return make("label", { class: "form-check option" }, box, make("span", {}, words));
}

function build(element) {
  const { confirm: question, confirmText, confirmVerb, confirmType, confirmOptions } = element.dataset;
  const hits = hitsOf(element);
  const tone = "confirmMild" in element.dataset ? "btn-primary" : "btn-danger solid";
  const agree = make("button", { type: "submit", value: "yes", class: `btn ${tone}` }, confirmVerb || "Go ahead");
  const refuse = make("button", { type: "submit", value: "no", class: "btn", formnovalidate: "" }, "Cancel");
  const body = make("div", { class: "dialog-body" }, make("h2", { id: "confirm-title" }, question.replace("{n}", hits.length)));
  if (confirmText) body.append(make("p", {}, confirmText));
  if (hits.length) body.append(make("ul", { class: "hits", tabindex: "0", "aria-label": "What it will hit" }, ...hits.map((hit) => make("li", {}, hit))));
  if (confirmOptions) body.append(...JSON.parse(confirmOptions).map(option));
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
      const ticked = [...dialog.querySelectorAll(".option input:checked")].map((box) => box.name);
      dialog.remove();
      resolve(dialog.returnValue === "yes" ? ticked : null);
    });
  });
}

function revive(submitter, form) {
  if (!submitter) return undefined;
  const stand = submitter.cloneNode(false);
  stand.hidden = true;
  form.append(stand);
  return stand;
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
  const ticked = await ask(element);
  if (!ticked) {
    submitter?.focus();
    return;
  }
  // A live refresh may have replaced the button meanwhile: what it stood for is kept.
  const again = submitter?.isConnected ? submitter : revive(submitter, form);
  const extra = ticked.map((name) => make("input", { type: "hidden", name, value: "on" }));
  form.append(...extra);
  passed.add(form);
  form.requestSubmit(again);
  for (const input of extra) input.remove();
  if (again !== submitter) again?.remove();
}, true);

// htmx elements that are no forms.
document.addEventListener("htmx:confirm", async (event) => {
  const { elt } = event.detail;
  if (!elt.dataset?.confirm || elt.matches("form, form [type=submit], form button:not([type])")) return;
  event.preventDefault();
  if ((await ask(elt)) !== null) event.detail.issueRequest(true);
});
