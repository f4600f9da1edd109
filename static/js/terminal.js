// The terminal page: a Link (the shell's WebSocket) in front of a Screen (xterm.js), and what the page says of both.
import { Link } from "./terminal/link.js";
import { Screen } from "./terminal/screen.js";
import { Keypad } from "./terminal/keypad.js";
import { Finder } from "./terminal/finder.js";
import { Notice } from "./terminal/notice.js";
import { showState } from "./ui/state.js";

const RESIZE_AFTER = 80; // ms without a further change
const START_PATIENCE = 30_000;
const START_EVERY = 1_500;

class TerminalPage {
  constructor(root) {
    this.root = root;
    const { path, container } = root.dataset;
    this.link = new Link(path, `gantry-terminal-${container}`);
    this.screen = new Screen(this.part("screen"), {
      onLink: (address) => this.offerLink(address),
      onTitle: (title) => { this.part("title").textContent = title; },
    });
    this.terminal = this.screen.terminal;
    this.notice = new Notice(this.part("notice"), (action) => this.act(action));
    this.finder = new Finder(this.part("finder"), this.screen);
    this.keypad = new Keypad(this.part("keypad"), this.terminal);
    this.encoder = new TextEncoder();
    this.parsed = 0; // bytes of output on the screen
    this.mutedTo = 0; // up to here the screen shows the past, and must answer no questions in it
    this.startingUntil = 0;
    this.awaySince = null;
    this.listen(container);
    this.bindKeys();
    this.bindButtons();
    this.watchSize();
    this.resize();
    this.link.start();
    this.terminal.focus();
  }

  part(name) {
    return this.root.querySelector(`[data-part="${name}"]`);
  }

  // --- From the shell ---

  listen(container) {
    const on = (type, handle) => this.link.addEventListener(type, (event) => handle(event.detail));
    on("opening", ({ attempt }) => { if (!attempt && !this.startingUntil) this.status("busy", "Connecting…"); });
    on("ready", (message) => this.ready(message));
    on("replay", (span) => this.replay(span));
    on("output", ({ bytes, shown }) => this.output(bytes, shown));
    on("recording", (message) => this.recorded(message));
    on("watchers", ({ names }) => this.watchedBy(names));
    on("lost", ({ attempt }) => this.lost(attempt));
    on("away", (message) => this.away(message));
    on("over", (message) => this.over(message));
    document.body.addEventListener(`live:container.${container}`, () => { if (this.startingUntil) this.link.open({}); });
  }

  ready({ opened }) {
    this.watchedBy([]);
    if (opened && opened !== "a shell") this.part("command").textContent = opened;
    this.startingUntil = 0;
    this.awaySince = null;
    this.notice.clear();
    this.status("ok", "Connected");
    this.root.classList.remove("is-idle");
    if (!this.root.querySelector("dialog[open]")) this.terminal.focus();
  }

  replay({ from, to, reset, lostPart }) {
    this.mutedTo = reset ? to : 0;
    this.parsed = from;
    if (!reset) return;
    this.terminal.write("\x1bc");
    if (lostPart) this.terminal.write("\x1b[2m[earlier output was not kept]\x1b[0m\r\n");
    this.redraw = from > 0;
    if (from === to) this.nudge();
  }

  output(bytes, shown) {
    const past = Math.max(0, Math.min(bytes.length, this.mutedTo - this.received(bytes)));
    if (past && past < bytes.length) this.terminal.write(bytes.subarray(0, past), () => { this.parsed += past; this.nudge(); });
    const rest = past < bytes.length ? bytes.subarray(past) : bytes;
    this.terminal.write(rest, () => {
      this.parsed += rest.length;
      this.nudge();
      shown();
    });
  }

  // Small and calm, but for a shell that should be recorded and is not.
  recorded({ on, why }) {
    const element = this.part("recorded");
    element.hidden = false;
    element.classList.toggle("is-off", !on);
    element.querySelector(".word").textContent = on ? "Recorded" : "Not recorded";
    element.title = on ? "What this shell shows is recorded, and may be watched." : `This shell is not recorded: ${why}.`;
  }

  watchedBy(names) {
    const element = this.part("watchers");
    element.hidden = !names.length;
    const all = names.length < 3 ? names.join(" and ") : `${names.length} people`;
    element.querySelector(".word").textContent = `${all} ${names.length === 1 ? "is" : "are"} watching`;
    element.title = names.join(", ");
  }

  // Where `bytes`, just counted by the link, begin.
  received(bytes) {
    return this.link.offset - bytes.length;
  }

  // A full-screen program draws itself again when its size changes; needed when the past was cut off.
  nudge() {
    if (!this.redraw || this.isPast) return;
    this.redraw = false;
    const { columns, rows } = this.link.size;
    this.link.resize(columns, Math.max(2, rows - 1));
    this.link.resize(columns, rows);
  }

  lost(attempt) {
    this.idle();
    this.status("warn", "Reconnecting…");
    this.notice.show({
      passing: true,
      tone: "busy",
      title: "Reconnecting…",
      text: attempt > 2
        ? "Gantry does not answer. The shell goes on and waits for ten minutes; keys are not sent meanwhile."
        : "The connection was lost. The shell goes on; keys are not sent meanwhile.",
      actions: ["retry"],
    });
  }

  away({ message, hint, since }) {
    this.idle();
    this.status("warn", "Host unreachable");
    this.awaySince ??= new Date(since ?? Date.now());
    const clock = this.awaySince.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
    this.notice.show({
      passing: true,
      tone: "warn",
      title: `${this.root.dataset.host} has been out of contact since ${clock}`,
      text: `${message} ${hint || "It is tried again by itself."}`,
      actions: ["retry", "back"],
    });
  }

  over(message) {
    this.idle();
    if (this.startingUntil) {
      if (message.kind === "refused" && Date.now() < this.startingUntil) {
        setTimeout(() => { if (this.startingUntil) this.link.open({}); }, START_EVERY);
        return;
      }
      this.startingUntil = 0;
    }
    const { word, ...notice } = this.verdict(message);
    this.status(notice.tone === "busy" ? "idle" : notice.tone, word);
    this.notice.show(notice);
  }

  verdict(message) {
    const stopped = message.state && !["running", "paused", "restarting", "unknown"].includes(message.state);
    const start = stopped && message.state !== "removed" && this.root.dataset.start ? ["start"] : [];
    const again = message.state === "removed" ? [] : ["open"];
    switch (message.kind) {
      case "exit":
        if (message.reason === "container stopped") {
          const removed = message.state === "removed";
          return {
            word: removed ? "Container removed" : "Container stopped",
            tone: "warn",
            title: removed ? "The container was removed" : "The container stopped",
            text: "Its shells ended with it. The last screen stays here to be read.",
            actions: removed ? ["back"] : [this.root.dataset.start ? "start" : "open", "back"],
          };
        }
        if (message.reason === "engine lost") {
          return { word: "Engine lost", tone: "warn", title: "The engine on the host went away", text: "The shell can no longer be reached through it.", actions: ["open", "back"] };
        }
        return {
          word: "Ended",
          tone: message.code ? "warn" : "idle",
          title: message.code === null ? "The shell ended" : `The shell ended with exit code ${message.code}`,
          text: "",
          actions: ["open", "back"],
        };
      case "refused":
        return { word: "Not open", tone: "warn", title: "No shell could be opened", text: `${message.message} ${message.hint ?? ""}`, actions: [...(start.length ? start : again), "other", "back"] };
      case "elsewhere":
        return { word: "Elsewhere", tone: "idle", title: "Continued elsewhere", text: "This shell was opened in another tab or window.", actions: ["resume", "back"] };
      case "denied":
        return { word: "No right", tone: "bad", title: "Your right to this shell has ended", text: "It was closed on its host. Ask an administrator for the right “container.exec”.", actions: ["back"] };
      case "signed-out":
        return { word: "Signed out", tone: "warn", title: "You have been signed out", text: "The shell was closed on its host.", actions: ["reload"] };
      default:
        return { word: "Gone", tone: "warn", title: "This shell is gone", text: message.message ? "Its host no longer holds it: the agent was restarted, or nobody came back for ten minutes." : "The container is not there any more.", actions: message.message ? ["open", "back"] : ["back"] };
    }
  }

  idle() {
    this.watchedBy([]);
    this.root.classList.add("is-idle");
  }

  status(tone, word) {
    showState(this.part("status"), tone, word);
  }

  // --- From the person ---

  bindKeys() {
    // While the past is shown again, xterm answers the questions in it; only keys are the person's then.
    this.terminal.onData((data) => { if (!this.isPast) this.type(data); });
    this.terminal.onKey(({ key }) => { if (this.isPast) this.type(key); });
    this.terminal.onBinary((data) => this.send(Uint8Array.from(data, (char) => char.charCodeAt(0))));
    this.terminal.attachCustomKeyEventHandler((event) => {
      if (event.type !== "keydown" || !event.ctrlKey || !event.shiftKey || event.altKey) return true;
      const shortcuts = { KeyC: () => this.copy(), KeyF: () => this.finder.open(), KeyE: () => this.leave(), KeyV: null };
      if (!(event.code in shortcuts)) return true;
      if (shortcuts[event.code]) {
        event.preventDefault();
        shortcuts[event.code]();
      }
      return false;
    });
  }

  get isPast() {
    return this.parsed < this.mutedTo;
  }

  type(data) {
    this.send(this.encoder.encode(this.keypad.apply(data)));
  }

  send(bytes) {
    if (!this.link.send(bytes)) this.notice.flash();
  }

  async copy() {
    const text = this.terminal.getSelection();
    if (!text) return;
    // navigator.clipboard exists in secure contexts only; xterm itself answers the copy command.
    if (navigator.clipboard) await navigator.clipboard.writeText(text).catch(() => document.execCommand("copy"));
    else document.execCommand("copy");
  }

  // Tab belongs to the shell: this is the keyboard's way out.
  leave() {
    this.part("bar").querySelector("button, a")?.focus();
  }

  bindButtons() {
    this.root.addEventListener("click", (event) => {
      const action = event.target.closest("[data-do]")?.dataset.do;
      if (action) this.act(action);
    });
    const form = this.part("order");
    form.addEventListener("submit", () => {
      const { command, user } = Object.fromEntries(new FormData(form));
      this.reopen({ command: command.trim(), user: user.trim() });
    });
    document.addEventListener("fullscreenchange", () => { if (!document.fullscreenElement) this.root.classList.remove("is-full"); });
  }

  act(action) {
    const actions = {
      open: () => this.reopen({}),
      other: () => this.part("dialog").showModal(),
      resume: () => this.link.rejoin(),
      retry: () => this.link.hurry(),
      reload: () => location.reload(),
      start: () => this.startContainer(),
      end: () => this.link.end(),
      find: () => this.finder.open(),
      smaller: () => this.font(-1),
      larger: () => this.font(1),
      full: () => this.full(),
    };
    actions[action]?.();
  }

  reopen(order) {
    if (this.link.isOpen) this.link.end();
    this.notice.clear();
    this.terminal.write("\x1bc");
    this.part("title").textContent = "";
    this.part("command").textContent = order.command || "";
    this.link.open(order);
    this.terminal.focus();
  }

  font(step) {
    this.screen.scaleFont(step);
    this.resize();
    this.terminal.focus();
  }

  full() {
    const on = this.root.classList.toggle("is-full");
    // A phone has no full screen for elements; the class alone fills the window there.
    if (on) {
      // Escape belongs to the program in the terminal; where keys can be locked, holding it leaves.
      this.root.requestFullscreen?.().then(() => navigator.keyboard?.lock?.(["Escape"])).catch(() => {});
    }
    if (!on && document.fullscreenElement) document.exitFullscreen();
    this.terminal.focus();
  }

  async startContainer() {
    this.notice.show({ tone: "busy", title: "Starting the container…", text: "", actions: ["back"] });
    this.startingUntil = Date.now() + START_PATIENCE;
    const form = this.part("start");
    const answer = await fetch(form.action, { method: "POST", body: new FormData(form) }).catch(() => null);
    if (answer?.ok) {
      this.link.open({});
      return;
    }
    this.startingUntil = 0;
    this.notice.show({ tone: "bad", title: "The container could not be started", text: "Its own page says more.", actions: ["start", "back"] });
  }

  offerLink(address) {
    this.part("address").textContent = address;
    this.part("follow").href = address;
    this.part("link").showModal();
  }

  watchSize() {
    let timer = 0;
    new ResizeObserver(() => {
      clearTimeout(timer);
      timer = setTimeout(() => this.resize(), RESIZE_AFTER);
    }).observe(this.part("screen"));
    document.fonts?.ready.then(() => this.resize());
    // A phone's keyboard covers the page without resizing it.
    const cover = () => document.documentElement.style.setProperty("--visible", `${visualViewport.height}px`);
    visualViewport?.addEventListener("resize", cover);
    if (window.visualViewport) cover();
  }

  resize() {
    const { columns, rows } = this.screen.fill();
    this.part("size").textContent = `${columns} × ${rows}`;
    if (columns !== this.link.size.columns || rows !== this.link.size.rows) this.link.resize(columns, rows);
  }
}

const root = document.querySelector("[data-terminal]");
if (root) root.page = new TerminalPage(root);
