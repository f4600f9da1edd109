"""Names of images, in the grammar of Docker (github.com/distribution/reference)."""

import re
from dataclasses import dataclass, replace
from typing import Self

from gantry_agent.engine.errors import InvalidArgument

from .digest import Digest

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
MAX_NAME = 255  # characters of registry and repository together

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_ID = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Reference:
    """`registry/repository:tag@digest`. `tag` is "" only when a digest is there."""

    registry: str
    repository: str
    tag: str = DEFAULT_TAG
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """`[HOST[:PORT]/][PATH/]NAME[:TAG][@DIGEST]`; docker.io, library/ and :latest are filled in.

        Raises InvalidArgument in Docker's words.
        """
        if _ID.match(text):
            raise InvalidArgument(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
        name, at, digest = text.partition("@")
        name, tag = _split_tag(name)
        registry, repository = _split_registry(name)
        if not _REGISTRY.match(registry):
            raise InvalidArgument("invalid reference format")
        if not _REPOSITORY.match(repository):
            if repository.lower() != repository and _REPOSITORY.match(repository.lower()):
                raise InvalidArgument("invalid reference format: repository name must be lowercase")
            raise InvalidArgument("invalid reference format")
        if len(registry) + 1 + len(repository) > MAX_NAME:
            raise InvalidArgument(f"repository name must not be more than {MAX_NAME} characters")
        if tag is not None and not _TAG.match(tag):
            raise InvalidArgument("invalid reference format")
        if tag is None:
            tag = "" if at else DEFAULT_TAG
        try:
            return cls(registry, repository, tag, Digest.parse(digest) if at else None)
        except InvalidArgument as exc:
            raise InvalidArgument("invalid reference format") from exc

    @property
    def name(self) -> str:
        """registry/repository: `docker.io/library/busybox`."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar_name(self) -> str:
        """The name as people type it: `busybox`; in full where that would mean another: `docker.io/my.shop/web`."""
        if self.registry != DEFAULT_REGISTRY:
            return self.name
        rest = self.repository.removeprefix("library/")
        short = rest if "/" not in rest else self.repository
        is_clear = not _ID.match(short) and _split_registry(short) == (self.registry, self.repository)
        return short if is_clear else self.name

    @property
    def familiar(self) -> str:
        """Name, tag and digest as people type them: `busybox:latest`, `busybox@sha256:…`."""
        return self.familiar_name + self._suffix

    def with_tag(self, tag: str) -> Self:
        """The same repository, another tag, no digest. Raises InvalidArgument."""
        if not _TAG.match(tag):
            raise InvalidArgument(f"invalid tag format: {tag[:140]!r}")
        return replace(self, tag=tag, digest=None)

    def with_digest(self, digest: Digest) -> Self:
        """The same repository by digest only."""
        return replace(self, tag="", digest=digest)

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.name + self._suffix


def is_tag(text: str) -> bool:
    """Whether `text` can be a tag."""
    return bool(_TAG.match(text))


def _split_tag(name: str) -> tuple[str, str | None]:
    """The tag follows the last colon, unless that belongs to a port."""
    head, colon, tag = name.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (name, None)


def _split_registry(name: str) -> tuple[str, str]:
    """The first part is a registry when it looks like a host: a dot, a colon, or localhost."""
    first, slash, rest = name.partition("/")
    if slash and (any(mark in first for mark in ".:[") or first == "localhost"):
        registry, repository = first, rest
    else:
        registry, repository = DEFAULT_REGISTRY, name
    if registry == "index.docker.io":
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository
