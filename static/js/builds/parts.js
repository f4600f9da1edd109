// What the build pages' scripts share: elements, icons, numbers as the template filters write them, setting up what
// htmx brings.

const SVG = "http://www.w3.org/2000/svg";

// el("button", {class: "btn", type: "button", onclick: …}, "text", node …): text only ever becomes text nodes.
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

export function icon(name, className = "icon") {
  const picture = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  picture.setAttribute("class", className);
  picture.setAttribute("aria-hidden", "true");
  picture.setAttribute("focusable", "false");
  use.setAttribute("href", `${document.body.dataset.sprite ?? ""}#${name}`);
  picture.append(use);
  return picture;
}

export function setIcon(picture, name) {
  picture.querySelector("use").setAttribute("href", `${document.body.dataset.sprite ?? ""}#${name}`);
}

export function button(symbol, label, attributes = {}) {
  return el("button", { type: "button", class: "btn btn-sm", ...attributes }, symbol ? icon(symbol) : null, label);
}

export function iconButton(symbol, label, attributes = {}) {
  return el("button", { type: "button", class: "btn btn-icon btn-sm", "aria-label": label, title: label, ...attributes }, icon(symbol));
}

// A size in decimal units: 148 MB.
export function bytes(amount) {
  let value = amount;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (value < 1000 || unit === "GB") return `${value.toFixed(unit === "B" || value >= 100 ? 0 : 1)} ${unit}`;
    value /= 1000;
  }
  return "";
}

// A length of time with two units at most: 0.4 s, 12 s, 3 min 12 s, 2 h 5 min.
export function duration(seconds) {
  if (!(seconds >= 10)) return `${Math.max(0, seconds || 0).toFixed(1)} s`;
  const whole = Math.floor(seconds);
  if (whole < 60) return `${whole} s`;
  const [size, unit, smaller, word] = whole >= 3600 ? [3600, "h", 60, "min"] : [60, "min", 1, "s"];
  const rest = Math.floor((whole % size) / smaller);
  return `${Math.floor(whole / size)} ${unit}${rest ? ` ${rest} ${word}` : ""}`;
}

export function count(number, noun, plural = `${noun}s`) {
  return `${number.toLocaleString("en-GB")} ${number === 1 ? noun : plural}`;
}

// The headers every change carries; the page has the token where htmx looks for it (base.html).
export function changeHeaders() {
  const holder = document.querySelector("[hx-headers]");
  return holder ? JSON.parse(holder.getAttribute("hx-headers")) : {};
}

// Set up every element there is, and those that htmx brings later, each once.
export function whenever(selector, setUp) {
  const known = new WeakSet();
  const look = () => {
    for (const element of document.querySelectorAll(selector)) {
      if (known.has(element)) continue;
      known.add(element);
      setUp(element);
    }
  };
  look();
  document.addEventListener("htmx:afterSettle", look);
}
