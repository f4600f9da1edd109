"""The patterns of ${variable#pattern} and its like: `*` any characters, `?` one, a backslash makes them plain.

Rules: Dockerfile reference, "Environment replacement". A pattern falls at its stars into segments of fixed length.
Taking the first place for each segment ends soonest, the last place for the last one ends latest, so no search ever
goes back: one pass whatever the pattern, where a regular expression could take years.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from .errors import Fault, quoted


@dataclass(frozen=True)
class Segment:
    """What stands between two stars: characters, None for a `?`."""

    characters: tuple[str | None, ...]

    @classmethod
    def of(cls, characters: Sequence[str | None]) -> "Segment":
        return Plain(tuple(characters)) if None not in characters else cls(tuple(characters))

    def __len__(self) -> int:
        return len(self.characters)

    def first(self, value: str, pos: int) -> int:
        """Where it first occurs at or after `pos`, -1 when nowhere."""
        # Shift-and: bit i of `state` says that the last i + 1 characters fit the first i + 1 of the segment.
        masks, others = self._masks
        state, whole = 0, 1 << len(self) - 1
        for at in range(pos, len(value)):
            state = (state << 1 | 1) & masks.get(value[at], others)
            if state & whole:
                return at - len(self) + 1
        return -1

    def last(self, value: str, pos: int) -> int:
        """Where it last occurs at or after `pos`, -1 when nowhere."""
        backwards = Segment(self.characters[::-1]).first(value[pos:][::-1], 0)
        return -1 if backwards < 0 else len(value) - backwards - len(self)

    @cached_property
    def _masks(self) -> tuple[dict[str, int], int]:
        """The positions each character fits, and those that any other fits."""
        others = sum(1 << i for i, each in enumerate(self.characters) if each is None)
        masks: dict[str, int] = {}
        for i, each in enumerate(self.characters):
            if each is not None:
                masks[each] = masks.get(each, others) | 1 << i
        return masks, others

    def at_start(self, value: str) -> bool:
        """Whether the value begins with it."""
        return len(value) >= len(self) and all(a in (None, b) for a, b in zip(self.characters, value, strict=False))


@dataclass(frozen=True)
class Plain(Segment):
    """A segment without `?`: the string's own search finds it."""

    @cached_property
    def text(self) -> str:
        return "".join(each or "" for each in self.characters)

    def first(self, value: str, pos: int) -> int:
        return value.find(self.text, pos)

    def last(self, value: str, pos: int) -> int:
        return value.rfind(self.text, pos)

    def at_start(self, value: str) -> bool:
        return value.startswith(self.text)


@dataclass(frozen=True)
class Glob:
    """A whole pattern: one segment more than it has stars."""

    segments: tuple[Segment, ...]

    @classmethod
    def parse(cls, pattern: str) -> Self:
        """Raises Fault for a backslash before anything but `* ? \\ / }`."""
        parts: list[list[str | None]] = [[]]
        pos = 0
        while pos < len(pattern):
            mark = pattern[pos]
            if mark == "\\":
                pos += 1
                if (mark := pattern[pos : pos + 1]) not in tuple("*?\\/}"):
                    raise Fault(f"invalid pattern ({quoted(pattern)}) in substitution: invalid escape '\\{mark}'")
                parts[-1].append(mark)
            elif mark == "*":
                parts.append([])
            else:
                parts[-1].append(None if mark == "?" else mark)
            pos += 1
        return cls(tuple(Segment.of(part) for part in parts))

    def reversed(self) -> "Glob":
        """The pattern for the value read backwards."""
        return Glob(tuple(Segment.of(each.characters[::-1]) for each in self.segments[::-1]))

    def without_start(self, value: str, *, longest: bool) -> str:
        """The value without the shortest or longest beginning that fits; unchanged when none does."""
        if not self.segments[0].at_start(value):
            return value
        end = self._rest(value, len(self.segments[0]), longest=longest)
        return value if end < 0 else value[end:]

    def without_end(self, value: str, *, longest: bool) -> str:
        """The value without the shortest or longest end that fits."""
        return self.reversed().without_start(value[::-1], longest=longest)[::-1]

    def replaced(self, value: str, text: str, *, everywhere: bool, limit: int) -> str:
        """The value with `text` for the first longest match, or for all, as Go's regexp finds them.

        Raises Fault when more than `limit` characters are put in.
        """
        parts: list[str] = []
        kept = search = length = 0
        while search <= len(value) and (match := self._find(value, search)):
            start, end = match
            parts.append(value[kept:start])
            if end > kept or start == 0:  # nothing, right behind a match, is no match of its own
                parts.append(text)
                length += len(text)
            if length > limit:
                raise Fault("a substitution makes too long a text")
            kept = end
            search = max(end, search + 1)
            if not everywhere:
                break
        return "".join(parts) + value[kept:]

    def _find(self, value: str, pos: int) -> tuple[int, int] | None:
        start = self.segments[0].first(value, pos)
        end = self._rest(value, start + len(self.segments[0]), longest=True) if start >= 0 else -1
        return (start, end) if end >= 0 else None

    def _rest(self, value: str, pos: int, *, longest: bool) -> int:
        """Where the segments after the first end, placed behind `pos`; -1 when they do not fit."""
        if len(self.segments) == 1:
            return pos
        *middle, last = self.segments[1:]
        for segment in middle:
            if (start := segment.first(value, pos)) < 0:
                return -1
            pos = start + len(segment)
        start = last.last(value, pos) if longest else last.first(value, pos)
        return -1 if start < 0 else start + len(last)
