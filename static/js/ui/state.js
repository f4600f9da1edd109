// A state as templates draw it: <span class="state TONE"><svg><use/></svg><span class="word">…</span></span>.

const SHAPES = { ok: "s-running", busy: "s-busy", warn: "s-warning", bad: "s-dead", idle: "s-exited" };

// `tone`: one of SHAPES, whose shape it gets unless another is named.
export function showState(element, tone, word, shape = SHAPES[tone]) {
  element.className = `state ${tone}${tone === "busy" ? " turning" : ""}`;
  const use = element.querySelector("use");
  use.setAttribute("href", use.getAttribute("href").replace(/#.*/, `#${shape}`));
  const words = element.querySelector(".word");
  if (words.textContent !== word) words.textContent = word; // a screen reader says what is written
}
