// The screen: xterm.js with our colours, sized to its box. Everything a program prints is untrusted: no
// clipboard for it (OSC 52 has no handler), links are only offered, titles are only text.
import { Terminal } from "../../vendor/xterm/xterm.js";
import { FitAddon } from "../../vendor/xterm/addon-fit.js";
import { SearchAddon } from "../../vendor/xterm/addon-search.js";
import { WebglAddon } from "../../vendor/xterm/addon-webgl.js";

const COLOURS = [
  "background", "foreground", "cursor", "cursorAccent", "selectionBackground",
  "black", "red", "green", "yellow", "blue", "magenta", "cyan", "white",
  "brightBlack", "brightRed", "brightGreen", "brightYellow", "brightBlue", "brightMagenta", "brightCyan", "brightWhite",
];
const SIZES = { least: 9, usual: 14, most: 28 };
const SIZE_KEY = "gantry-terminal-font";

export class Screen {
  constructor(box, { onLink, onTitle }) {
    this.box = box;
    this.terminal = new Terminal({
      allowProposedApi: true, // the search's highlights
      cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
      fontFamily: getComputedStyle(box).getPropertyValue("--mono") || "monospace",
      fontSize: storedSize(),
      lineHeight: 1.15,
      minimumContrastRatio: 4.5, // programs choose colours for a ground they do not know
      scrollback: 10_000,
      theme: theme(box),
      linkHandler: { activate: (_event, address) => onLink(address), allowNonHttpProtocols: false },
    });
    this.fit = new FitAddon();
    this.search = new SearchAddon();
    this.terminal.loadAddon(this.fit);
    this.terminal.loadAddon(this.search);
    this.terminal.onTitleChange((title) => onTitle(plainTitle(title)));
    this.terminal.open(box);
    this.accelerate();
    this.followTheme();
    scrollByTouch(this.terminal, box);
  }

  // The GPU where there is one; xterm's own DOM renderer otherwise, or when the GPU is taken away.
  accelerate() {
    try {
      const webgl = new WebglAddon();
      webgl.onContextLoss(() => webgl.dispose());
      this.terminal.loadAddon(webgl);
      this.renderer = "webgl";
    } catch {
      this.renderer = "dom";
    }
  }

  followTheme() {
    const renew = () => { this.terminal.options.theme = theme(this.box); };
    document.addEventListener("gantry:theme", renew);
    addEventListener("storage", (event) => { if (event.key === "gantry-theme") setTimeout(renew); });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", renew);
  }

  // Fill the box; what was reached, in cells.
  fill() {
    const wanted = this.fit.proposeDimensions();
    if (wanted && Number.isFinite(wanted.cols) && Number.isFinite(wanted.rows)) {
      this.terminal.resize(Math.max(2, Math.min(wanted.cols, 1000)), Math.max(2, Math.min(wanted.rows, 1000)));
    }
    return { columns: this.terminal.cols, rows: this.terminal.rows };
  }

  scaleFont(step) {
    const size = Math.max(SIZES.least, Math.min(SIZES.most, step ? this.terminal.options.fontSize + step : SIZES.usual));
    this.terminal.options.fontSize = size;
    try { localStorage.setItem(SIZE_KEY, size); } catch { /* this page only */ }
  }
}

function storedSize() {
  try {
    const size = Number(localStorage.getItem(SIZE_KEY));
    if (size >= SIZES.least && size <= SIZES.most) return size;
  } catch { /* storage may be forbidden */ }
  return matchMedia("(max-width: 40rem)").matches ? 12 : SIZES.usual;
}

function theme(box) {
  return Object.fromEntries(COLOURS.map((name) => [name, colour(box, name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`))]));
}

// A custom property as the plain #rrggbb that xterm understands: a canvas knows every colour syntax.
export function colour(box, name) {
  const probe = box.closest("[data-terminal]").querySelector("[data-probe]");
  probe.style.color = `var(--term-${name})`;
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.fillStyle = getComputedStyle(probe).color;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  return `#${[red, green, blue].map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

// A title as it may be shown: no control characters, none that reorder text, not endless.
function plainTitle(title) {
  return title.replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu, "").slice(0, 80);
}

// xterm 6.0 lost scrolling by touch (xtermjs/xterm.js#5489).
function scrollByTouch(terminal, box) {
  let last = null;
  let rest = 0;
  box.addEventListener("touchstart", (event) => { last = event.touches.length === 1 ? event.touches[0].clientY : null; rest = 0; }, { passive: true });
  box.addEventListener("touchmove", (event) => {
    if (last === null) return;
    const height = box.querySelector(".xterm-screen").clientHeight / terminal.rows;
    rest += (last - event.touches[0].clientY) / height;
    last = event.touches[0].clientY;
    const lines = Math.trunc(rest);
    if (!lines) return;
    rest -= lines;
    terminal.scrollLines(lines);
    event.preventDefault();
  }, { passive: false });
}
