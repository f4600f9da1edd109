// `.dockerignore`: which files of a folder a build does not see. The same rules as the builder's own (ignore.py in
// agent/src/gantry_agent/engine/builder/): the last pattern that matches a path, or a folder it is in, decides.

import { clean, PathPattern, PatternError } from "./patterns.js";

export const IGNORE_FILE = ".dockerignore";
export const MAX_LINE = 65_535; // bytes, as in Docker (Go's bufio.MaxScanTokenSize)
export const MAX_PATTERNS = 10_000;
const MOST_FOLDERS = 10_000; // remembered; more are forgotten and looked at again

// White space as Go has it (unicode.IsSpace).
const SPACES = "\\t\\n\\v\\f\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const AROUND = new RegExp(`^[${SPACES}]+|[${SPACES}]+$`, "g");

export class IgnoreError extends Error {}

export class Ignore {
  // Throws IgnoreError naming the line.
  static parse(text) {
    const rules = [];
    text.replace(/^\ufeff/, "").split("\n").forEach((line, index) => {
      const rule = readRule(line, index + 1);
      if (rule) rules.push(rule);
      if (rules.length > MAX_PATTERNS) throw new IgnoreError(`${IGNORE_FILE} has more than ${MAX_PATTERNS} patterns`);
    });
    return new Ignore(rules);
  }

  constructor(rules = []) {
    this.rules = rules;
    this.folders = new Map(); // folder → index of the last rule for it
  }

  // Whether COPY, ADD and bind mounts do not see it. Folders and files are alike.
  excludes(path) {
    const last = this.lastMatch(path);
    return last >= 0 && !this.rules[last].exception;
  }

  // Whether nothing in an excluded folder can be wanted, so that it need not be walked.
  maySkipFolder(folder) {
    const last = this.lastMatch(folder);
    if (last < 0 || this.rules[last].exception) return false;
    return !this.rules.slice(last + 1).some((rule) => rule.exception && rule.pattern.mayMatchBelow(folder));
  }

  // Whether it is sent: what is not excluded, and in any case what the build itself reads.
  sends(path, dockerfile = "Dockerfile") {
    return path === dockerfile || ignoreFiles(dockerfile).includes(path) || !this.excludes(path);
  }

  lastMatch(path) {
    if (!this.rules.length || path === "" || path === ".") return -1;
    const slash = path.lastIndexOf("/");
    if (slash < 0) return this.match(path, -1);
    const folder = path.slice(0, slash);
    return this.match(path, this.folders.get(folder) ?? this.walkDown(folder));
  }

  walkDown(folder) {
    let last = -1;
    for (let end = 0; end < folder.length; ) {
      end = folder.indexOf("/", end + 1);
      if (end < 0) end = folder.length;
      last = this.match(folder.slice(0, end), last);
      if (this.folders.size >= MOST_FOLDERS) this.folders.clear();
      this.folders.set(folder.slice(0, end), last);
    }
    return last;
  }

  // The last rule that matches the path itself, or `above`, the one for its folder, if that comes later.
  match(path, above) {
    for (let index = this.rules.length - 1; index > above; index -= 1) {
      if (this.rules[index].pattern.matches(path)) return index;
    }
    return above;
  }
}

// The files that may hold the rules of a build, the first one there counts: the Dockerfile's own, the context's.
export function ignoreFiles(dockerfile = "Dockerfile") {
  return [`${dockerfile}${IGNORE_FILE}`, IGNORE_FILE];
}

function readRule(line, number) {
  const refuse = (message) => new IgnoreError(`${IGNORE_FILE} line ${number}: ${message}`);
  if (line.length * 4 > MAX_LINE && new TextEncoder().encode(line).length > MAX_LINE) throw refuse(`longer than ${MAX_LINE} bytes`);
  const given = line.startsWith("#") ? "" : strip(line);
  if (!given) return null;
  const mark = given.startsWith("!") ? "!" : "";
  // The mark is looked for again once the path is clean, as in Docker: `/!x` and `./!x` are exceptions too.
  const text = clean(strip(mark + fromTop(strip(given.slice(mark.length)))));
  if (text === "!") throw refuse('illegal exclusion pattern: "!"');
  try {
    return { pattern: new PathPattern(text.replace(/^!/, "")), exception: text.startsWith("!") };
  } catch (error) {
    if (error instanceof PatternError) throw refuse(error.message);
    throw error;
  }
}

function strip(text) {
  return text.replace(AROUND, "");
}

// The path clean and without the slash that only says where it begins.
function fromTop(given) {
  const path = given ? clean(given) : "";
  return path.startsWith("/") && path.length > 1 ? path.slice(1) : path;
}
