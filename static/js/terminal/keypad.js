// The row of keys a phone's keyboard lacks. Ctrl and Alt hold for the next key.

const ARROWS = { up: "A", down: "B", right: "C", left: "D", home: "H", end: "F" };
const PLAIN = { esc: "\x1b", tab: "\t", pipe: "|", slash: "/", dash: "-", tilde: "~", "ctrl-c": "\x03", "ctrl-d": "\x04" };

export class Keypad {
  constructor(row, terminal) {
    this.row = row;
    this.terminal = terminal;
    this.held = { ctrl: false, alt: false };
    // Before focus moves: the phone's own keyboard must stay open.
    row.addEventListener("pointerdown", (event) => event.preventDefault());
    row.addEventListener("click", (event) => {
      const button = event.target.closest("[data-key]");
      if (button) this.press(button.dataset.key);
    });
  }

  press(key) {
    if (key in this.held) {
      this.hold(key, !this.held[key]);
    } else if (key in ARROWS) {
      const { ctrl, alt } = this.held;
      const modifier = 1 + (alt ? 2 : 0) + (ctrl ? 4 : 0);
      const application = this.terminal.modes.applicationCursorKeysMode;
      const plain = application ? `\x1bO${ARROWS[key]}` : `\x1b[${ARROWS[key]}`;
      this.release();
      this.terminal.input(modifier > 1 ? `\x1b[1;${modifier}${ARROWS[key]}` : plain);
    } else {
      this.terminal.input(PLAIN[key]);
    }
    this.terminal.focus();
  }

  hold(key, on) {
    this.held[key] = on;
    this.row.querySelector(`[data-key="${key}"]`)?.setAttribute("aria-pressed", String(on));
  }

  release() {
    this.hold("ctrl", false);
    this.hold("alt", false);
  }

  // What the next typed character becomes.
  apply(data) {
    const { ctrl, alt } = this.held;
    if (!ctrl && !alt) return data;
    if ([...data].length !== 1) return data;
    this.release();
    const code = data.toUpperCase().charCodeAt(0);
    const changed = ctrl && code >= 0x40 && code <= 0x5f ? String.fromCharCode(code & 0x1f) : data;
    return alt ? `\x1b${changed}` : changed;
  }
}
