"""What a build is asked to do: where its files come from, and how it is done. As kept in JSON fields."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

DOCKERFILE = "Dockerfile"
TYPED, UPLOAD, GIT = "typed", "upload", "git"
DEFAULT_TIMEOUT = 3600  # seconds


class _Kept:
    """A dataclass that becomes JSON and comes back; names it does not know are passed over."""

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> Self:
        known = {each.name for each in fields(cls)}  # type: ignore[arg-type]
        return cls(**{name: given for name, given in value.items() if name in known})

    def as_json(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload]


@dataclass
class Source(_Kept):
    """`kind`: typed (`dockerfile`, and the files of `upload` beside it), upload, or git."""

    kind: str = TYPED
    dockerfile: str = ""
    upload: str = ""
    dockerfile_path: str = DOCKERFILE
    url: str = ""
    ref: str = ""  # branch, tag or commit; empty: the server's HEAD
    commit: str = ""  # this very commit of `ref`, in full
    folder: str = ""
    submodules: bool = False
    credential: str = ""  # a Credential's name, for git

    def __str__(self) -> str:
        if self.kind == GIT:
            return f"{self.url}{'#' + self.ref if self.ref else ''}{':' + self.folder if self.folder else ''}"
        return "typed here" if self.kind == TYPED else "uploaded"


@dataclass
class Options(_Kept):
    """How it is built. `host`: an id, or 0 for the least busy of the `pool`, hosts that carry this label."""

    host: int = 0
    pool: str = ""
    tags: list[str] = field(default_factory=list)  # templates, see `naming`
    target: str = ""
    args: dict[str, str] = field(default_factory=dict)
    platform: str = ""
    cache: bool = True
    pull: bool = False
    cache_from: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)  # Credentials' names; each is the id of the secret
    logins: list[str] = field(default_factory=list)  # Credentials' names, for registries
    push: bool = False
    memory: int = 0  # bytes; 0: no limit
    cpus: float = 0  # 0: no limit
    timeout: int = DEFAULT_TIMEOUT  # seconds
