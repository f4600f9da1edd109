// Screens of a long recording, so that one gets to any place of it without playing all that is before. A second
// terminal, never shown, plays the cast once in the background and is written down now and then.
import { Terminal } from "../../vendor/xterm/xterm.js";
import { SerializeAddon } from "../../vendor/xterm/addon-serialize.js";
import { Stage } from "./stage.js";

export const EVERY = 1024 * 1024; // characters of output between two
const KEPT_LINES = 500; // of what has scrolled off

export class Keyframes {
  constructor(cast) {
    this.cast = cast;
    this.frames = []; // {index, columns, rows, state}, in order
    this.index = 0;
    this.since = 0;
    this.terminal = null;
    this.isRunning = false;
  }

  // Go on as far as the cast is loaded. Called again when there is more.
  async run() {
    if (this.isRunning) return;
    this.isRunning = true;
    const { cast } = this;
    while (this.index < cast.length) {
      this.terminal ??= this.make();
      let to = this.index;
      while (to < cast.length && this.since < EVERY) {
        this.since += cast.data[to].length;
        to += 1;
      }
      this.index = await this.stage.apply(cast, this.index, to);
      if (this.since >= EVERY && isBetween(cast, this.index)) this.take();
      // Amid an escape sequence there is no screen to write down: the next event may be better.
      else if (this.since >= EVERY) this.since = EVERY - 4096;
    }
    this.isRunning = false;
    if (cast.isComplete) this.drop();
  }

  make() {
    const { width, height } = this.cast.header;
    const terminal = new Terminal({ allowProposedApi: true, cols: Math.max(2, width), rows: height, scrollback: KEPT_LINES });
    this.serializer = new SerializeAddon();
    terminal.loadAddon(this.serializer);
    this.stage = new Stage(terminal);
    return terminal;
  }

  take() {
    const { cols, rows } = this.terminal;
    this.frames.push({ index: this.index, columns: cols, rows, state: this.serializer.serialize() });
    this.since = 0;
  }

  drop() {
    this.terminal?.dispose();
    this.terminal = null;
  }

  // The last frame at or before an event; null for the beginning.
  before(index) {
    return this.frames.findLast((frame) => frame.index <= index) ?? null;
  }
}

// Whether the event before `index` ends between two sequences, as far as its end tells.
function isBetween(cast, index) {
  const text = cast.data[index - 1].slice(-256);
  const escape = text.lastIndexOf("\x1b");
  return escape < 0 || /[\n\r]$/.test(text) || /^\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*\x07|[()][0-9A-Za-z]|[=>78cDEHMNOZ])/.test(text.slice(escape));
}
