// What the page says over the screen, with what can be done about it.

export class Notice {
  constructor(element, onAction) {
    this.element = element;
    element.addEventListener("click", (event) => {
      const action = event.target.closest("[data-action]")?.dataset.action;
      if (action && action !== "back") {
        event.stopPropagation();
        onAction(action);
      }
    });
  }

  // `passing`: the shell goes on, and this lies over its screen instead of taking room from it.
  show({ tone, title, text, actions, passing = false }) {
    this.element.hidden = false;
    this.element.className = `terminal-notice ${tone}${passing ? " passing" : ""}`;
    this.element.querySelector("[data-notice=title]").textContent = title;
    this.element.querySelector("[data-notice=text]").textContent = text;
    for (const button of this.element.querySelectorAll("[data-action]")) {
      const place = actions.indexOf(button.dataset.action);
      button.hidden = place < 0;
      button.classList.toggle("btn-primary", place === 0 && button.dataset.action !== "back");
    }
  }

  clear() {
    this.element.hidden = true;
  }

  // Keys were typed that go nowhere: draw the eye here.
  flash() {
    if (this.element.hidden) return;
    this.element.animate([{ transform: "translateX(-4px)" }, { transform: "translateX(4px)" }, { transform: "none" }], { duration: 160 });
  }
}
