// Menus: <div data-menu><button aria-haspopup="menu" aria-expanded="false">…</button><div class="menu-list" role="menu" hidden>…
// Arrow keys, Home, End, Escape; placed by coordinates, so that a scrolling table does not cut them off.

const items = (list) => [...list.querySelectorAll("a[href], button:not([disabled])")];
let opened = null;

function placeAt(button, list) {
  const anchor = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = list;
  const below = anchor.bottom + 4;
  const top = below + height > innerHeight - 8 && anchor.top - height > 8 ? anchor.top - height - 4 : below;
  const wanted = list.dataset.align === "start" ? anchor.left : anchor.right - width;
  list.style.top = `${Math.max(8, top)}px`;
  list.style.left = `${Math.min(Math.max(8, wanted), innerWidth - width - 8)}px`;
}

function close(refocus = false) {
  if (!opened) return;
  const { button, list } = opened;
  opened = null;
  list.hidden = true;
  button.setAttribute("aria-expanded", "false");
  if (refocus) button.focus();
}

function open(menu, focusFirst) {
  close();
  const button = menu.querySelector("[aria-haspopup]");
  const list = menu.querySelector(".menu-list");
  list.hidden = false;
  button.setAttribute("aria-expanded", "true");
  placeAt(button, list);
  opened = { button, list };
  if (focusFirst) items(list)[0]?.focus();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-menu] > [aria-haspopup]");
  if (button) {
    const menu = button.parentElement;
    if (opened?.button === button) close();
    else open(menu, event.detail === 0); // detail 0: pressed by the keyboard
    return;
  }
  if (opened && !opened.list.contains(event.target)) close();
  else if (opened && event.target.closest("a, button")) close();
});

document.addEventListener("keydown", (event) => {
  const button = event.target.closest?.("[data-menu] > [aria-haspopup]");
  if (button && (event.key === "ArrowDown" || event.key === "ArrowUp") && opened?.button !== button) {
    event.preventDefault();
    open(button.parentElement, true);
    return;
  }
  if (!opened) return;
  const all = items(opened.list);
  const at = all.indexOf(document.activeElement);
  const goal = {
    ArrowDown: (at + 1) % all.length,
    ArrowUp: (at - 1 + all.length) % all.length,
    Home: 0,
    End: all.length - 1,
  }[event.key];
  if (goal !== undefined) {
    event.preventDefault();
    all[goal]?.focus();
  } else if (event.key === "Escape") {
    event.preventDefault();
    close(true);
  } else if (event.key === "Tab") close();
});

addEventListener("resize", () => close());
document.addEventListener("scroll", (event) => {
  if (opened && !opened.list.contains(event.target)) close();
}, true);
document.addEventListener("htmx:afterSwap", () => {
  if (opened && !opened.button.isConnected) opened = null;
});
