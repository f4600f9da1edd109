// A folder's files as a tar archive that exists nowhere: its layout is reckoned from names and sizes, and any stretch
// of it can be read at any time. So nothing is held but the stretch in hand, and an upload resumes where it likes.
//
// ustar (POSIX.1-1988) with pax records (POSIX.1-2001) for names that do not fit it.

const BLOCK = 512;
const ENCODER = new TextEncoder();
const FILE = "0";
const FOLDER = "5";
const PAX = "x";
const LARGEST = 8 ** 11 - 1; // what eleven octal digits say

export class ChangedFile extends Error {}

// `files`: [{path, file}], `folders`: paths. Every folder that a file is in is named too, so that its mode is said.
export class Tar {
  constructor(files, folders = []) {
    const entries = new Map();
    const addFolder = (path) => {
      for (let at = path.length; at > 0 && !entries.has(path.slice(0, at)); at = path.lastIndexOf("/", at - 1)) {
        entries.set(path.slice(0, at), { path: path.slice(0, at), type: FOLDER, size: 0, seconds: 0, file: null });
      }
    };
    folders.forEach(addFolder);
    for (const { path, file } of files) {
      addFolder(path.slice(0, Math.max(0, path.lastIndexOf("/"))));
      entries.set(path, { path, type: FILE, size: file.size, seconds: Math.max(0, Math.floor(file.lastModified / 1000)), file });
    }
    this.entries = [...entries.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
    this.starts = new Array(this.entries.length);
    let offset = 0;
    this.entries.forEach((entry, index) => {
      this.starts[index] = offset;
      entry.head = headLength(entry);
      offset += entry.head + padded(entry.size);
    });
    this.contents = offset;
    this.size = offset + 2 * BLOCK; // two empty blocks end it
  }

  // The bytes from `start` to before `end`.
  async read(start, end) {
    const to = Math.min(end, this.size);
    const bytes = new Uint8Array(Math.max(0, to - start));
    for (let index = this.indexAt(start); index < this.entries.length && this.starts[index] < to; index += 1) {
      await this.fill(bytes, start, to, index);
    }
    return bytes;
  }

  async fill(bytes, start, to, index) {
    const entry = this.entries[index];
    const data = this.starts[index] + entry.head;
    if (data > start) {
      const head = await makeHead(entry);
      const from = Math.max(start, this.starts[index]);
      bytes.set(head.subarray(from - this.starts[index], Math.min(to, data) - this.starts[index]), from - start);
    }
    const from = Math.max(start, data);
    const until = Math.min(to, data + entry.size);
    if (from < until) bytes.set(await readFile(entry.path, entry.file, from - data, until - data), from - start);
  }

  // The entry that holds the byte at an offset.
  indexAt(offset) {
    let low = 0;
    let high = this.starts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.starts[middle] <= offset) low = middle;
      else high = middle;
    }
    return low;
  }
}

// A stretch of a file. Throws ChangedFile: the browser refuses one that is not what it was when it was chosen.
export async function readFile(path, file, start = 0, end = file.size) {
  try {
    return new Uint8Array(await file.slice(start, end).arrayBuffer());
  } catch (error) {
    throw new ChangedFile(`“${path}” cannot be read: it was changed, moved or removed since it was chosen.`, { cause: error });
  }
}

function padded(size) {
  return Math.ceil(size / BLOCK) * BLOCK;
}

function nameOf(entry) {
  return entry.type === FOLDER ? `${entry.path}/` : entry.path;
}

function headLength(entry) {
  const pax = paxOf(entry);
  return pax ? 2 * BLOCK + padded(pax.length) : BLOCK;
}

// The whole head. A browser does not say which files may be executed: what begins as a script or a program is.
async function makeHead(entry) {
  const pax = paxOf(entry);
  const mode = entry.type === FOLDER || (await isProgram(entry)) ? 0o755 : 0o644;
  const fit = splitName(ENCODER.encode(nameOf(entry)));
  const own = header(fit ?? [shortened(entry)], { ...entry, mode });
  if (!pax) return own;
  const head = new Uint8Array(headLength(entry));
  head.set(header([ENCODER.encode("pax/header")], { type: PAX, size: pax.length, seconds: entry.seconds, mode: 0o644 }), 0);
  head.set(pax, BLOCK);
  head.set(own, head.length - BLOCK);
  return head;
}

async function isProgram(entry) {
  if (entry.size < 4) return false;
  const start = await readFile(entry.path, entry.file, 0, 4);
  return (start[0] === 0x23 && start[1] === 0x21) || (start[0] === 0x7f && start[1] === 0x45 && start[2] === 0x4c && start[3] === 0x46);
}

// The records a header has no room for, null when there are none.
function paxOf(entry) {
  const name = nameOf(entry);
  const records = [];
  if (/[^\x20-\x7e]/.test(name) || !splitName(ENCODER.encode(name))) records.push(record("path", name));
  if (entry.size > LARGEST) records.push(record("size", String(entry.size)));
  return records.length ? ENCODER.encode(records.join("")) : null;
}

// "LENGTH key=value\n", where the length counts its own digits.
function record(key, value) {
  const rest = ENCODER.encode(` ${key}=${value}\n`).length;
  let length = rest;
  while (length !== rest + String(length).length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

// A name as [name] or [name, prefix], null when the header has no room for it.
function splitName(bytes) {
  if (bytes.length <= 100) return [bytes];
  for (let at = Math.min(155, bytes.length - 2); at > 0 && bytes.length - at - 1 <= 100; at -= 1) {
    if (bytes[at] === 0x2f) return [bytes.subarray(at + 1), bytes.subarray(0, at)];
  }
  return null;
}

function shortened(entry) {
  return ENCODER.encode(nameOf(entry)).subarray(0, 100);
}

function header([name, prefix], { type, size, seconds, mode }) {
  const block = new Uint8Array(BLOCK);
  const octal = (value, at, width) => block.set(ENCODER.encode(value.toString(8).padStart(width - 1, "0").slice(1 - width)), at);
  block.set(name, 0);
  octal(mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size > LARGEST ? 0 : size, 124, 12);
  octal(Math.min(seconds, LARGEST), 136, 12);
  block.fill(0x20, 148, 156);
  block.set(ENCODER.encode(type), 156);
  block.set(ENCODER.encode("ustar\u000000"), 257);
  if (prefix) block.set(prefix, 345);
  octal(block.reduce((sum, byte) => sum + byte, 0), 148, 7); // six digits, NUL, space
  block[154] = 0;
  return block;
}
