// /ws/operations/ID/output: every line from the first, then as they come. A reconnect resumes after the last line had.

const REFUSED = 4400; // and above: the server's word, nothing to try again
const LONGEST_WAIT = 10_000;

// onLines([[seq, time, stream, text], …]); onPhase("live" | "lost" | "ended" | "refused", the operation's state).
export class Feed {
  constructor(operation, { onLines, onPhase }) {
    Object.assign(this, { operation, onLines, onPhase, after: -1, attempt: 0, ended: "" });
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const query = this.after >= 0 ? `?after=${this.after}` : "";
    const socket = new WebSocket(`${scheme}//${location.host}/ws/operations/${encodeURIComponent(this.operation)}/output${query}`);
    socket.onopen = () => this.onPhase("live", "");
    socket.onmessage = (event) => this.take(JSON.parse(event.data));
    socket.onclose = (event) => this.closed(event.code);
  }

  take(message) {
    this.attempt = 0;
    if (message.lines) {
      const news = message.lines.filter(([seq]) => seq > this.after);
      if (news.length) {
        this.after = news.at(-1)[0];
        this.onLines(news);
      }
    }
    if (message.ended) {
      this.ended = message.ended;
      this.onPhase("ended", message.ended);
    }
  }

  closed(code) {
    if (this.ended) return;
    if (code >= REFUSED) {
      this.onPhase("refused", "");
      return;
    }
    this.onPhase("lost", "");
    const ceiling = Math.min(LONGEST_WAIT, 500 * 2 ** this.attempt);
    this.attempt += 1;
    setTimeout(() => this.connect(), ceiling / 2 + (Math.random() * ceiling) / 2);
  }
}
