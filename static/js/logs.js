// The log viewer: a feed of units, made into lines, of which those in sight are drawn. All work is done in pieces of
// a few milliseconds between frames, so that a burst of 200,000 lines leaves the page as quick as it was.

import { write as copy } from "./ui/copy.js";
import { toast } from "./ui/toast.js";
import { bindControls } from "./logs/controls.js";
import { Feed } from "./logs/feed.js";
import { STDERR, STDOUT } from "./logs/frames.js";
import { Intake } from "./logs/held.js";
import { Assembler, Lines, NOTE } from "./logs/lines.js";
import { load, save, sinceSeconds } from "./logs/options.js";
import { Search } from "./logs/search.js";
import { Status, endingOf, noticeOf } from "./logs/status.js";
import { isoTime } from "./logs/times.js";
import { View } from "./logs/view.js";

const PIECE_MS = 8;
const FRAME_AT_LATEST = 120; // ms; a hidden tab gets no frames, and a timer once a second: it may then take longer
const HIDDEN_PIECE_MS = 100;
const COUNT_EVERY = 250;
const OLDER = "Older lines are on the host; raise the number of lines to see them.";

class LogViewer {
  constructor(root) {
    this.root = root;
    this.host = root.dataset.host;
    this.options = load();
    this.status = new Status(root);
    this.lines = new Lines();
    this.search = new Search(this.lines);
    this.current = -1; // the line of the search at hand
    this.total = 0;
    this.ending = "";
    this.intake = new Intake(this.lines, { added: () => this.schedule(), changed: (number) => this.changed(number) });
    this.assembler = new Assembler((line) => this.add(line), (number, line) => this.intake.change(number, line));
    this.view = new View(root.querySelector(".stream-body"), {
      marksOf: (line) => (line.stream === NOTE ? [] : this.search.marks(line.text)),
      isCurrent: (row) => this.current >= 0 && this.numberOf(row) === this.current,
      onFollow: (on) => this.controls?.pressed("follow", on),
    });
    this.feed = new Feed(root.dataset.path, {
      options: () => ({ ...this.options, since: sinceSeconds(this.options.since) }),
      take: (stream, stamp, bytes) => this.take(stream, stamp, bytes),
      isFull: () => this.intake.isFull,
      phase: (phase, message) => this.phase(phase, message),
      wake: () => this.schedule(),
    });
    this.everything = source(this.lines, () => this.lines.first, () => this.lines.end, (row) => row);
    this.found = source(
      this.lines,
      () => this.search.base,
      () => this.search.base + this.search.hits.length,
      (row) => this.search.hits[row - this.search.base],
    );
    this.controls = bindControls(root, this);
    this.view.wrap = this.options.wrap;
    this.view.times = this.options.times;
    this.view.show(this.everything);
    this.look({});
    if (this.options.q) this.find(this.options);
    setInterval(() => this.count(), COUNT_EVERY);
  }

  start() {
    for (const topic of this.root.dataset.live.split(" ")) {
      document.body.addEventListener(`live:${topic}`, () => this.feed.nudge());
    }
    document.fonts.ready.then(() => this.view.set({}));
    this.link();
    this.feed.restart();
  }

  // --- Lines come

  take(stream, stamp, bytes) {
    if (stream === STDOUT || stream === STDERR) this.assembler.take(stream, stamp, bytes);
    else this.note(new TextDecoder().decode(bytes), "bad");
  }

  add(line) {
    if (line.stream !== NOTE && !line.continued) this.total += 1;
    return this.intake.add(line);
  }

  note(text, tone = "") {
    this.add({ stream: NOTE, seconds: Math.floor(Date.now() / 1000), nanos: (Date.now() % 1000) * 1e6, text, runs: null, tone });
  }

  changed(number) {
    this.search.changed(number);
    if (this.view.source === this.everything) this.view.changed(number);
    else this.view.refresh();
    this.schedule();
  }

  schedule() {
    if (this.scheduled) return;
    this.scheduled = true;
    const run = () => {
      if (!this.scheduled) return;
      this.scheduled = false;
      cancelAnimationFrame(frame);
      clearTimeout(timer);
      this.work();
    };
    const frame = requestAnimationFrame(run);
    const timer = setTimeout(run, FRAME_AT_LATEST);
  }

  work() {
    const deadline = performance.now() + (document.hidden ? HIDDEN_PIECE_MS : PIECE_MS);
    this.intake.pump(deadline);
    this.feed.pump(deadline);
    const searching = !this.search.isDone;
    while (!this.search.isDone && performance.now() < deadline) this.search.scan();
    if (searching) this.countFound();
    this.search.forgetDropped();
    this.view.render();
    if (this.feed.hasWork || this.intake.hasWork || !this.search.isDone) this.schedule();
  }

  // --- What is said of it

  phase(phase, message) {
    this.feedPhase = phase;
    if (phase === "ended" && !message.running) this.ended(message);
    else this.say(phase);
    const notice = noticeOf(phase, message, this.host);
    this.status.notice(notice ?? {});
    if (phase === "lost" && this.mentioned !== "lost") this.note(`Contact was lost. ${message.message ?? ""}`.trim(), "warn");
    if (phase === "live" && this.mentioned === "lost") this.note("Contact is back; the log goes on where it stopped.");
    if (phase === "lost" || phase === "live") this.mentioned = phase;
    this.schedule();
  }

  say(phase, words = "") {
    if (phase === "live" && this.intake.paused) this.status.show("paused");
    else this.status.show(phase, words);
  }

  ended(message) {
    const { words, note, bad } = endingOf(message);
    this.say("ended", words);
    const ending = `${message.state} ${message.finished_at}`;
    if (ending !== this.ending) this.note(note, bad ? "bad" : "");
    this.ending = ending;
  }

  count() {
    const { view, intake } = this;
    const unseen = view.following ? 0 : view.source.end - view.shown;
    this.status.counts({ lines: this.lines.count, dropped: this.lines.dropped, held: intake.paused ? intake.count : 0, unseen, isFull: intake.isFull, total: this.total });
    const [title, text] = this.emptiness();
    this.status.empty(title, text);
  }

  emptiness() {
    const { view } = this;
    if (view.source.end > view.source.first) return ["", ""];
    if (view.source === this.found) return this.search.isDone ? ["No line matches.", "New lines that match will appear here."] : ["Searching…", ""];
    if (this.feedPhase === "connecting") return ["Connecting…", ""];
    if (this.feedPhase !== "live") return ["", ""];
    if (this.options.since || !this.options.stdout || !this.options.stderr) return ["Nothing in this choice.", "New lines appear as they are written. Widen the time or the streams to see more."];
    return ["Nothing written yet.", "Lines appear here the moment the container writes them to its standard output or error."];
  }

  // --- What the reader does

  reread(change) {
    Object.assign(this.options, change);
    save(this.options);
    this.clear();
    this.ending = "";
    this.link();
    this.feed.restart();
  }

  clear() {
    this.lines.clear();
    this.intake.clear();
    this.assembler.forget();
    this.search.set(this.options.q, this.options.expression);
    this.current = -1;
    this.view.following = true;
    this.controls.pressed("follow", true);
    this.view.show(this.view.source);
    this.schedule();
  }

  look(change) {
    Object.assign(this.options, change);
    save(this.options);
    this.controls.pressed("times", this.options.times);
    this.controls.pressed("wrap", this.options.wrap);
    this.view.set({ times: this.options.times, wrap: this.options.wrap });
    this.link();
  }

  find(change) {
    Object.assign(this.options, change);
    save(this.options);
    this.error = this.search.set(this.options.q, this.options.expression);
    this.current = -1;
    const wanted = this.options.only && this.search.isOn ? this.found : this.everything;
    this.controls.pressed("only", this.options.only);
    this.controls.pressed("expression", this.options.expression);
    if (wanted !== this.view.source || wanted === this.found) this.view.show(wanted);
    this.view.refresh();
    this.countFound();
    this.schedule();
  }

  countFound() {
    const { search } = this;
    const index = this.current >= 0 ? search.indexFrom(this.current) : -1;
    this.status.found({ isOn: search.isOn, index, count: search.count, isDone: search.isDone, error: this.error });
  }

  // Go to the next match down (1) or up (-1), from the one at hand or from what is in sight.
  step(direction) {
    const { search, view } = this;
    while (!search.isDone) search.scan();
    if (!search.count) return;
    let index;
    if (this.current >= this.lines.first && this.current >= 0) index = search.indexFrom(this.current) + direction;
    else {
      const top = this.numberOf(view.topRow() ?? view.source.first) ?? this.lines.first;
      index = view.following && direction < 0 ? search.count - 1 : direction < 0 ? search.indexFrom(top) - 1 : search.indexFrom(top);
    }
    index = (index + search.count) % search.count;
    this.current = search.hits[index];
    view.refresh();
    view.reveal(view.source === this.found ? search.base + index : this.current);
    view.render();
    this.countFound();
  }

  numberOf(row) {
    return this.view.source === this.found ? this.search.hits[row - this.search.base] : row;
  }

  pause(on = !this.intake.paused) {
    this.intake.paused = on;
    this.controls.paused(on);
    this.say(this.feedPhase);
    this.count();
    this.schedule();
  }

  toEnd() {
    if (this.intake.paused) this.pause(false);
    this.view.follow(true);
    this.schedule();
  }

  toStart() {
    this.view.follow(false);
    this.view.scrollTo(0);
    this.schedule();
    if (this.options.tail !== "all" && !this.lines.dropped) this.controls.hint(OLDER);
  }

  // What is selected, else every line there is (of the filter).
  async copyLines() {
    const selected = String(getSelection());
    const source = this.view.source;
    const texts = [];
    for (let row = source.first; !selected && row < source.end; row += 1) {
      const line = source.line(row);
      if (line.stream === NOTE) continue;
      const stamp = this.options.times && line.seconds && !line.continued ? `${isoTime(line.seconds, line.nanos)} ` : "";
      if (line.continued && texts.length) texts.push(texts.pop() + line.text);
      else texts.push(stamp + line.text);
    }
    await copy(selected || `${texts.join("\n")}\n`);
    toast({ text: selected ? "Copied the selection." : `Copied ${texts.length} line${texts.length === 1 ? "" : "s"}.`, tone: "ok" });
  }

  // The whole log from the server, whatever the page still holds.
  link() {
    const { since, stdout, stderr, times } = this.options;
    const query = new URLSearchParams({ stdout: +stdout, stderr: +stderr, timestamps: +times });
    if (sinceSeconds(since)) query.set("since", sinceSeconds(since));
    this.controls.download(`${this.root.dataset.download}?${query}`);
  }
}

function source(lines, first, end, number) {
  return Object.freeze({
    get first() {
      return first();
    },
    get end() {
      return end();
    },
    line: (row) => lines.get(number(row)),
  });
}

const root = document.querySelector("[data-logs]");
if (root) new LogViewer(root).start();
