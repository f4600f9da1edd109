// Where rows go on their way to the page's lines: straight in, or, while the view is paused, kept aside. Numbers are
// those they will have, so that an unfinished row can be changed in either place.

const MOST_HELD = 50_000; // then nothing more is read: the rest waits on the host

export class Intake {
  constructor(lines, { added, changed }) {
    this.lines = lines;
    this.added = added;
    this.changed = changed;
    this.paused = false;
    this.clear();
  }

  clear() {
    this.held = [];
    this.at = 0;
  }

  get count() {
    return this.held.length - this.at;
  }

  get isFull() {
    return this.count >= MOST_HELD;
  }

  get hasWork() {
    return !this.paused && this.count > 0;
  }

  add(line) {
    if (this.paused || this.count) {
      this.held.push(line);
      return this.lines.end + this.count - 1;
    }
    return this.enter(line);
  }

  enter(line) {
    const number = this.lines.push(line);
    this.added(number, line);
    return number;
  }

  change(number, line) {
    if (number >= this.lines.end) this.held[this.at + number - this.lines.end] = line;
    else if (this.lines.replace(number, line)) this.changed(number);
  }

  // After a pause: let in what was kept, until the deadline.
  pump(deadline) {
    while (this.hasWork && performance.now() < deadline) {
      for (let i = 0; i < 500 && this.count; i += 1) {
        const line = this.held[this.at];
        this.at += 1;
        this.enter(line);
      }
    }
    if (!this.count) this.clear();
  }
}
