// Forms with data-act="#listing" are sent without leaving the page: the answer is that fragment of the page the server
// redirects to. Without script they are plain forms. The button pressed says where to (formaction) and on what.

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("[data-act]") || event.defaultPrevented) return;
  event.preventDefault();
  const { submitter } = event;
  const values = {};
  for (const [name, value] of new FormData(form, submitter)) (values[name] ??= []).push(value);
  submitter?.setAttribute("aria-busy", "true");
  const sent = htmx.ajax("POST", submitter?.getAttribute("formaction") || form.action, {
    source: form,
    target: form.dataset.act,
    swap: "morph:outerHTML",
    values,
  });
  sent.finally(() => submitter?.removeAttribute("aria-busy"));
  form.querySelector("[data-bulk-clear]")?.click();
});
