// Searching the lines held: those there are in small pieces, those that come as they come. A query without capitals
// finds capitals too.

const PIECE = 4000;
const MOST_MARKS = 200; // in one row

export class Search {
  constructor(lines) {
    this.lines = lines;
    this.set("", false);
  }

  // Answers "" or what is wrong with the expression.
  set(query, isExpression) {
    this.query = query;
    this.matcher = null;
    this.hits = [];
    this.base = 0; // the number of hits[0], counted from the first ever found
    this.scanned = this.lines.first;
    if (!query) return "";
    const source = isExpression ? query : query.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
    const cased = isExpression ? /(^|[^\\])[A-Z]/.test(query) : /\p{Lu}/u.test(query);
    try {
      this.matcher = new RegExp(source, cased ? "gu" : "giu");
      return "";
    } catch (error) {
      return error.message.replace(/^Invalid regular expression: /, "");
    }
  }

  get isOn() {
    return this.matcher !== null;
  }

  get isDone() {
    return !this.matcher || this.scanned >= this.lines.end;
  }

  get count() {
    return this.hits.length;
  }

  // Look at some more lines; call until isDone.
  scan() {
    this.forgetDropped();
    const end = Math.min(this.lines.end, this.scanned + PIECE);
    for (; this.scanned < end; this.scanned += 1) {
      if (this.test(this.lines.get(this.scanned).text)) this.hits.push(this.scanned);
    }
  }

  // A row that was unfinished has grown.
  changed(number) {
    if (!this.matcher || number >= this.scanned || this.hits.at(-1) >= number) return;
    if (this.test(this.lines.get(number).text)) this.hits.push(number);
  }

  test(text) {
    this.matcher.lastIndex = 0;
    return this.matcher.test(text);
  }

  forgetDropped() {
    const first = this.lines.first;
    this.scanned = Math.max(this.scanned, first);
    let gone = 0;
    while (gone < this.hits.length && this.hits[gone] < first) gone += 1;
    // Cutting an array costs its length, so not for every line that goes.
    if (gone) {
      this.hits.splice(0, gone);
      this.base += gone;
    }
  }

  // [start, end, start, end …] of the matches in a row.
  marks(text) {
    const found = [];
    if (!this.matcher) return found;
    this.matcher.lastIndex = 0; // matchAll begins there
    for (const match of text.matchAll(this.matcher)) {
      if (match[0]) found.push(match.index, match.index + match[0].length);
      if (found.length >= 2 * MOST_MARKS) break;
    }
    return found;
  }

  // Index of the first hit at or behind a line.
  indexFrom(number) {
    let low = 0;
    let high = this.hits.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.hits[middle] < number) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
