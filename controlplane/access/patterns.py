"""Patterns over repositories and tags, the language that grants and environment rules are written in.

    shop/*                      one segment below shop, on Docker Hub: shop/web, not shop/web/admin
    registry.example/shop/**    any depth below shop, there
    **                          every repository
    !**/secret                  except those; it may stand anywhere in the list

`*` is any run of characters within a segment, `**` of any characters at all; nothing else is special. A list covers
what at least one plain pattern covers and no pattern with a `!` does. Repositories are compared by their full name, as
Docker reads it: `nginx` is docker.io/library/nginx, and so is the pattern `nginx`. Pure: no Django, no database.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from controlplane.access.inclusion import Automaton, within
from controlplane.lib.errors import InvalidArgument
from controlplane.lib.references import DEFAULT_DOMAIN, full_name

EVERY_REPOSITORY, EVERY_TAG = ("**",), ("*",)
LONGEST, MOST = 200, 50  # characters of a pattern; patterns of a list
FEW_STARS = 2  # up to so many a pattern becomes an expression, which tries them against each other
_REPOSITORY = re.compile(r"!?(?:\[[a-fA-F0-9:]+\][:0-9*]*/)?[a-zA-Z0-9*][a-zA-Z0-9._:/*-]*")
_STARS = re.compile(r"(\*\*|\*)")
_TAG = re.compile(r"!?[a-zA-Z0-9_*][a-zA-Z0-9_.*-]*")


@dataclass(frozen=True)
class Scope:
    """What of the world of images: patterns of repositories and patterns of tags, both of which must cover."""

    repositories: tuple[str, ...] = EVERY_REPOSITORY
    tags: tuple[str, ...] = EVERY_TAG

    @cached_property
    def is_whole(self) -> bool:
        """Whether it leaves nothing out: not even images that have no name."""
        return "**" in self.repositories and bool({"*", "**"} & set(self.tags)) and not self.excepts

    @property
    def excepts(self) -> bool:
        return any(each.startswith("!") for each in (*self.repositories, *self.tags))

    def covers(self, repository: str, tag: str) -> bool:
        """Whether it covers the image. `repository`: the full name; both empty: an image without a name."""
        if not repository:
            return self.is_whole
        return _compiled(self.repositories, True).covers(repository) and _compiled(self.tags, False).covers(tag)

    def is_within(self, other: Scope) -> bool:
        """Whether `other` surely covers all that this does; in doubt it does not."""
        return other.is_whole or (not self.is_whole and _is_within(self, other))

    def __str__(self) -> str:
        return f"{' '.join(self.repositories)} : {' '.join(self.tags)}"


def parse_repositories(text: str) -> list[str]:
    """The patterns of `text`, parted by spaces, commas or lines. Raises InvalidArgument with the one that is none."""
    return _parse(text, _REPOSITORY, "a pattern of repositories, such as shop/* or registry.example/**", "**")


def parse_tags(text: str) -> list[str]:
    """The patterns of `text`, parted by spaces, commas or lines. Raises InvalidArgument with the one that is none."""
    return _parse(text, _TAG, "a pattern of tags, such as v* or dev-*", "*")


def _parse(text: str, shape: re.Pattern[str], expected: str, every: str) -> list[str]:
    found = list(dict.fromkeys(re.split(r"[\s,]+", text.strip()))) if text.strip() else []
    for each in found:
        if len(each) > LONGEST or not shape.fullmatch(each) or "***" in each:
            raise InvalidArgument(
                f"Expected {expected}, found “{each[:LONGEST]}”.",
                "A * stands for any characters within a segment, ** across segments, a ! in front excepts.",
            )
    if len(found) > MOST:
        raise InvalidArgument(f"Expected at most {MOST} patterns, found {len(found)}.")
    if not any(not each.startswith("!") for each in found):
        raise InvalidArgument(
            f"Expected {expected}, found {'only exceptions' if found else 'nothing'}.",
            f"Write {every} for all{' but the exceptions' if found else ''}.",
        )
    return found


class _List:
    """A list of patterns, ready to be asked."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self.plain = _Union([each for each in patterns if not each.startswith("!")])
        self.excepted = _Union([each[1:] for each in patterns if each.startswith("!")])

    def covers(self, text: str) -> bool:
        return self.plain.covers(text) and not self.excepted.covers(text)


class _Union:
    """Patterns side by side: those of few stars as one expression, which is fast; those of many as an automaton, whose
    time grows with the text alone. An expression of many stars would not end within a lifetime."""

    def __init__(self, patterns: Sequence[str]) -> None:
        few = [each for each in patterns if len(_STARS.findall(each)) <= FEW_STARS]
        many = [each for each in patterns if each not in few]
        self._expression = re.compile("|".join(map(_regex, few)), re.DOTALL) if few else None
        self._automaton = Automaton(many) if many else None

    def covers(self, text: str) -> bool:
        if self._expression is not None and self._expression.fullmatch(text):
            return True
        return self._automaton is not None and self._automaton.accepts(text)


@lru_cache(maxsize=4096)
def _compiled(patterns: tuple[str, ...], repositories: bool) -> _List:
    return _List(_full(patterns) if repositories else patterns)


def _regex(pattern: str) -> str:
    return "".join({"**": ".*", "*": "[^/]*"}.get(part) or re.escape(part) for part in _STARS.split(pattern))


def full_pattern(pattern: str) -> str:
    """`pattern` over full names: shop/* is docker.io/shop/*. One that begins with ** stays: it crosses registries; so
    does docker.io/**, which is all of that registry."""
    return pattern if pattern.startswith(("**", f"{DEFAULT_DOMAIN}/**")) else full_name(pattern)


@lru_cache(maxsize=4096)
def _is_within(inner: Scope, outer: Scope) -> bool:
    return within(_full(inner.repositories), _full(outer.repositories)) and within(inner.tags, outer.tags)


def _full(repositories: Sequence[str]) -> list[str]:
    return ["!" + full_pattern(each[1:]) if each[0] == "!" else full_pattern(each) for each in repositories]
