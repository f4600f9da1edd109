"""Which images a list or a prune speaks of."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Self

from gantry_agent.engine.errors import InvalidArgument
from gantry_agent.engine.oci import Reference
from gantry_agent.engine.store import Image, Store

from .moments import created_at, moment_of

LIST = ("before", "dangling", "label", "label!", "reference", "since", "until")
PRUNE = ("dangling", "label", "label!", "until")


@dataclass(frozen=True)
class ImageFilter:
    """The filters of one request, checked. Times in nanoseconds since the epoch."""

    after: int | None = None
    before: int | None = None
    dangling: bool | None = None
    labels: tuple[str, ...] = ()
    refused_labels: tuple[str, ...] = ()
    patterns: tuple["NamePattern", ...] = ()

    @classmethod
    def of(cls, found: dict[str, list[str]], store: Store) -> "ImageFilter":
        """From the request's filters. Raises InvalidArgument, NotFound for an image that `since` or `before` names."""
        before = [_created(store.images.get(name)) for name in found.get("before", [])]
        before += [moment_of(text) for text in found.get("until", [])]
        after = [_created(store.images.get(name)) for name in found.get("since", [])]
        return cls(
            after=max(after, default=None),
            before=min(before, default=None),
            dangling=_boolean(found.get("dangling", [])),
            labels=tuple(found.get("label", [])),
            refused_labels=tuple(found.get("label!", [])),
            patterns=tuple(NamePattern.parse(text) for text in found.get("reference", [])),
        )

    def accepts(self, image: Image) -> bool:
        """Whether time and labels fit; names are looked at by `tags_of`, `dangling` by who lists."""
        created = _created(image)
        if self.before is not None and created >= self.before:
            return False
        if self.after is not None and created <= self.after:
            return False
        labels = image.config.labels
        return all(_has_label(labels, wanted) for wanted in self.labels) and not any(
            _has_label(labels, refused) for refused in self.refused_labels
        )

    def names(self, references: Sequence[Reference]) -> list[str]:
        """Those that the `reference` filter lets through, as people type them."""
        if not self.patterns:
            return [each.familiar for each in references]
        return [
            each.familiar
            for each in references
            if any(pattern.matches(each.familiar) or pattern.matches(each.familiar_name) for pattern in self.patterns)
        ]


class Mark(Enum):
    """What stands for others in a pattern: any number of characters, any one; neither for a slash."""

    STAR = "*"
    ANY = "?"


Token = Mark | str | re.Pattern[str]


@dataclass(frozen=True)
class NamePattern:
    """Go's path.Match: `*` and `?` stop at slashes, `[a-z]` and `[^a-z]` are classes."""

    tokens: tuple[Token, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidArgument for brackets without end, a class that is none."""
        tokens: list[Token] = []
        position = 0
        while position < len(text):
            char = text[position]
            if char == "[":
                end = text.find("]", position + 2)
                if end < 0:
                    raise InvalidArgument(f"invalid filter 'reference={text[:100]}': syntax error in pattern")
                tokens.append(_class_of(text, position + 1, end))
                position = end
            elif char == "\\" and position + 1 < len(text):
                position += 1
                tokens.append(text[position])
            else:
                tokens.append(Mark(char) if char in ("*", "?") else char)
            position += 1
        return cls(tuple(tokens))

    def matches(self, name: str) -> bool:
        """Whether the whole name fits. As in Go only the last star is ever gone back to: that ends soon."""
        at = position = 0
        after_star, taken = -1, 0  # the token behind the last star, and where what it takes ends
        while position < len(name):
            token = self.tokens[at] if at < len(self.tokens) else None
            if token is Mark.STAR:
                at += 1
                after_star, taken = at, position
            elif token is not None and _fits(token, name[position]):
                at += 1
                position += 1
            elif after_star >= 0 and name[taken] != "/":
                taken += 1
                at, position = after_star, taken
            else:
                return False
        return all(token is Mark.STAR for token in self.tokens[at:])


def _fits(token: Token, character: str) -> bool:
    if isinstance(token, re.Pattern):
        return token.match(character) is not None
    return character != "/" if token is Mark.ANY else token == character


def _class_of(text: str, begin: int, end: int) -> re.Pattern[str]:
    inside = text[begin:end].replace("\\", "\\\\").replace("[", "\\[")
    try:
        return re.compile(f"[{inside}]")
    except re.error as exc:
        raise InvalidArgument(f"invalid filter 'reference={text[:100]}': {exc}") from exc


def _created(image: Image) -> int:
    return created_at(image.config.created)


def _boolean(values: list[str]) -> bool | None:
    """Raises InvalidArgument unless every value says the same."""
    found = {value.lower() for value in values}
    if not found:
        return None
    if found <= {"1", "true", "t"}:
        return True
    if found <= {"0", "false", "f"}:
        return False
    raise InvalidArgument(f"invalid filter 'dangling={sorted(values)}'")


def _has_label(labels: dict[str, str], wanted: str) -> bool:
    name, equals, value = wanted.partition("=")
    return name in labels and (not equals or labels[name] == value)
