// The terminal's WebSocket. It knows how many bytes of output it has handed to the screen, so that after a gap
// it asks for the rest of the same shell (containers/consumers/terminal.py says what is spoken).
//
// Events: `opening`, `ready` {opened}, `output` {bytes, shown}, `replay` {from, to, reset}, `lost` {attempt},
// `recording` {on, why}, `watchers` {names}, `away` {message, hint, since}, `over` {kind, …} where kind is exit, refused, gone, elsewhere, denied, signed-out.

const ACK_EVERY = 64 * 1024;
const INPUT_WINDOW = 64 * 1024;
const PIECE = 16 * 1024; // of a paste
const MOST_INPUT = 16 * 1024 * 1024;
const PING_EVERY = 15_000; // also keeps proxies from dropping an idle connection
const ANSWER_WITHIN = 8_000;
const LONGEST_WAIT = 8_000;
const CODES = { 4401: "signed-out", 4403: "denied", 4404: "gone", 4409: "elsewhere" };

export class Link extends EventTarget {
  constructor(path, key) {
    super();
    this.path = path;
    this.key = key;
    this.socket = null;
    this.size = { columns: 80, rows: 24 };
    this.over = false;
    this.attempt = 0;
    addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.hurry(); });
    // A page kept for the Back button wakes with a dead socket.
    addEventListener("pageshow", (event) => { if (event.persisted) this.drop(); });
  }

  tell(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  // --- Sessions: one shell for each container in each tab ---

  // Back to this tab's shell, or a new one where there is none.
  start() {
    const kept = this.stored();
    if (kept?.session) this.begin(kept.session, {}, 0);
    else this.open({});
  }

  // A new shell. `order`: command and user, both may be empty.
  open(order) {
    this.begin(newSession(), order, null);
  }

  // The same shell again, all of it that is kept.
  rejoin() {
    this.begin(this.session, {}, 0);
  }

  begin(session, order, offset) {
    this.hush();
    this.session = session;
    this.order = order;
    this.offset = offset; // bytes of output handed to the screen; null: the shell is yet to be opened
    this.wasShown = false;
    this.over = false;
    this.attempt = 0;
    this.input = [];
    this.connect();
  }

  stored() {
    try { return JSON.parse(sessionStorage.getItem(this.key)); } catch { return null; }
  }

  keep() {
    try { sessionStorage.setItem(this.key, JSON.stringify({ session: this.session })); } catch { /* this page only */ }
  }

  forget() {
    try { sessionStorage.removeItem(this.key); } catch { /* nothing was kept */ }
  }

  // --- The connection ---

  address() {
    const query = new URLSearchParams({ session: this.session, ...this.size });
    for (const [name, value] of Object.entries(this.order)) if (value) query.set(name, value);
    if (this.offset !== null) query.set("from", this.offset);
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    return `${scheme}//${location.host}${this.path}?${query}`;
  }

  connect() {
    clearTimeout(this.retryTimer);
    this.retryTimer = 0;
    this.tell("opening", { attempt: this.attempt });
    const socket = new WebSocket(this.address());
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.verdict = null;
    this.unacked = 0;
    this.ahead = 0;
    this.isReady = false;
    this.answerBy(20_000); // a shell may take the engine a while to start
    socket.onmessage = (event) => this.received(event.data);
    socket.onclose = (event) => this.closed(event.code);
  }

  get isOpen() {
    return this.isReady && this.socket?.readyState === WebSocket.OPEN;
  }

  received(data) {
    this.answerBy(0);
    if (typeof data !== "string") {
      this.output(new Uint8Array(data));
      return;
    }
    const message = JSON.parse(data);
    if (message.type === "ready") this.ready(message);
    else if (message.type === "replay") this.replay(message);
    else if (message.type === "took") { this.ahead -= message.bytes; this.pump(); }
    else if (message.type === "recording" || message.type === "watchers") this.tell(message.type, message);
    else if (message.type === "exit") this.exited(message);
    else if (message.type === "refused" || message.type === "away" || message.type === "gone") this.verdict = message;
  }

  ready(message) {
    this.attempt = 0;
    this.isReady = true;
    if (this.offset === null) this.offset = 0;
    this.keep();
    this.resize(this.size.columns, this.size.rows);
    this.pump(); // what was typed while the shell was being opened
    this.pingTimer = setTimeout(() => this.ping(), PING_EVERY);
    this.tell("ready", message);
  }

  replay({ from, to }) {
    const reset = from !== this.offset || !this.wasShown;
    const lostPart = this.wasShown && from > 0 && from !== this.offset;
    this.offset = from;
    this.tell("replay", { from, to, reset, lostPart });
    this.wasShown = true;
  }

  output(bytes) {
    const socket = this.socket;
    this.offset += bytes.length;
    const shown = () => {
      if (this.socket !== socket) return; // credit belongs to the connection that lent it
      this.unacked += bytes.length;
      if (this.unacked >= ACK_EVERY) {
        this.command("ack", { bytes: this.unacked });
        this.unacked = 0;
      }
    };
    this.tell("output", { bytes, shown });
  }

  exited(message) {
    this.over = true;
    this.command("seen");
    this.forget();
    this.tell("over", { kind: "exit", ...message });
  }

  closed(code) {
    this.hush();
    if (this.over) return;
    const wasShown = this.wasShown;
    if (code === 4404 && this.offset === 0 && !wasShown && this.verdict) {
      this.forget(); // the shell of an earlier visit has ended meanwhile: open another
      this.open({});
      return;
    }
    const kind = code === 4422 ? "refused" : CODES[code];
    if (kind) {
      this.over = true;
      if (kind === "gone") this.forget();
      this.tell("over", { kind, ...(this.verdict ?? {}) });
      return;
    }
    if (this.verdict?.type === "away") this.tell("away", this.verdict);
    else this.tell("lost", { attempt: this.attempt });
    const ceiling = Math.min(LONGEST_WAIT, 300 * 2 ** this.attempt);
    this.attempt += 1;
    this.retryTimer = setTimeout(() => this.connect(), ceiling / 2 + (Math.random() * ceiling) / 2);
  }

  // Forget the present connection without a word from it.
  hush() {
    for (const timer of [this.retryTimer, this.pingTimer, this.answerTimer]) clearTimeout(timer);
    this.retryTimer = 0;
    const socket = this.socket;
    this.socket = null;
    this.isReady = false;
    if (!socket) return;
    socket.onmessage = socket.onclose = null;
    socket.close();
  }

  drop() {
    if (!this.socket || this.over) return;
    this.hush();
    this.closed(1006);
  }

  hurry() {
    if (this.over) return;
    this.attempt = 0;
    if (this.retryTimer) this.connect();
    else this.ping();
  }

  ping() {
    clearTimeout(this.pingTimer);
    if (!this.isOpen) return;
    this.command("ping");
    if (!this.answerTimer) this.answerBy(ANSWER_WITHIN);
    this.pingTimer = setTimeout(() => this.ping(), PING_EVERY);
  }

  // Something must be heard within `wait` ms (0: it was), or the connection is given up.
  answerBy(wait) {
    clearTimeout(this.answerTimer);
    this.answerTimer = wait ? setTimeout(() => this.drop(), wait) : 0;
  }

  // --- Towards the shell ---

  command(type, fields = {}) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type, ...fields }));
  }

  resize(columns, rows) {
    this.size = { columns, rows };
    if (this.isOpen) this.command("resize", this.size);
  }

  end() {
    this.command("end");
  }

  // Keys, as bytes; whether they were taken. A paste goes out in pieces, at the pace of the shell.
  send(bytes) {
    const isNew = this.offset === null; // typing ahead of a new shell is fine, into a lost one it is not
    if (this.over || !(this.isOpen || isNew)) return false;
    // Ctrl-C means now: what is left of a paste is not wanted any more.
    if (bytes.length === 1 && bytes[0] === 3) this.input = [];
    if (this.pending + bytes.length > MOST_INPUT) return false;
    for (let at = 0; at < bytes.length; at += PIECE) this.input.push(bytes.subarray(at, at + PIECE));
    this.pump();
    return true;
  }

  get pending() {
    return this.input.reduce((sum, piece) => sum + piece.length, 0);
  }

  pump() {
    while (this.input.length && this.isOpen && this.ahead + this.input[0].length <= INPUT_WINDOW) {
      const piece = this.input.shift();
      this.ahead += piece.length;
      this.socket.send(piece);
    }
  }
}

function newSession() {
  if (crypto.randomUUID) return crypto.randomUUID();
  // Only secure contexts have randomUUID; a plain-http address inside a company has not.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
