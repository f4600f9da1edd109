"""What the judge is told beside the request: the image as the host has it, and what the request leads to there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Violation:
    """One thing that rules do not allow. `field`: its path in the request, as the Engine API spells it."""

    field: str
    found: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.field}: found {self.found}; allowed: {self.allowed}."

    def as_json(self) -> list[str]:
        return [self.field, self.found, self.allowed]


@dataclass(frozen=True)
class ImageFacts:
    """`repository` (full) and `tag`: by which it was asked for; both empty: by an id.

    `digests`: its id, and what registries call it; None: not known yet, nor then `user`, that of its configuration.
    """

    repository: str = ""
    tag: str = ""
    digests: frozenset[str] | None = None
    user: str | None = None

    @property
    def name(self) -> str:
        if not self.repository:
            return "an image without a name"
        return f"{self.repository}:{self.tag}" if self.tag else f"{self.repository} by digest"


@dataclass(frozen=True)
class VolumeFacts:
    """A volume that the host has, with the options its driver was given."""

    driver: str = "local"
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Other:
    """A container whose namespaces or volumes are to be shared. `open_to`: namespaces of the host that it is in, by
    whatever way; `mounts`: (type, path of the host or name of the volume)."""

    privileged: bool = False
    open_to: frozenset[str] = frozenset()
    mounts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Facts:
    """`others` and `volumes` by the words of the request. `complete`: all that can be known is: what is not among
    them is not there. Else the form asks, and what it cannot see is judged by the worker.

    `host_networks`: ids and names of the network that is the host's own.
    """

    image: ImageFacts = field(default_factory=ImageFacts)
    others: Mapping[str, Other] = field(default_factory=dict)
    volumes: Mapping[str, VolumeFacts] = field(default_factory=dict)
    host_networks: frozenset[str] = frozenset({"host"})
    complete: bool = False
