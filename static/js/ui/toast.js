// Short messages in #toasts: those the server rendered, and those of scripts or of an HX-Trigger "toast" header:
// {"toast": {"text": "Stopping web-1", "tone": "busy", "href": "/operations/7/"}}.

const LASTS = 6_000;
const SHAPES = { ok: "s-succeeded", busy: "s-busy", warn: "s-warning", bad: "s-dead", idle: "s-created" };

function svg(symbol) {
  const namespace = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(namespace, "svg");
  const use = document.createElementNS(namespace, "use");
  use.setAttribute("href", `${document.body.dataset.sprite}#${symbol}`);
  picture.setAttribute("aria-hidden", "true");
  picture.append(use);
  return picture;
}

export function toast({ text, tone = "idle", href = "" }) {
  const region = document.getElementById("toasts");
  const note = document.createElement("div");
  note.className = `toast-note ${tone}`;
  note.setAttribute("role", tone === "bad" ? "alert" : "status");
  const shape = svg(SHAPES[tone] ?? SHAPES.idle);
  shape.classList.add("state-shape");
  const words = document.createElement("span");
  words.className = "text";
  words.textContent = text;
  if (href) {
    const link = document.createElement("a");
    link.href = href;
    link.textContent = "Follow it";
    words.append(" ", link);
  }
  const close = document.createElement("button");
  close.type = "button";
  close.dataset.dismiss = "";
  close.setAttribute("aria-label", "Dismiss");
  const cross = svg("close");
  cross.classList.add("icon");
  close.append(cross);
  note.append(shape, words, close);
  region.append(note);
  return note;
}

// An error stays until it is dismissed; the rest goes, but not from under a pointer or the keyboard's focus.
function expire(note) {
  if (note.matches(".bad") || note.dataset.leaving) return;
  note.dataset.leaving = "1";
  const leave = () => {
    if (note.matches(":hover, :focus-within")) setTimeout(leave, 1_500);
    else note.remove();
  };
  setTimeout(leave, LASTS);
}

// An out-of-band swap brings its wrapper along.
function arrive(node) {
  if (node.matches?.(".toast-note")) expire(node);
  else if (node.nodeType === Node.ELEMENT_NODE) node.replaceWith(...node.querySelectorAll(".toast-note"));
}

const region = document.getElementById("toasts");
if (region) {
  region.querySelectorAll(".toast-note").forEach(expire);
  new MutationObserver((changes) => {
    for (const node of changes.flatMap((change) => [...change.addedNodes])) arrive(node);
  }).observe(region, { childList: true });
}

document.addEventListener("click", (event) => {
  event.target.closest("[data-dismiss]")?.closest(".toast-note, .notice")?.remove();
});
document.addEventListener("toast", (event) => toast(event.detail));
