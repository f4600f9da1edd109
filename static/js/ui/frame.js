// The frame: the theme's choice, the rail on a phone, values shown on request, forms that send on change.

function markTheme() {
  const choice = document.documentElement.dataset.themeChoice;
  for (const button of document.querySelectorAll("[data-theme-set]")) {
    button.setAttribute("aria-pressed", String(button.dataset.themeSet === choice));
  }
}

function rail(open) {
  document.body.classList.toggle("rail-open", open);
  document.querySelector("[data-rail-open]")?.setAttribute("aria-expanded", String(open));
  if (open) document.querySelector(".rail .rail-item")?.focus();
}

document.addEventListener("click", (event) => {
  const theme = event.target.closest("[data-theme-set]");
  if (theme) window.gantryTheme(theme.dataset.themeSet);
  if (event.target.closest("[data-rail-open]")) rail(!document.body.classList.contains("rail-open"));
  else if (event.target.closest("[data-rail-close], .rail .rail-item")) rail(false);
  const reveal = event.target.closest("[data-reveal]");
  if (reveal) {
    const field = document.getElementById(reveal.dataset.reveal);
    const hide = field.type === "text";
    field.type = hide ? "password" : "text";
    reveal.setAttribute("aria-pressed", String(!hide));
    reveal.querySelector("use").setAttribute("href", `${document.body.dataset.sprite}#${hide ? "show" : "hide"}`);
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.body.classList.contains("rail-open")) {
    rail(false);
    document.querySelector("[data-rail-open]")?.focus();
  }
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit-on-change]")) event.target.form.requestSubmit();
});

document.addEventListener("gantry:theme", markTheme);
markTheme();
