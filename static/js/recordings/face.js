// The screen of a recording: xterm as the terminal page has it, but deaf, with links and titles that do nothing, and
// with type of the size that makes the recorded screen fit its box.
import { Screen } from "../terminal/screen.js";

const LEAST = 4;
const MOST = 20;

export class Face {
  constructor(box) {
    this.box = box;
    this.screen = new Screen(box, { onLink: () => {}, onTitle: () => {} });
    this.terminal = this.screen.terminal;
    this.terminal.options.disableStdin = true;
    this.terminal.options.cursorBlink = false;
    // Keys are the player's, and Tab leads on.
    this.terminal.attachCustomKeyEventHandler(() => false);
    new ResizeObserver(() => this.fit()).observe(box);
    document.fonts?.ready.then(() => this.fit());
  }

  fit() {
    if (!this.box.clientWidth) return;
    for (let font = MOST; font >= LEAST; font -= 1) {
      this.terminal.options.fontSize = font;
      const room = this.screen.fit.proposeDimensions();
      if (!room || (room.cols >= this.terminal.cols && room.rows >= this.terminal.rows)) break;
    }
  }
}
