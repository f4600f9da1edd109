// The engine's log stream, cut anywhere, into units: what the engine wrote at one moment, with its time. With frames
// a unit is one frame (8 bytes: stream 1 or 2, three zeros, length; "Stream format" under ContainerAttach in the
// Engine API). A container with a TTY has none: a unit is then a line, or the 16 KiB at which Docker cuts a long one.
// Each unit begins with its timestamp, since timestamps are always asked for.

import { Stamp } from "./times.js";

export const STDOUT = 1;
export const STDERR = 2;
const ENGINE_ERROR = 3;
const HEADER = 8;
const NEWLINE = 10;
const SPACE = 32;
// A longer frame is given out in pieces as it comes, whatever length it claims.
const LONGEST_FRAME = 256 * 1024;
const DOCKER_CUTS_AT = 16 * 1024;
const LONGEST_STAMP = 36;

function joined(left, right) {
  if (!left.length) return right;
  const both = new Uint8Array(left.length + right.length);
  both.set(left);
  both.set(right, left.length);
  return both;
}

const NOTHING = new Uint8Array(0);

// take(stream, stamp, bytes, isStart): `stamp` is reused for the next unit; null when there was none.
export class FramedReader {
  constructor(take) {
    this.take = take;
    this.stamp = new Stamp();
    this.rest = NOTHING;
    this.left = 0; // bytes to come of a frame that is given out in pieces
    this.stream = STDOUT;
    this.begun = false;
  }

  feed(chunk) {
    const bytes = joined(this.rest, chunk);
    this.rest = NOTHING;
    let at = 0;
    while (at < bytes.length) {
      if (this.left) {
        at = this.piece(bytes, at);
        continue;
      }
      if (bytes.length - at < HEADER) break;
      const length = this.header(bytes, at);
      if (length > LONGEST_FRAME) {
        this.left = length;
        this.begun = false;
        at += HEADER;
        continue;
      }
      if (bytes.length - at < HEADER + length) break;
      at += HEADER;
      this.unit(bytes.subarray(at, at + length));
      at += length;
    }
    if (at < bytes.length) this.rest = bytes.slice(at);
  }

  header(bytes, at) {
    const stream = bytes[at];
    if (stream > ENGINE_ERROR || bytes[at + 1] || bytes[at + 2] || bytes[at + 3]) {
      throw new Error("The host sent something that is not a container’s log.");
    }
    this.stream = stream || STDOUT;
    return ((bytes[at + 4] << 24) >>> 0) + (bytes[at + 5] << 16) + (bytes[at + 6] << 8) + bytes[at + 7];
  }

  piece(bytes, at) {
    const end = Math.min(bytes.length, at + this.left);
    this.left -= end - at;
    const piece = bytes.subarray(at, end);
    if (this.begun) this.take(this.stream, null, piece, false);
    else this.unit(piece);
    this.begun = true;
    return end;
  }

  unit(bytes) {
    const length = this.stream === ENGINE_ERROR ? 0 : this.stamp.read(bytes, 0);
    this.take(this.stream, length ? this.stamp : null, length ? bytes.subarray(length) : bytes, true);
  }

  // The connection has ended: half a frame is sent again by the next one.
  end() {
    this.rest = NOTHING;
    this.left = 0;
  }
}

export class PlainReader {
  constructor(take) {
    this.take = take;
    this.stamp = new Stamp();
    this.rest = NOTHING;
  }

  feed(chunk) {
    const bytes = joined(this.rest, chunk);
    let at = 0;
    for (;;) {
      const next = this.unit(bytes, at);
      if (next === at) break;
      at = next;
    }
    this.rest = at < bytes.length ? bytes.slice(at) : NOTHING;
  }

  // Give out the unit at `at` if all of it is here; answers where the next one begins.
  unit(bytes, at) {
    if (at >= bytes.length) return at;
    const stamp = this.stamp.read(bytes, at);
    if (!stamp && bytes.length - at < LONGEST_STAMP && bytes.indexOf(SPACE, at) < 0 && bytes.indexOf(NEWLINE, at) < 0) return at;
    const from = at + stamp;
    const newline = bytes.indexOf(NEWLINE, from);
    let to = newline < 0 ? bytes.length : newline + 1;
    if (to - from > DOCKER_CUTS_AT) to = from + DOCKER_CUTS_AT;
    else if (newline < 0 && to - from < DOCKER_CUTS_AT) return at;
    this.take(STDOUT, stamp ? this.stamp : null, bytes.subarray(from, to), true);
    return to;
  }

  end(complete = false) {
    if (complete && this.rest.length) {
      const stamp = this.stamp.read(this.rest, 0);
      this.take(STDOUT, stamp ? this.stamp : null, this.rest.subarray(stamp), true);
    }
    this.rest = NOTHING;
  }
}
