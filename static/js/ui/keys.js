// Keys: "/" to the search of the page (or of the rail), "g" then a letter to a section, "?" for the list of keys.

const typing = (element) => element?.closest("input, textarea, select, [contenteditable], .xterm");
let awaiting = 0;

function search() {
  const field = document.querySelector("[data-search]") ?? document.querySelector("[data-search-everywhere]");
  field?.focus();
  field?.select?.();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector("dialog[open]")) return;
  if (awaiting > Date.now()) {
    awaiting = 0;
    const link = document.querySelector(`[data-go="${CSS.escape(event.key.toLowerCase())}"]`);
    if (link) {
      event.preventDefault();
      link.click();
    }
  } else if (event.key === "/") {
    event.preventDefault();
    search();
  } else if (event.key === "g") {
    awaiting = Date.now() + 1_500;
  } else if (event.key === "?") {
    event.preventDefault();
    document.getElementById("keys")?.showModal();
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && event.target.matches?.("[data-search], [data-search-everywhere]")) event.target.blur();
});

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-dialog]");
  if (opener) document.getElementById(opener.dataset.dialog)?.showModal();
  // A click on the ground around a dialog closes it.
  if (event.target.matches("dialog.dialog") && !event.target.querySelector("[required], .typed")) event.target.close();
  event.target.closest("[data-close-dialog]")?.closest("dialog")?.close();
});
