// An asciicast (version 2) as its bytes come in: the header, then three columns of events. What cannot be read is
// left out: the last line of a recording whose process was killed may be half of one.

export class Cast {
  constructor() {
    this.header = null;
    this.times = [];
    this.codes = [];
    this.data = [];
    this.markers = []; // [time, words]
    this.characters = 0; // of all data
    this.isComplete = false;
    this.decoder = new TextDecoder();
    this.rest = "";
  }

  get length() {
    return this.times.length;
  }

  get duration() {
    return this.times.at(-1) ?? 0;
  }

  add(bytes) {
    const lines = (this.rest + this.decoder.decode(bytes, { stream: true })).split("\n");
    this.rest = lines.pop();
    for (const line of lines) this.line(line);
  }

  end() {
    if (this.rest) this.line(this.rest);
    this.rest = "";
    this.isComplete = true;
  }

  line(text) {
    const value = parsed(text);
    if (!this.header) {
      if (value?.version !== 2) throw new Error("This is no asciicast of version 2.");
      this.header = { ...value, width: cells(value.width, 80), height: cells(value.height, 24) };
      return;
    }
    if (!Array.isArray(value) || value.length < 3) return;
    const [time, code, data] = value;
    if (!Number.isFinite(time) || typeof data !== "string") return;
    const at = Math.max(time, this.duration);
    this.times.push(at);
    this.codes.push(code);
    this.data.push(data);
    this.characters += data.length;
    if (code === "m") this.markers.push([at, data]);
  }

  // Where events begin that are later than `time`.
  after(time) {
    let low = 0;
    let high = this.times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle] <= time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // For whoever only follows: what was dealt with is not kept.
  forget() {
    this.times = [];
    this.codes = [];
    this.data = [];
  }
}

function parsed(text) {
  try { return JSON.parse(text); } catch { return null; }
}

export function cells(value, otherwise) {
  return Number.isInteger(value) && value >= 1 && value <= 1000 ? value : otherwise;
}

// "12x34" as [12, 34]; null for anything else.
export function size(text) {
  const found = /^(\d{1,4})x(\d{1,4})$/.exec(text);
  const columns = found && cells(Number(found[1]), 0);
  const rows = found && cells(Number(found[2]), 0);
  return columns && rows ? [columns, rows] : null;
}
