"""A row of the corpus, and the odd files its context may hold."""

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

from tests.engine.tars import entry, tar_of

DOCKER, BUILDAH = "docker", "buildah"
TIME = 1_700_000_000  # of every file of a context
NEWER = "newer than Docker 20.10's classic builder"
NEWER_THAN_BOTH = {DOCKER: NEWER, BUILDAH: "newer than buildah 1.28"}
NEWER_THAN_DOCKER = {DOCKER: NEWER}


@dataclass(frozen=True)
class Special:
    """A file that is not plain: the fields of its TarInfo."""

    fields: Mapping[str, Any]
    content: bytes = b""


Files = Mapping[str, str | bytes | Special]


@dataclass(frozen=True)
class Row:
    """A Dockerfile and what is beside it.

    `base`: a Dockerfile to build first, as `name`:1. `differs`: builder → what differs (a pattern over
    the names `outcome.differences` gives) → why. `unknown`: builder → why it is not asked.
    """

    name: str
    dockerfile: str
    files: Files = field(default_factory=dict)
    base: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    differs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)
    fails: bool = False
    makes: Mapping[str, str] = field(default_factory=dict)
    """What must be there, as `Node.shown` tells it; "" for what must not."""

    @property
    def builders(self) -> list[str]:
        """Whom to compare with."""
        return [each for each in (DOCKER, BUILDAH) if each not in self.unknown]


def row(name: str, dockerfile: str, files: Files | None = None, *, base: str = "", **more: Any) -> Row:
    """A row whose Dockerfiles are indented as the table around them."""
    return Row(name, dedent(dockerfile), files or {}, dedent(base), **more)


def context(dockerfile: str, files: Files) -> bytes:
    """The tar of a context."""
    members = []
    for name, what in {"Dockerfile": dockerfile, **files}.items():
        special = what if isinstance(what, Special) else Special({}, what.encode() if isinstance(what, str) else what)
        members.append(entry(name, special.content, **{"mtime": TIME, **special.fields}))
    return tar_of(members)


def unpack(tar: bytes, folder: Path) -> None:
    """The context as files, for builders that read folders."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        # Debian 12's Python has no argument for it yet (PEP 706), and needs none.
        archive.extraction_filter = lambda member, _: member  # type: ignore[assignment]
        archive.extractall(folder, numeric_owner=True)


def mode(mode: int, content: str = "content\n", uid: int = 0, gid: int = 0) -> Special:
    """A file with a mode and an owner of its own."""
    return Special({"mode": mode, "uid": uid, "gid": gid}, content.encode())


def folder(mode: int = 0o755, uid: int = 0, gid: int = 0) -> Special:
    return Special({"type": tarfile.DIRTYPE, "mode": mode, "uid": uid, "gid": gid})


def link(target: str) -> Special:
    return Special({"type": tarfile.SYMTYPE, "linkname": target, "mode": 0o777})


def hard(target: str) -> Special:
    return Special({"type": tarfile.LNKTYPE, "linkname": target})


def fifo() -> Special:
    return Special({"type": tarfile.FIFOTYPE, "mode": 0o640})
