// Patterns over paths, as .dockerignore has them: Go's path/filepath.Match, and `**` as moby/patternmatcher has it.
// The same rules as agent/src/gantry_agent/engine/builder/patterns.py, which says why; one table tests both.
//
// A pattern is an automaton that is in all its states at once, so a path costs its length whatever the pattern.

export const MAX_LENGTH = 4096; // of a pattern: what a path costs grows with it
const MOST_CHARACTERS = 1000; // whose steps a pattern keeps; more are forgotten and made again
const SMALL = 28; // bits that fit a plain number, with room for the shifts; longer patterns take BigInt

const DEEP = Object.freeze({ kind: "star", deep: true });
const STAR = Object.freeze({ kind: "star", deep: false });
const FOLDERS = Object.freeze({ kind: "folders" });
const ANY = Object.freeze({ kind: "taker", has: (character) => character !== "/" });

export class PatternError extends Error {}

export class PathPattern {
  // Throws PatternError for brackets without end, an empty class, a backslash with nothing behind it.
  constructor(text) {
    if (text.length > MAX_LENGTH && [...text].length > MAX_LENGTH) throw new PatternError(`a pattern is longer than ${MAX_LENGTH} characters`);
    this.text = text;
    this.tokens = readTokens(text).filter((token, at, all) => token !== all[at - 1] || token === ANY);
    this.whole = textOf(this.tokens); // the only path it matches, when there is but one
    // `**` and plain text: patternmatcher compares ends then, so `**file` also matches `profile`.
    this.end = /^\*\*(?!\*|\*\/|.*\\)/s.test(text) && !text.startsWith("**/**") ? textOf(readTokens(`x${text.slice(2)}`).slice(1)) : null;
    this.head = plainRun(this.tokens).join("");
    this.tail = this.end !== null ? "" : plainRun([...this.tokens].reverse()).reverse().join("");
  }

  // Whether it matches this very path: relative, parts joined by single slashes.
  matches(path) {
    if (!path.startsWith(this.head) || !path.endsWith(this.tail)) return false;
    if (this.whole !== null) return path === this.whole;
    if (this.end !== null) return path.endsWith(this.end) || (this.end.startsWith("/") && path === this.end.slice(1));
    return this.automaton.accepts(path);
  }

  // Whether some path in the folder could match. True when in doubt.
  mayMatchBelow(folder) {
    if (this.whole !== null) return this.whole.startsWith(`${folder}/`);
    return this.end !== null || this.automaton.livesAfter(`${folder}/`);
  }

  get automaton() {
    return (this.made ??= new Automaton(this.tokens));
  }
}

// The positions in the pattern that a text may have led to, as the bits of one number. A token has a bit, FOLDERS has
// two: before and inside it. The bit above all tokens accepts.
class Automaton {
  constructor(tokens) {
    const bits = tokens.length + tokens.filter((token) => token === FOLDERS).length + 1;
    this.one = bits > SMALL ? 1n : 1;
    this.zero = bits > SMALL ? 0n : 0;
    this.takers = []; // of one character, with their bit
    this.stars = this.deepStars = this.before = this.inside = this.zero;
    let bit = this.one;
    for (const token of tokens) {
      if (token === FOLDERS) {
        this.before |= bit;
        bit <<= this.one;
        this.inside |= bit;
      } else if (token.kind === "star") {
        this.stars |= bit;
        if (token.deep) this.deepStars |= bit;
      } else this.takers.push([bit, token]);
      bit <<= this.one;
    }
    this.last = bit;
    this.steps = new Map();
    this.first = this.reached(this.one);
  }

  accepts(path) {
    return Boolean(this.after(path) & this.last);
  }

  livesAfter(text) {
    return Boolean(this.after(text));
  }

  after(text) {
    let state = this.first;
    for (const character of text) {
      const step = this.steps.get(character) ?? this.step(character);
      let moved = ((state & step.moving) << this.one) | (state & step.staying);
      if (character === "/") moved |= (state & this.before) << this.one << this.one;
      state = this.reached(moved);
      if (!state) break;
    }
    return state;
  }

  // The positions the character leads one further from, and those it leaves where they are.
  step(character) {
    const slash = character === "/";
    let moving = this.before | (slash ? this.inside : this.zero);
    for (const [bit, token] of this.takers) if (token.has(character)) moving |= bit;
    if (this.steps.size > MOST_CHARACTERS) this.steps.clear();
    const step = { moving, staying: this.inside | (slash ? this.deepStars : this.stars) };
    this.steps.set(character, step);
    return step;
  }

  // With the positions that take no character to reach. A star may follow FOLDERS, nothing else chains.
  reached(state) {
    const through = state | ((state & this.before) << this.one << this.one);
    return through | ((through & this.stars) << this.one);
  }
}

// The shortest path that means the same (Go's path.Clean); "." for none.
export function clean(path) {
  const rooted = path.startsWith("/");
  const parts = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== ".." || (!rooted && !parts.length) || parts.at(-1) === "..") parts.push(part);
    else parts.pop();
  }
  return (rooted ? "/" : "") + parts.join("/") || ".";
}

function textOf(tokens) {
  const run = plainRun(tokens);
  return run.length === tokens.length ? run.join("") : null;
}

function plainRun(tokens) {
  const end = tokens.findIndex((token) => token.character === undefined);
  return tokens.slice(0, end < 0 ? tokens.length : end).map((token) => token.character);
}

function readTokens(text) {
  const characters = [...text];
  const found = [];
  let starred = false;
  for (let at = 0; at < characters.length; ) {
    const mark = characters[at];
    at += 1;
    if (mark === "*" && characters[at] === "*") {
      at += characters[at + 1] === "/" ? 2 : 1;
      starred = true;
      found.push(at < characters.length ? FOLDERS : DEEP);
    } else if (mark === "*") {
      starred = true;
      found.push(STAR);
    } else if (mark === "?") found.push(ANY);
    else if (mark === "[") {
      const [token, end] = readClass(characters, at, !starred);
      found.push(token);
      at = end;
    } else if (mark === "\\") {
      found.push(literal(characterAt(characters, at - 1)[0]));
      at += 1;
    } else found.push(literal(mark));
  }
  return found;
}

function literal(character) {
  return { kind: "taker", character, has: (other) => other === character };
}

// What stands between brackets, and where it ends. filepath.Match wants a backslash before `]` and `-`, but does not
// look behind a star; there a regular expression's rules hold: a first `]` and a `-` without a range are characters.
function readClass(characters, start, strict) {
  const negated = characters[start] === "^";
  let at = start + (negated ? 1 : 0);
  const ranges = [];
  while (!ranges.length || characters[at] !== "]") {
    if (strict && (characters[at] === "-" || characters[at] === "]")) throw bad(characters);
    let low;
    let high;
    [low, at] = characterAt(characters, at);
    high = low;
    if (characters[at] === "-" && (strict || characters[at + 1] !== "]")) {
      if (strict && (characters[at + 1] === "-" || characters[at + 1] === "]")) throw bad(characters);
      [high, at] = characterAt(characters, at + 1);
    }
    ranges.push([low.codePointAt(0), high.codePointAt(0)]);
  }
  const has = (character) => {
    const code = character.codePointAt(0);
    return ranges.some(([low, high]) => low <= code && code <= high) !== negated;
  };
  return [{ kind: "taker", has }, at + 1];
}

// The next character, a backslash before it taken off, and the place behind it.
function characterAt(characters, at) {
  const place = characters[at] === "\\" ? at + 1 : at;
  if (place >= characters.length) throw bad(characters);
  return [characters[place], place + 1];
}

function bad(characters) {
  return new PatternError(`syntax error in pattern “${characters.slice(0, 100).join("")}”: a bracket or a backslash has no end`);
}
