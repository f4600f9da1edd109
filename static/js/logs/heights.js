// Where each row lies. Rows are numbered on and on; the oldest go. `Even`: all rows alike. `Uneven`: rows of several
// lines each (a Fenwick tree over a ring), for wrapped text. Heights are in lines of text.

export class Even {
  constructor(first = 0) {
    this.first = this.end = first;
  }

  get total() {
    return this.end - this.first;
  }

  push() {
    this.end += 1;
  }

  shift() {
    this.first += 1;
    return 1;
  }

  set() {
    return 0;
  }

  offset(row) {
    return row - this.first;
  }

  find(y) {
    return Math.min(this.end - 1, Math.max(this.first, this.first + Math.floor(y)));
  }
}

const SIZE = 2 ** 18; // more than MOST_LINES

export class Uneven {
  constructor(first = 0) {
    this.first = this.end = first;
    this.heights = new Int32Array(SIZE);
    this.tree = new Int32Array(SIZE + 1);
    this.total = 0;
  }

  push(height) {
    this.add(this.end % SIZE, height);
    this.end += 1;
  }

  shift() {
    const slot = this.first % SIZE;
    const height = this.heights[slot];
    this.add(slot, -height);
    this.first += 1;
    return height;
  }

  // Answers by how much the row has grown.
  set(row, height) {
    const slot = row % SIZE;
    const grown = height - this.heights[slot];
    if (grown) this.add(slot, grown);
    return grown;
  }

  add(slot, amount) {
    this.heights[slot] += amount;
    this.total += amount;
    for (let i = slot + 1; i <= SIZE; i += i & -i) this.tree[i] += amount;
  }

  before(slot) {
    let sum = 0;
    for (let i = slot; i > 0; i -= i & -i) sum += this.tree[i];
    return sum;
  }

  offset(row) {
    const sum = this.before(row % SIZE) - this.before(this.first % SIZE);
    const wrapped = Math.floor(row / SIZE) !== Math.floor(this.first / SIZE);
    return wrapped ? sum + this.total : sum;
  }

  // The row at the height y.
  find(y) {
    let rest = Math.max(0, Math.min(y, this.total - 1)) + this.before(this.first % SIZE);
    if (rest >= this.total) rest -= this.total;
    let slot = 0;
    for (let step = SIZE; step > 0; step >>= 1) {
      if (slot + step <= SIZE && this.tree[slot + step] <= rest) {
        slot += step;
        rest -= this.tree[slot];
      }
    }
    const lap = Math.floor(this.first / SIZE) * SIZE;
    const row = slot + lap < this.first ? slot + lap + SIZE : slot + lap;
    return Math.min(this.end - 1, Math.max(this.first, row));
  }
}
