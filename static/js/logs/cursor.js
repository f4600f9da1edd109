// Where a log is resumed after a break, without losing or doubling a line. Lines of the two streams may be written
// out of the order of their times, and many may share one; so the newest units are remembered one by one. What is
// asked for again begins at the latest time no longer remembered (the floor), and what is remembered is skipped.

const REMEMBERED = 4096;
// Podman reads `since` as a float of 53 bits and leaves out the very moment itself: ask for a little more.
const MARGIN_NANOS = 1000;

export class Cursor {
  constructor(size = REMEMBERED) {
    this.size = size;
    this.seconds = new Float64Array(size);
    this.nanos = new Float64Array(size);
    this.streams = new Uint8Array(size);
    this.forget();
  }

  forget() {
    this.count = 0;
    this.at = 0;
    this.floor = null; // {seconds, nanos, count}: count units of exactly this time are no longer remembered
    this.from = null; // the floor when catching up began
    this.expected = null; // while catching up: remembered units that were not met again yet
    this.missing = 0;
    this.skipFloor = 0;
  }

  get isEmpty() {
    return this.count === 0;
  }

  note(stream, { seconds, nanos }) {
    if (this.count === this.size) this.evict();
    else this.count += 1;
    this.seconds[this.at] = seconds;
    this.nanos[this.at] = nanos;
    this.streams[this.at] = stream;
    this.at = (this.at + 1) % this.size;
  }

  evict() {
    const seconds = this.seconds[this.at];
    const nanos = this.nanos[this.at];
    const order = this.floor ? compare(seconds, nanos, this.floor) : 1;
    if (order > 0) this.floor = { seconds, nanos, count: 1 };
    else if (order === 0) this.floor = { seconds, nanos, count: this.floor.count + 1 };
  }

  // Begin to catch up; answers `since` for the engine.
  resume() {
    this.expected = new Map();
    this.missing = this.count;
    let earliest = null;
    for (let i = 0; i < this.count; i += 1) {
      const key = this.key(this.streams[i], this.seconds[i], this.nanos[i]);
      this.expected.set(key, (this.expected.get(key) ?? 0) + 1);
      if (!earliest || compare(this.seconds[i], this.nanos[i], earliest) < 0) {
        earliest = { seconds: this.seconds[i], nanos: this.nanos[i], count: 0 };
      }
    }
    this.floor ??= earliest;
    this.from = this.floor;
    this.skipFloor = this.from.count;
    const early = this.floor.nanos - MARGIN_NANOS;
    const [seconds, nanos] = early < 0 ? [this.floor.seconds - 1, early + 1e9] : [this.floor.seconds, early];
    return `${seconds}.${String(nanos).padStart(9, "0")}`;
  }

  // Whether this unit was had before the break.
  seen(stream, { seconds, nanos }) {
    if (!this.expected) return false;
    const order = compare(seconds, nanos, this.from);
    if (order < 0) return true;
    if (order === 0 && this.skipFloor > 0) {
      this.skipFloor -= 1;
      return true;
    }
    const key = this.key(stream, seconds, nanos);
    const left = this.expected.get(key) ?? 0;
    if (!left) return false;
    this.expected.set(key, left - 1);
    this.missing -= 1;
    if (!this.missing) this.expected = null;
    return true;
  }

  key(stream, seconds, nanos) {
    return `${seconds}.${nanos}/${stream}`;
  }
}

function compare(seconds, nanos, other) {
  return seconds - other.seconds || nanos - other.nanos;
}
