"""What an environment's rules can say. A value: no database, no engine.

Everything that is not said is left to the engine: an environment without rules takes what Docker takes.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from controlplane.access.patterns import EVERY_TAG, Scope, parse_repositories, parse_tags
from controlplane.lib.errors import Internal, InvalidArgument
from controlplane.lib.typed import Malformed, each_line

MOST_LINES = 200
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CAPABILITY = re.compile(r"(CAP_)?([A-Z][A-Z_]{1,40})")


@dataclass(frozen=True)
class Allowed:
    """One line of the list of images: a scope, and, where it pins them, the digests that are meant."""

    scope: Scope
    digests: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.scope}{' @ ' + ' '.join(self.digests) if self.digests else ''}"


@dataclass(frozen=True)
class Rules:
    """`images`: empty for any; `for_bases`: they hold for the base images of builds as well.

    `binds`: paths of the host below which folders may be mounted; `capabilities`: those that may be added; None: no
    rule. `memory` (bytes), `nano_cpus`, `pids`: each container must have such a limit, of at most so much; 0: no rule.
    The others are what their names say, as true or not.
    """

    images: tuple[Allowed, ...] = ()
    for_bases: bool = False
    no_privileged: bool = False
    own_namespaces: bool = False
    binds: tuple[str, ...] | None = None
    plain_volumes: bool = False
    capabilities: tuple[str, ...] | None = None
    no_devices: bool = False
    confined: bool = False
    safe_sysctls: bool = False
    plain_runtime: bool = False
    memory: int = 0
    nano_cpus: int = 0
    pids: int = 0
    read_only_root: bool = False
    not_root: bool = False

    @property
    def is_empty(self) -> bool:
        return self == NO_RULES

    @property
    def on_bases(self) -> bool:
        """Whether one of them says what a build may use."""
        return self.for_bases and bool(self.images)

    @property
    def on_steps(self) -> bool:
        """Whether one of them says what a build's steps may be given, so that all of them must be known."""
        return self.own_namespaces or self.no_privileged or self.no_devices

    def as_json(self) -> dict[str, Any]:
        """What differs from no rules at all."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        found["images"] = [[list(a.scope.repositories), list(a.scope.tags), list(a.digests)] for a in self.images]
        for name in ("binds", "capabilities"):
            found[name] = None if found[name] is None else list(found[name])
        return {name: value for name, value in found.items() if value or (value == [] and name != "images")}

    @classmethod
    def of_json(cls, body: dict[str, Any]) -> Rules:
        """Raises Internal for a rule that this Gantry does not know: passing it over would allow what is forbidden."""
        unknown = sorted(body.keys() - {each.name for each in fields(cls)})
        if unknown:
            raise Internal(
                f"The rules of an environment name {', '.join(unknown)}, which this version of Gantry does not know.",
                "They were saved by a newer one. Start that, or save the rules anew.",
            )
        given = dict(body)
        given["images"] = tuple(
            Allowed(Scope(tuple(repositories), tuple(tags)), tuple(digests))
            for repositories, tags, digests in body.get("images", [])
        )
        for name in ("binds", "capabilities"):
            given[name] = None if given.get(name) is None else tuple(given[name])
        return cls(**given)


NO_RULES = Rules()


def parse_images(text: str) -> tuple[Allowed, ...]:
    """Lines `REPOSITORIES : TAGS @ DIGESTS`; tags and digests may be left out.

    One repository may be written NAME:TAG. Raises Malformed.
    """
    found = [allowed for _, allowed in each_line(text, _allowed)]
    if len(found) > MOST_LINES:
        raise Malformed(f"expected at most {MOST_LINES} lines, found {len(found)}.")
    return tuple(found)


def _allowed(line: str) -> Allowed:
    names, _, pinned = line.partition("@")
    repositories, colon, tags = f"{names.strip()} ".partition(" : ")
    if not colon:  # as Docker writes it: a colon before a slash belongs to a port
        before, tight, after = repositories.strip().rpartition(":")
        if tight and "/" not in after:
            repositories, colon, tags = before, tight, after
    if tagged := [each for each in repositories.split() if ":" in each.rpartition("/")[2]]:
        raise Malformed(f"expected the tags of several repositories after “ : ”, found “{tagged[0][:200]}”.")
    digests = tuple(re.split(r"[\s,]+", pinned.strip())) if "@" in line else ()
    for each in digests:
        if not _DIGEST.fullmatch(each):
            raise Malformed(f"expected sha256: and 64 hexadecimal digits after the @, found “{each[:80]}”.")
    try:
        scope = Scope(
            tuple(parse_repositories(repositories)),
            tuple(parse_tags(tags)) if colon else EVERY_TAG,
        )
    except InvalidArgument as exc:
        raise Malformed(f"{exc.message[:1].lower()}{exc.message[1:]} A line reads: shop/** : v*") from exc
    return Allowed(scope, digests)


def parse_paths(text: str) -> tuple[str, ...]:
    """One absolute path of the host a line, normalised. Raises Malformed."""
    return tuple(dict.fromkeys(path for _, path in each_line(text, _path)))


def _path(line: str) -> str:
    path = line.strip()
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path or ":" in path:
        raise Malformed(f"expected an absolute path of the host without “..” and “:”, found “{path[:200]}”.")
    return normal(path)


def normal(path: str) -> str:
    """The path without doubled slashes and dots, as an engine cleans it."""
    return posixpath.normpath("/" + path.lstrip("/"))


def parse_capabilities(text: str) -> tuple[str, ...]:
    """Names of capabilities, parted by blanks, commas or lines, as NET_BIND_SERVICE. Raises Malformed."""
    return tuple(dict.fromkeys(map(_capability, filter(None, re.split(r"[\s,]+", text)))))


def _capability(word: str) -> str:
    name = capability(word)
    if not name:
        raise Malformed(f"expected the names of capabilities such as NET_BIND_SERVICE, found “{word[:60]}”.")
    return name


def capability(word: str) -> str:
    """The name of a capability as rules write it; empty for what is none."""
    match = _CAPABILITY.fullmatch(word.upper()) if word.isascii() else None
    return match[2] if match else ""


def lines(values: Iterable[object]) -> str:
    """As a form shows it."""
    return "\n".join(map(str, values))
