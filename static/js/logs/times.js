// An engine's timestamps: RFC 3339 with up to nanoseconds, which no Date can hold.

const DIGIT = 48;

export class Stamp {
  constructor() {
    this.seconds = 0; // since 1970
    this.nanos = 0;
    this.day = -1; // of the stamp before, as yyyymmdd: lines of one day share its reckoning
    this.dayStart = 0;
  }

  // Read "2026-11-20T18:40:00.123456789Z " (or +01:00) at `at`; answers its length with the space, 0 when none is there.
  read(bytes, at) {
    if (bytes.length - at < 21 || bytes[at + 4] !== 45 || bytes[at + 10] !== 84 || bytes[at + 13] !== 58) return 0;
    const two = (offset) => (bytes[at + offset] - DIGIT) * 10 + bytes[at + offset + 1] - DIGIT;
    const day = (two(0) * 100 + two(2)) * 10_000 + two(5) * 100 + two(8);
    if (day !== this.day) {
      this.dayStart = Date.UTC(two(0) * 100 + two(2), two(5) - 1, two(8)) / 1000;
      if (!Number.isFinite(this.dayStart)) return 0;
      this.day = day;
    }
    let end = at + 19;
    let nanos = 0;
    if (bytes[end] === 46) {
      let scale = 1_000_000_000;
      for (end += 1; bytes[end] >= DIGIT && bytes[end] <= 57; end += 1) {
        scale /= 10;
        if (scale >= 1) nanos += (bytes[end] - DIGIT) * scale;
      }
    }
    let offset = 0;
    if (bytes[end] === 90) end += 1;
    else if (bytes[end] === 43 || bytes[end] === 45) {
      const sign = bytes[end] === 43 ? 1 : -1;
      offset = sign * (two(end - at + 1) * 3600 + two(end - at + 4) * 60);
      end += 6;
    } else return 0;
    const seconds = this.dayStart + two(11) * 3600 + two(14) * 60 + two(17) - offset;
    if (bytes[end] !== 32 || !Number.isFinite(seconds)) return 0;
    this.seconds = seconds;
    this.nanos = nanos;
    return end + 1 - at;
  }
}

const pad = (number, width = 2) => String(number).padStart(width, "0");
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

// In the reader's time zone: "18:40:00.123", with the day in front when it is not today.
export function localTime(seconds, nanos, today = new Date()) {
  const when = new Date(seconds * 1000);
  const clock = `${pad(when.getHours())}:${pad(when.getMinutes())}:${pad(when.getSeconds())}.${pad(Math.floor(nanos / 1e6), 3)}`;
  const same = when.getDate() === today.getDate() && when.getMonth() === today.getMonth() && when.getFullYear() === today.getFullYear();
  return same ? clock : `${pad(when.getDate())} ${MONTHS[when.getMonth()]} ${clock}`;
}

// "2026-11-20 18:40:00.123456789 UTC"
export function exactTime(seconds, nanos) {
  return `${isoTime(seconds, nanos).slice(0, -1).replace("T", " ")} UTC`;
}

// "2026-11-20T18:40:00.123456789Z", as the engine writes it.
export function isoTime(seconds, nanos) {
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${pad(nanos, 9)}Z`;
}
