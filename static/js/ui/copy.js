// <button data-copy="text"> or <button data-copy-from="#id">: copies, and says so for a moment.

export async function write(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  // Over plain HTTP from another machine there is no clipboard object.
  const area = document.createElement("textarea");
  area.value = text;
  area.setAttribute("readonly", "");
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-copy-from]");
  if (!button) return;
  const source = button.dataset.copyFrom && document.querySelector(button.dataset.copyFrom);
  await write(source ? source.textContent : button.dataset.copy);
  const use = button.querySelector("use");
  const before = use?.getAttribute("href");
  const label = button.getAttribute("aria-label");
  use?.setAttribute("href", `${document.body.dataset.sprite}#check`);
  button.dataset.copied = "";
  button.setAttribute("aria-label", "Copied");
  setTimeout(() => {
    if (before) use.setAttribute("href", before);
    delete button.dataset.copied;
    if (label) button.setAttribute("aria-label", label);
    else button.removeAttribute("aria-label");
  }, 1_500);
});
