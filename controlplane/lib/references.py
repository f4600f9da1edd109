"""References of images, parsed exactly as Docker does: ``[HOST[:PORT]/][PATH/]NAME[:TAG][@DIGEST]``.

    parse("nginx")                    → docker.io / library/nginx : latest
    parse("127.0.0.1:5000/shop/web:2") → 127.0.0.1:5000 / shop/web : 2

The rules are those of github.com/distribution/reference (regexp.go, normalize.go) and, for digests,
github.com/opencontainers/go-digest. Pure: no Django, no network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from controlplane.lib.errors import InvalidArgument

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
LONGEST_PATH = 255
"""Characters of a repository's name without its domain."""
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
_LONGEST_INPUT = 1024

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}")
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")
_ID = re.compile(r"(?:sha(?:256|384|512):)?[a-f0-9]{12,128}|sha(?:256|384|512):[a-f0-9]+")  # as engines find images by
_HEX = re.compile(r"[a-f0-9]+")
_DIGEST_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}

_SHAPE = "Expected [HOST[:PORT]/][PATH/]NAME[:TAG][@DIGEST]"


@dataclass(frozen=True)
class Reference:
    """A normalised reference; ``tag`` and ``digest`` are empty when not given."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """The full name without tag and digest: ``docker.io/library/nginx``."""
        return f"{self.domain}/{self.path}"

    @property
    def repository_familiar(self) -> str:
        """As people write and engines list it: ``nginx``, ``shop/web``, ``127.0.0.1:5000/shop/web``.

        Docker shortens even what then means something else (``docker.io/a.b/c`` to ``a.b/c``); here the domain
        stays in that case.
        """
        name = self.path.removeprefix(_OFFICIAL)
        name = self.path if "/" in name else name
        if _IDENTIFIER.fullmatch(name) or _split_domain(name) != (self.domain, self.path):
            return self.repository
        return name

    @property
    def canonical(self) -> str:
        """The full reference: ``docker.io/library/nginx:1``; parsing it gives this reference again."""
        return self.repository + self._suffix

    @property
    def familiar(self) -> str:
        """The short reference: ``nginx:1``; parsing it gives this reference again."""
        return self.repository_familiar + self._suffix

    @property
    def lookup(self) -> str:
        """What to ask an engine for: by digest alone when there is one (Podman refuses tag and digest)."""
        return replace(self, tag="").familiar if self.digest else self.familiar

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.familiar


def parse(text: str, *, default_tag: str = DEFAULT_TAG) -> Reference:
    """The reference that ``text`` means to Docker, with ``default_tag`` when it has neither tag nor digest.

    Raises InvalidArgument, saying what was expected and what was found.
    """
    if not text:
        raise InvalidArgument("The name of the image is missing.", f"{_SHAPE}.")
    if len(text) > _LONGEST_INPUT:
        raise InvalidArgument(f"{_SHAPE} of at most {_LONGEST_INPUT} characters, found {len(text)}.")
    if _IDENTIFIER.fullmatch(text):
        raise InvalidArgument(
            f"Expected the name of an image, found “{text[:12]}…”, which is an image’s id.",
            "An id says what an image is, not where to get it: give a name, or NAME@sha256:… .",
        )
    if _ID.fullmatch(text) and ":" in text:
        raise InvalidArgument(
            f"Expected the name of an image, found “{text[:20]}”, which an engine reads as an image’s id.",
            "An id says what an image is, not where to get it: give a name, or NAME@sha256:… .",
        )
    name, at, digest = text.partition("@")
    domain, rest = _split_domain(name)
    path, colon, tag = rest.partition(":")
    _check_domain(domain, text)
    _check_path(path, text)
    if colon:
        _check_tag(tag, text)
    if at:
        _check_digest(digest, text)
    return Reference(domain, path, tag if colon or at else default_tag, digest)


def name_of(reference: str) -> tuple[str, str]:
    """(full repository, tag) of a reference as an engine says it; ("", "") for an image's id.

    What is named by digest has no tag: NAME:TAG@DIGEST is whatever the digest says, and the tag is ignored.
    """
    name, at, _ = reference.partition("@")
    if not name or _ID.fullmatch(name):
        return "", ""
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:  # a colon before a slash belongs to a port
        repository, tag = name, DEFAULT_TAG
    return full_name(repository), "" if at else tag


def full_name(name: str) -> str:
    """A repository with its domain, `nginx` as docker.io/library/nginx. For names that an engine has said, and
    patterns of them: nothing is checked."""
    return "/".join(_split_domain(name))


def _split_domain(name: str) -> tuple[str, str]:
    """(domain, the rest): the part before the first slash is a domain when it can be nothing else.

    That is when it has a dot, a colon or a capital letter, or is ``localhost``.
    """
    first, slash, rest = name.partition("/")
    if not slash:
        return DEFAULT_DOMAIN, _OFFICIAL + name
    if first == _LEGACY_DOMAIN:
        first = DEFAULT_DOMAIN
    if not (first == "localhost" or "." in first or ":" in first or first != first.lower()):
        first, rest = DEFAULT_DOMAIN, name
    if first == DEFAULT_DOMAIN and "/" not in rest:
        rest = _OFFICIAL + rest
    return first, rest


def _check_domain(domain: str, text: str) -> None:
    if domain.lower() in ("http:", "https:"):
        raise InvalidArgument(f"{_SHAPE}, found an address: “{text}”.", f"Leave out “{domain}//”.")
    if not _DOMAIN.fullmatch(domain):
        raise InvalidArgument(
            f"Expected a registry HOST[:PORT] before the first slash, found “{domain}” in “{text}”.",
            "A host has letters, digits, dots and inner dashes; an IPv6 address stands in brackets.",
        )


def _check_path(path: str, text: str) -> None:
    if path != path.lower():
        raise InvalidArgument(f"Expected a name in lower case, found “{path}” in “{text}”.", f"Try “{path.lower()}”.")
    for component in path.split("/"):
        if not _COMPONENT.fullmatch(component):
            raise InvalidArgument(
                f"{_SHAPE}, found “{component}” in “{text}”.",
                "Between slashes stand lower-case letters and digits, parted by a dot, one or two"
                " underscores, or dashes.",
            )
    if len(path) > LONGEST_PATH:
        raise InvalidArgument(f"Expected a name of at most {LONGEST_PATH} characters, found {len(path)}.")


def _check_tag(tag: str, text: str) -> None:
    if not _TAG.fullmatch(tag):
        raise InvalidArgument(
            f"Expected a tag after the colon, found “{tag}” in “{text}”.",
            "A tag has 1 to 128 letters, digits, “_”, “.” and “-”, and does not begin with “.” or “-”.",
        )


def _check_digest(digest: str, text: str) -> None:
    algorithm, _, value = digest.partition(":")
    length = _DIGEST_LENGTHS.get(algorithm)
    if length is None:
        known = ", ".join(_DIGEST_LENGTHS)
        raise InvalidArgument(
            f"Expected a digest by {known} after the @, found “{algorithm}” in “{text}”.",
            "A digest reads sha256: and 64 hexadecimal digits.",
        )
    if len(value) != length or not _HEX.fullmatch(value):
        raise InvalidArgument(
            f"Expected {length} hexadecimal digits (0-9, a-f) after {algorithm}:, found {len(value)}"
            f" characters: “{value}”."
        )
