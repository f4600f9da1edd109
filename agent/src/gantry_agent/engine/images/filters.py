"""Which images a list or a prune speaks of."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

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
    patterns: tuple[re.Pattern[str], ...] = ()

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
            patterns=tuple(pattern_of(text) for text in found.get("reference", [])),
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
            if any(pattern.match(each.familiar) or pattern.match(each.familiar_name) for pattern in self.patterns)
        ]


def pattern_of(text: str) -> re.Pattern[str]:
    """Go's path.Match: `*` and `?` stop at slashes, `[a-z]` and `[^a-z]` are classes. Raises InvalidArgument."""
    parts, position = [], 0
    while position < len(text):
        char = text[position]
        if char == "[":
            end = text.find("]", position + 2)
            if end < 0:
                raise InvalidArgument(f"invalid filter 'reference={text[:100]}': syntax error in pattern")
            inside = text[position + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            parts.append(f"[{inside}]")
            position = end
        elif char == "\\" and position + 1 < len(text):
            position += 1
            parts.append(re.escape(text[position]))
        else:
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(char) or re.escape(char))
        position += 1
    try:
        return re.compile("".join(parts) + r"\Z")
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
