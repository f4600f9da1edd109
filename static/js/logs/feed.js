// The log's socket: takes the engine's bytes in small pieces of time, confirms what it has dealt with (the server
// sends no more than a window ahead), and resumes after a break where the last line was had.

import { Cursor } from "./cursor.js";
import { FramedReader, PlainReader } from "./frames.js";

const PIECE = 32 * 1024;
const CONFIRM_EVERY = 128 * 1024;
const LONGEST_WAIT = 10_000;
const ASK_EVERY = 15_000; // a keepalive; a dead network tells nobody
const ANSWER_WITHIN = 6_000;
const NOT_SIGNED_IN = 4401;
const NOT_ALLOWED = 4403;
const NOT_THERE = 4404;

export class Feed {
  // options() → {tail, since, stdout, stderr}; take(stream, stamp, bytes); isFull(): take no more for now;
  // phase(name, message): connecting, live, lost, ended, gone, refused; wake(): there is something to pump.
  constructor(path, { options, take, isFull, phase, wake }) {
    Object.assign(this, { path, options, emit: take, isFull, tell: phase, wake });
    this.cursor = new Cursor();
    this.attempt = 0;
    this.queue = [];
    this.phase = "";
    addEventListener("online", () => this.nudge());
    addEventListener("pageshow", (event) => event.persisted && this.drop());
    addEventListener("pagehide", () => this.socket?.close());
  }

  // Begin anew, with other options.
  restart() {
    this.cursor.forget();
    this.attempt = 0;
    this.abandon();
    this.connect();
  }

  // Something changed at the host or the container: try now rather than later.
  nudge() {
    if (this.phase !== "lost" && this.phase !== "ended") return;
    if (Date.now() - this.triedAt < 500) {
      this.retryIn(500);
      return;
    }
    this.attempt = 0;
    this.connect();
  }

  abandon() {
    clearTimeout(this.retryTimer);
    clearTimeout(this.askTimer);
    clearTimeout(this.answerTimer);
    this.queue = [];
    if (this.socket) {
      this.socket.onmessage = this.socket.onclose = null;
      this.socket.close();
      this.socket = null;
    }
  }

  set(phase, message = {}) {
    this.phase = phase;
    this.tell(phase, message);
  }

  connect() {
    this.abandon();
    this.triedAt = Date.now();
    this.received = this.consumed = this.confirmed = 0;
    if (this.phase !== "lost" && this.phase !== "ended") this.set("connecting");
    const { tail, since, stdout, stderr } = this.options();
    const query = new URLSearchParams({ tail, stdout: +stdout, stderr: +stderr });
    if (since) query.set("since", since);
    if (!this.cursor.isEmpty) {
      query.set("since", this.cursor.resume());
      query.set("tail", "all");
    }
    this.socket = new WebSocket(`${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}${this.path}?${query}`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = (event) => this.arrived(event.data);
    this.socket.onclose = (event) => this.enqueue({ closed: event.code });
    this.keepAlive();
  }

  keepAlive() {
    clearTimeout(this.askTimer);
    this.askTimer = setTimeout(() => {
      if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ ack: this.confirmed, ping: true }));
      this.answerTimer = setTimeout(() => this.drop(), ANSWER_WITHIN);
    }, ASK_EVERY);
  }

  drop() {
    if (!this.socket) return;
    this.socket.onclose = this.socket.onmessage = null;
    this.socket.close();
    this.socket = null;
    this.enqueue({ closed: 1006 });
  }

  arrived(data) {
    clearTimeout(this.answerTimer);
    this.keepAlive();
    if (typeof data === "string") this.enqueue({ message: JSON.parse(data) });
    else this.enqueue({ bytes: new Uint8Array(data), at: 0 });
  }

  enqueue(item) {
    this.queue.push(item);
    this.wake();
  }

  get hasWork() {
    return this.queue.length > 0 && !this.isFull();
  }

  // Work off what has arrived until the deadline (performance.now()).
  pump(deadline) {
    while (this.hasWork && performance.now() < deadline) {
      const item = this.queue[0];
      if (!item.bytes) {
        this.queue.shift();
        if (item.message) this.said(item.message);
        else this.closed(item.closed);
        continue;
      }
      this.read(item.bytes.subarray(item.at, item.at + PIECE));
      item.at += PIECE;
      if (item.at >= item.bytes.length && this.queue[0] === item) this.queue.shift();
    }
    this.confirm();
  }

  read(piece) {
    this.consumed += piece.length;
    this.attempt = 0;
    try {
      this.reader.feed(piece);
    } catch (error) {
      this.abandon();
      this.set("refused", { message: error.message, hint: "Look at this host: something else may answer in its engine’s place." });
    }
  }

  confirm() {
    const owed = this.consumed - this.confirmed;
    if (!owed || this.socket?.readyState !== WebSocket.OPEN) return;
    if (owed < CONFIRM_EVERY && this.queue.length) return;
    this.confirmed = this.consumed;
    this.socket.send(JSON.stringify({ ack: this.confirmed }));
  }

  unit(stream, stamp, bytes, isStart) {
    if (isStart) {
      this.skipping = stamp !== null && this.cursor.seen(stream, stamp);
      if (!this.skipping && stamp) this.cursor.note(stream, stamp);
    }
    if (!this.skipping) this.emit(stream, stamp, bytes);
  }

  said(message) {
    if (message.type === "opened") {
      const Reader = message.tty ? PlainReader : FramedReader;
      this.reader = new Reader((...unit) => this.unit(...unit));
      // The log of a stopped container ends again at once: what was said of its end still holds.
      if (message.running || this.phase !== "ended") this.set("live");
    } else if (message.type === "ended") {
      this.reader?.end(true);
      this.set("ended", message);
      if (message.running) this.retry();
    } else if (message.type === "lost") {
      this.set("lost", message);
    } else if (message.type === "gone" || message.type === "refused") {
      this.set(message.type, message);
    }
  }

  closed(code) {
    this.socket = null;
    clearTimeout(this.askTimer);
    clearTimeout(this.answerTimer);
    this.reader?.end();
    if (code === NOT_SIGNED_IN) location.reload();
    else if (code === NOT_ALLOWED) this.set("refused", { message: "You may not read this container’s logs any more." });
    else if (code === NOT_THERE) this.set("gone");
    else if (this.phase === "lost") this.retry();
    else if (this.phase === "live" || this.phase === "connecting") {
      this.set("lost", { message: "The connection to Gantry was lost." });
      this.retry();
    }
  }

  retry() {
    const ceiling = Math.min(LONGEST_WAIT, 400 * 2 ** this.attempt);
    this.attempt += 1;
    this.retryIn(ceiling / 2 + (Math.random() * ceiling) / 2);
  }

  retryIn(delay) {
    clearTimeout(this.retryTimer);
    this.retryTimer = setTimeout(() => this.connect(), delay);
  }
}
