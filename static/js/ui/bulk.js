// Ticking rows: one by one, a range with shift, all of the page; the choice outlives live refreshes.
//   <form data-bulk> … <input type="checkbox" class="pick" name="ids" value="7" data-name="web-1">
//   <input type="checkbox" data-pick-all> … <div class="bulk-bar" data-bulk-bar hidden><span data-bulk-count>

const chosen = new Map(); // form id -> Set of values
let last = null;

const boxes = (form) => [...form.querySelectorAll(".pick")];

function setOf(form) {
  if (!chosen.has(form.id)) chosen.set(form.id, new Set());
  return chosen.get(form.id);
}

function refresh(form) {
  const all = boxes(form);
  const ticked = all.filter((box) => box.checked);
  const bar = form.querySelector("[data-bulk-bar]");
  if (bar) {
    bar.hidden = ticked.length === 0;
    for (const count of bar.querySelectorAll("[data-bulk-count]")) count.textContent = `${ticked.length} selected`;
  }
  for (const everything of form.querySelectorAll("[data-pick-all]")) {
    everything.checked = all.length > 0 && ticked.length === all.length;
    everything.indeterminate = ticked.length > 0 && ticked.length < all.length;
  }
}

function remember(form) {
  chosen.set(form.id, new Set(boxes(form).filter((box) => box.checked).map((box) => box.value)));
  refresh(form);
}

document.addEventListener("click", (event) => {
  const form = event.target.closest("form[data-bulk]");
  if (!form) return;
  if (event.target.closest("[data-bulk-clear]")) {
    for (const box of boxes(form)) box.checked = false;
    remember(form);
    return;
  }
  const everything = event.target.closest("[data-pick-all]");
  if (everything) {
    for (const box of boxes(form)) box.checked = everything.checked;
    remember(form);
    return;
  }
  const box = event.target.closest(".pick");
  if (!box) return;
  const all = boxes(form);
  const from = all.findIndex((each) => each.value === last);
  if (event.shiftKey && from >= 0) {
    const to = all.indexOf(box);
    for (const each of all.slice(Math.min(from, to), Math.max(from, to) + 1)) each.checked = box.checked;
  }
  last = box.value;
  remember(form);
});

function restore() {
  for (const form of document.querySelectorAll("form[data-bulk]")) {
    const values = setOf(form);
    for (const box of boxes(form)) box.checked = values.has(box.value);
    remember(form); // a row that has gone is not chosen any more
  }
}

document.addEventListener("htmx:afterSettle", restore);
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented || document.querySelector("dialog[open]")) return;
  for (const form of document.querySelectorAll("form[data-bulk]:has(.pick:checked)")) {
    for (const box of boxes(form)) box.checked = false;
    remember(form);
  }
});
// The Back button brings ticked boxes back without an event.
addEventListener("pageshow", () => document.querySelectorAll("form[data-bulk]").forEach(remember));
