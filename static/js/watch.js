// The page on which an open shell is watched: its recording from the start, then what is written as it is written.
// After a drop it begins again (containers/consumers/watch.py says what is spoken).
import { Cast } from "./recordings/cast.js";
import { Stage } from "./recordings/stage.js";
import { Face } from "./recordings/face.js";
import { showState } from "./ui/state.js";

const LONGEST_WAIT = 8_000;
const OVER = {
  4401: ["warn", "Signed out", "You have been signed out."],
  4403: ["bad", "No right", "Your right to watch this shell has ended."],
  4404: ["idle", "Gone", "This recording is not there any more."],
};

class WatchPage {
  constructor(root) {
    this.root = root;
    this.face = new Face(this.part("screen"));
    this.stage = new Stage(this.face.terminal, () => this.face.fit());
    this.attempt = 0;
    this.connect();
  }

  part(name) {
    return this.root.querySelector(`[data-part="${name}"]`);
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}${this.root.dataset.path}`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.cast = new Cast();
    this.pieces = [];
    this.done = 0;
    this.isNow = false;
    this.isHere = true;
    socket.onmessage = (event) => {
      this.attempt = 0;
      if (typeof event.data === "string") this.told(JSON.parse(event.data));
      else this.take(new Uint8Array(event.data));
    };
    socket.onclose = (event) => this.closed(event.code);
  }

  told(message) {
    if (message.type === "ended") this.ended = message.state;
    if (message.type === "now") this.isNow = true;
    if (message.type === "here") this.isHere = message.here;
    this.showState();
  }

  showState() {
    if (!this.isNow) this.say("busy", "Catching up…");
    else if (this.isHere) this.say("ok", "Live");
    else this.say("idle", "Nobody is in it now");
  }

  take(bytes) {
    this.pieces.push(bytes);
    this.work ??= this.run().finally(() => { this.work = null; });
  }

  async run() {
    while (this.pieces.length) {
      const { socket, cast } = this;
      const bytes = this.pieces.shift();
      const isNew = !cast.header;
      cast.add(bytes);
      if (isNew && cast.header) await this.begin();
      await this.stage.apply(cast, 0, cast.length, () => this.socket !== socket);
      cast.forget();
      if (this.socket !== socket) continue;
      this.done += bytes.length;
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ ack: this.done }));
    }
  }

  async begin() {
    await this.stage.begin(this.cast.header.width, this.cast.header.height);
    this.face.fit();
  }

  closed(code) {
    if (this.ended) {
      this.over("idle", "Ended", "The shell is over, and its recording complete.");
      return;
    }
    if (OVER[code]) {
      this.over(...OVER[code]);
      return;
    }
    this.say("warn", "Reconnecting…");
    const ceiling = Math.min(LONGEST_WAIT, 300 * 2 ** this.attempt);
    this.attempt += 1;
    setTimeout(() => this.connect(), ceiling / 2 + (Math.random() * ceiling) / 2);
  }

  over(tone, word, text) {
    this.say(tone, word);
    this.part("notice").hidden = false;
    this.part("words").textContent = text;
    this.part("replay").hidden = word !== "Ended";
    this.root.classList.add("is-idle");
  }

  say(tone, word) {
    showState(this.part("status"), tone, word);
  }
}

const root = document.querySelector("[data-watch]");
if (root) root.page = new WatchPage(root);
