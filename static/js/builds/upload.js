// Sends something large in pieces: what the server has is kept, a piece that fails is sent again, and where both sides
// differ the server's word counts (409 {"received": M}).

import { changeHeaders } from "./parts.js";

export const PIECE = 4 * 1024 * 1024;
const MOST_FAILURES = 8;
const LONGEST_WAIT = 15_000;
const RATE_OVER = 5_000; // ms

// What the server says no to. Trying again would not help.
export class Refused extends Error {
  constructor(message, hint = "", status = 0) {
    super(message);
    this.hint = hint;
    this.status = status;
  }
}

// No answer, or none of the application's: worth another try.
class Unanswered extends Error {}

// `source`: {size, read(start, end) → Uint8Array or Blob, perhaps as a promise}. `onChange` is called with the upload:
// state is starting, sending, waiting, finishing, done, failed or cancelled.
export class Upload {
  constructor({ address, name, kind, source, onChange }) {
    Object.assign(this, { address, name, kind, source, onChange });
    this.state = "starting";
    this.offset = 0;
    this.failures = 0; // one after the other
    this.setbacks = 0; // times the server had less than before
    this.url = "";
    this.samples = [];
    this.aborting = new AbortController();
  }

  get size() {
    return this.source.size;
  }

  get isRunning() {
    return ["starting", "sending", "waiting", "finishing"].includes(this.state);
  }

  // Whether it can go on where it is: the server may still have what was sent.
  get canResume() {
    return this.state === "failed" && this.error instanceof Refused && !this.error.status;
  }

  // Bytes a second, lately; 0 when unknown.
  get rate() {
    const [first, last] = [this.samples[0], this.samples.at(-1)];
    return first && last.at > first.at ? (1000 * (last.offset - first.offset)) / (last.at - first.at) : 0;
  }

  // Runs to the end; also goes on after a failure. Never throws: the state says how it went.
  async run() {
    this.failures = 0;
    this.samples = [];
    try {
      if (!this.url) await this.create();
      this.become("sending");
      while (this.offset < this.size) await this.sendPiece();
      this.become("finishing");
      this.result = await this.persist(() => this.ask("POST", `${this.url}finish/`, JSON.stringify({ size: this.size })));
      this.become("done");
    } catch (error) {
      if (this.state === "cancelled") return;
      this.error = error;
      this.become("failed");
    }
  }

  cancel() {
    const { url } = this;
    this.become("cancelled");
    this.aborting.abort();
    if (!url) return;
    // Nobody waits for it: what is left over, the server removes in time.
    fetch(url, { method: "DELETE", headers: changeHeaders(), keepalive: true }).catch(() => {});
  }

  become(state) {
    if (this.state === "cancelled") return;
    this.state = state;
    this.onChange(this);
  }

  async create() {
    const made = await this.persist(() => this.ask("POST", this.address, JSON.stringify({ name: this.name, kind: this.kind })));
    this.id = made.id;
    this.url = made.url;
  }

  async sendPiece() {
    const from = this.offset;
    const piece = await this.source.read(from, Math.min(from + PIECE, this.size));
    const answer = await this.persist(() => this.ask("PUT", `${this.url}?offset=${from}`, piece, (received) => Number.isInteger(received) && received !== from));
    if (!(answer.received >= 0 && answer.received <= this.size)) {
      throw new Refused(`The server says it has ${answer.received} bytes of ${this.size}.`, "Choose the files again.", 409);
    }
    // Back once is a server that lost something; again and again it is nothing that trying helps.
    if (answer.received <= from) this.setbacks += 1;
    if (this.setbacks > MOST_FAILURES) throw new Refused("The server loses what is sent.", "Choose the files again, or tell whoever runs Gantry.", 409);
    this.failures = 0;
    this.offset = answer.received;
    this.note();
    this.become("sending");
  }

  note() {
    const at = performance.now();
    this.samples.push({ at, offset: this.offset });
    while (this.samples.length > 2 && at - this.samples[0].at > RATE_OVER) this.samples.shift();
  }

  // Until the server answers.
  async persist(ask) {
    for (;;) {
      try {
        return await ask();
      } catch (error) {
        if (!(error instanceof Unanswered)) throw error;
        await this.pause(error);
      }
    }
  }

  async pause(error) {
    this.failures += 1;
    if (this.failures > MOST_FAILURES) throw new Refused("The server does not answer.", "What is sent stays there for a while: try again once the connection is back.");
    const before = this.state;
    const ceiling = Math.min(LONGEST_WAIT, 500 * 2 ** this.failures);
    this.wait = ceiling / 2 + (Math.random() * ceiling) / 2;
    this.reason = error.message;
    this.become("waiting");
    await new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, this.wait);
      this.aborting.signal.addEventListener("abort", () => {
        clearTimeout(timer);
        reject(new Refused("Cancelled"));
      }, { once: true });
    });
    this.become(before);
  }

  // The answer's JSON. `isNews` tells a 409 that moves the offset from one that repeats it.
  async ask(method, url, body, isNews = null) {
    const headers = { ...changeHeaders(), Accept: "application/json", "Content-Type": method === "PUT" ? "application/octet-stream" : "application/json" };
    let response;
    try {
      response = await fetch(url, { method, headers, body, signal: this.aborting.signal });
    } catch (error) {
      throw new Unanswered("The connection was lost", { cause: error });
    }
    const said = await response.json().catch(() => ({}));
    if (response.ok) return said;
    if (response.status === 409 && isNews?.(said.received)) return said;
    const isSame = response.status === 409 && Number.isInteger(said.received);
    if (response.status >= 500 || isSame || [408, 429].includes(response.status)) throw new Unanswered(`The server answered ${response.status}`);
    throw new Refused(said.message || `The server answered ${response.status}.`, said.hint, response.status);
  }
}
