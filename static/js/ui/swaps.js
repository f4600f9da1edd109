// What happens around htmx's swaps: answers that are errors, a session that ended, and what a live refresh must
// not take away (an open menu, a ticked row, the keyboard's place).
import { toast } from "./toast.js";

// idiomorph keeps nodes; these attributes are the browser's own state and not the server's business.
const OWN_STATE = new Set(["open", "aria-expanded", "aria-selected", "hidden"]);

if (window.Idiomorph) {
  Object.assign(window.Idiomorph.defaults.callbacks, {
    beforeAttributeUpdated(name, node) {
      if (node.closest("[data-menu]") && OWN_STATE.has(name)) return false;
      if (node.matches("details") && name === "open") return false;
      return node.matches(".bulk-bar, .pick, [data-pick-all]") && (name === "hidden" || name === "checked") ? false : undefined;
    },
    beforeNodeMorphed(node) {
      return node.nodeType !== Node.ELEMENT_NODE || !node.hasAttribute("data-keep");
    },
  });
}

function isLive(event) {
  return Boolean(event.detail.requestConfig.triggeringEvent?.type.startsWith("live:"));
}

// What a page is about was removed while somebody reads it: the last of it stays (its logs, a terminal's screen),
// says so, and is asked for no more.
function keepLastOf(element) {
  const last = element.cloneNode(true);
  for (const name of ["hx-get", "hx-trigger", "data-live"]) last.removeAttribute(name);
  for (const pill of last.querySelectorAll(".page-head .state.pill, :scope > .state.pill")) {
    pill.className = "state idle pill";
    pill.querySelector(".word").textContent = "removed";
  }
  last.querySelector(".page-head .actions")?.remove();
  element.replaceWith(last);
  toast({ tone: "warn", text: "This was removed meanwhile. What the page shows is the last of it." });
}

document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr } = event.detail;
  if (new URL(xhr.responseURL || location.href, location.href).pathname.startsWith("/login")) {
    event.detail.shouldSwap = false;
    location.reload(); // the session has ended: the page itself goes to the sign-in
    return;
  }
  if (xhr.status < 400) return;
  if (xhr.getResponseHeader("HX-Retarget") || xhr.status === 422) {
    event.detail.shouldSwap = true;
    event.detail.isError = false;
    return;
  }
  event.detail.shouldSwap = false;
  // A live refresh that fails is not the reader's doing: the banner of live.js speaks for a lost server.
  if (event.detail.requestConfig.verb === "get" && xhr.status >= 500) return;
  if (xhr.status === 404 && isLive(event)) {
    keepLastOf(event.detail.elt);
    return;
  }
  if (xhr.status === 404) {
    location.reload();
    return;
  }
  toast({ tone: "bad", text: `That did not work: the server answered ${xhr.status}.` });
});

// A live refresh that set out before a filter was changed may come back after the filter's own answer: it would put
// the old rows back, for good. It is asked again, with the address the list has now.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { elt, requestConfig } = event.detail;
  const address = elt.getAttribute("hx-get");
  if (!isLive(event) || !address || address === requestConfig.path) return;
  event.detail.shouldSwap = false;
  htmx.ajax("GET", address, { source: elt, target: elt, swap: "morph:outerHTML" });
});

document.addEventListener("htmx:sendError", (event) => {
  if (event.detail.requestConfig.verb === "get") return;
  toast({ tone: "bad", text: "Gantry did not answer. Nothing was changed; try again once the connection is back." });
});

// Addresses without empty filters: what one copies says only what matters.
document.addEventListener("htmx:configRequest", (event) => {
  const { verb, elt, formData } = event.detail;
  if (verb !== "get" || !elt.matches("form.filters")) return;
  for (const [name, value] of [...formData.entries()]) if (value === "") formData.delete(name);
});

// Focus: htmx brings back an element with the same id; anything else in a row is found again by its row's key.
let place = null;

function describe(element) {
  const row = element?.closest("[data-key]");
  if (!row || element.id) return null;
  const all = [...row.querySelectorAll("a, button, input, select")];
  return { key: row.dataset.key, index: all.indexOf(element) };
}

document.addEventListener("htmx:beforeSwap", () => {
  place = describe(document.activeElement);
});

document.addEventListener("htmx:afterSettle", () => {
  if (!place || document.activeElement !== document.body) return;
  const row = document.querySelector(`[data-key="${CSS.escape(place.key)}"]`);
  row?.querySelectorAll("a, button, input, select")[place.index]?.focus({ preventScroll: true });
  place = null;
});
