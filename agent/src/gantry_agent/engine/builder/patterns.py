"""Patterns over paths, as .dockerignore and `COPY --exclude` have them.

Rules: Go's path/filepath.Match (`*` and `?` stop at a slash, `[a-z]`, `[^a-z]`, a backslash makes plain), and `**` as
github.com/moby/patternmatcher has it. Where patternmatcher hands parts of a pattern to a regular expression that
filepath.Match means otherwise (`\\d`, a `*` in brackets), filepath.Match is followed.

A pattern is an automaton that is in all its states at once, so a path costs its length whatever the pattern.
"""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from gantry_agent.engine.errors import InvalidArgument

MAX_LENGTH = 4096  # of a pattern, as of a path (PATH_MAX): what a path costs grows with it
_MOST_CHARACTERS = 1000  # whose steps a pattern keeps; more are forgotten and made again


@dataclass(frozen=True, slots=True)
class Class:
    """`[a-z]`: ranges of characters, or all but them."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool

    def has(self, character: str) -> bool:
        return any(low <= character <= high for low, high in self.ranges) != self.negated


@dataclass(frozen=True, slots=True)
class Literal:
    """One character."""

    character: str

    def has(self, character: str) -> bool:
        return character == self.character


@dataclass(frozen=True, slots=True)
class AnyCharacter:
    """`?`: any character but a slash."""

    def has(self, character: str) -> bool:
        return character != "/"


@dataclass(frozen=True, slots=True)
class Star:
    """`*`, or `**` at the end when `deep`: any number of characters."""

    deep: bool = False


@dataclass(frozen=True, slots=True)
class Folders:
    """`**/` before something: nothing, or any number of characters up to a slash."""


Token = Class | Literal | AnyCharacter | Star | Folders


@dataclass(frozen=True)
class PathPattern:
    """One pattern, cleaned: no `./`, no slash at either end."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidArgument for brackets without end, an empty class, a backslash with nothing behind it."""
        if len(text) > MAX_LENGTH:
            raise InvalidArgument(f"a pattern is longer than {MAX_LENGTH} characters")
        pattern = cls(text)
        _ = pattern._tokens  # a bad pattern is refused here, not at the first path
        return pattern

    def matches(self, path: str) -> bool:
        """Whether it matches this very path: relative, parts joined by single slashes."""
        if not path.startswith(self._head) or not path.endswith(self._tail):
            return False
        if self._whole is not None:
            return path == self._whole
        if self._text_tail is not None:
            tail = self._text_tail
            return path.endswith(tail) or (tail.startswith("/") and path == tail[1:])
        return self._automaton.accepts(path)

    def may_match_below(self, folder: str) -> bool:
        """Whether some path in the folder could match. True when in doubt."""
        if self._whole is not None:
            return self._whole.startswith(folder + "/")
        return self._text_tail is not None or self._automaton.lives_after(folder + "/")

    @cached_property
    def _tokens(self) -> tuple[Token, ...]:
        found = list(_tokens(self.text))
        # Stars behind each other mean one; so do Folders.
        return tuple(
            each
            for each, before in zip(found, [None, *found], strict=False)
            if each != before or not isinstance(each, Star | Folders)
        )

    @cached_property
    def _automaton(self) -> "_Automaton":
        return _Automaton(self._tokens)

    @cached_property
    def _whole(self) -> str | None:
        """The only path it matches, when there is but one."""
        return _text(self._tokens)

    @cached_property
    def _text_tail(self) -> str | None:
        """`**` and plain text: patternmatcher compares ends then, so `**file` also matches `profile`."""
        if self.text.startswith("**") and "\\" not in self.text and not self.text.startswith(("***", "**/**")):
            return _text(tuple(_tokens("x" + self.text[2:]))[1:])
        return None

    @cached_property
    def _head(self) -> str:
        """The plain text it begins with: most paths fail here."""
        return _plain_run(self._tokens)

    @cached_property
    def _tail(self) -> str:
        return "" if self._text_tail is not None else _plain_run(self._tokens[::-1])[::-1]


class _Automaton:
    """The positions in the pattern that a text may have led to, as the bits of one number.

    A token has a bit, Folders has two: before and inside it. The bit above all tokens accepts.
    """

    def __init__(self, tokens: tuple[Token, ...]) -> None:
        self._takers: list[tuple[int, Class | Literal | AnyCharacter]] = []  # of one character, with their bit
        self._stars = self._deep_stars = self._before = self._inside = 0
        bit = 1
        for token in tokens:
            if isinstance(token, Folders):
                self._before |= bit
                bit <<= 1
                self._inside |= bit
            elif isinstance(token, Star):
                self._stars |= bit
                self._deep_stars |= bit if token.deep else 0
            else:
                self._takers.append((bit, token))
            bit <<= 1
        self._accepts = bit
        self._steps: dict[str, tuple[int, int]] = {}
        self._first = self._reached(1)

    def accepts(self, path: str) -> bool:
        return bool(self._after(path) & self._accepts)

    def lives_after(self, text: str) -> bool:
        """Whether some path that begins so may match."""
        return bool(self._after(text))

    def _after(self, text: str) -> int:
        state = self._first
        for character in text:
            moving, staying = self._steps.get(character) or self._step(character)
            moved = (state & moving) << 1 | state & staying
            if character == "/":
                moved |= (state & self._before) << 2
            state = self._reached(moved)
            if not state:
                break
        return state

    def _step(self, character: str) -> tuple[int, int]:
        """The positions the character leads one further from, and those it leaves where they are."""
        slash = character == "/"
        moving = self._before | (self._inside if slash else 0)
        for bit, token in self._takers:
            if token.has(character):
                moving |= bit
        if len(self._steps) > _MOST_CHARACTERS:
            self._steps.clear()
        self._steps[character] = moving, self._inside | (self._deep_stars if slash else self._stars)
        return self._steps[character]

    def _reached(self, state: int) -> int:
        """With the positions that take no character to reach. A star may follow Folders, nothing else chains."""
        state |= (state & self._before) << 2
        return state | (state & self._stars) << 1


def clean(path: str) -> str:
    """The shortest path that means the same (Go's path.Clean); "." for none."""
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def _text(tokens: tuple[Token, ...]) -> str | None:
    """The tokens as text when they are nothing else."""
    run = _plain_run(tokens)
    return run if len(run) == len(tokens) else None


def _plain_run(tokens: tuple[Token, ...]) -> str:
    run = []
    for token in tokens:
        if not isinstance(token, Literal):
            break
        run.append(token.character)
    return "".join(run)


def _tokens(text: str) -> Iterator[Token]:
    pos, starred = 0, False
    while pos < len(text):
        mark = text[pos]
        pos += 1
        if mark == "*" and text.startswith("*", pos):
            pos += 2 if text.startswith("*/", pos) else 1
            starred = True
            yield Folders() if pos < len(text) else Star(deep=True)
        elif mark == "*":
            starred = True
            yield Star()
        elif mark == "?":
            yield AnyCharacter()
        elif mark == "[":
            found, pos = _class(text, pos, strict=not starred)
            yield found
        elif mark == "\\":
            character, pos = _character(text, pos - 1)
            yield Literal(character)
        else:
            yield Literal(mark)


def _class(text: str, pos: int, *, strict: bool) -> tuple[Class, int]:
    """What stands between brackets, and where it ends.

    filepath.Match wants a backslash before `]` and `-`, but does not look behind a star; there patternmatcher lets a
    regular expression's rules hold: a `]` that comes first and a `-` without a range are characters.
    """
    if negated := text.startswith("^", pos):
        pos += 1
    ranges: list[tuple[str, str]] = []
    while not ranges or not text.startswith("]", pos):
        if strict and text[pos : pos + 1] in ("-", "]"):
            raise _bad(text)
        low, pos = _character(text, pos)
        high = low
        if text.startswith("-", pos) and (strict or not text.startswith("-]", pos)):
            if strict and text[pos + 1 : pos + 2] in ("-", "]"):
                raise _bad(text)
            high, pos = _character(text, pos + 1)
        ranges.append((low, high))
    return Class(tuple(ranges), negated), pos + 1


def _character(text: str, pos: int) -> tuple[str, int]:
    """The next character, a backslash before it taken off."""
    if text.startswith("\\", pos):
        pos += 1
    if pos >= len(text):
        raise _bad(text)
    return text[pos], pos + 1


def _bad(text: str) -> InvalidArgument:
    return InvalidArgument(f"syntax error in pattern {text[:100]!r}: a bracket or a backslash has no end")
