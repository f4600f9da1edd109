"""The files of a build as one tar, streamed to the engine: what was uploaded or cloned, and the typed Dockerfile."""

from __future__ import annotations

import asyncio
import os
import tarfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from docker.utils.build import exclude_paths

from controlplane.lib.errors import InvalidArgument

PIECE = 256 * 1024  # bytes
BLOCK = 512  # bytes of a tar's block
IGNORE_FILE = ".dockerignore"
MOST_IGNORE_BYTES = 1024 * 1024
LARGEST_DOCKERFILE = 1024 * 1024


@dataclass(frozen=True)
class Context:
    """`head`: tar entries before those of `file`, without an end mark; `file`: a tar, perhaps compressed, or None."""

    head: bytes = b""
    file: Path | None = None

    @property
    def size(self) -> int:
        return len(self.head) + (self.file.stat().st_size if self.file else 2 * BLOCK)

    async def pieces(self, sent: Callable[[int], None] = lambda total: None) -> AsyncIterator[bytes]:
        """Its bytes; `sent` is told how many the engine has taken so far."""
        total = 0
        if self.head:
            yield self.head
            sent(total := len(self.head))
        if self.file is None:
            yield bytes(2 * BLOCK)
            sent(self.size)
            return
        with self.file.open("rb") as file:
            while piece := await asyncio.to_thread(file.read, PIECE):
                yield piece
                sent(total := total + len(piece))


def entry(name: str, content: bytes) -> bytes:
    """One file as a tar entry, padded to whole blocks. Its time is always the same: it is no part of a build."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    return info.tobuf(tarfile.PAX_FORMAT) + content + bytes(-len(content) % BLOCK)


def is_plain_tar(path: Path) -> bool:
    """Whether other entries may be put before it: a tar that is not compressed, or an empty file."""
    with path.open("rb") as file:
        head = file.read(BLOCK)
    return head[257:262] == b"ustar" or not any(head)


def pack(folder: Path, target: Path, dockerfile: str, longest: int) -> int:
    """Write a tar of `folder` without `.git` and what `.dockerignore` leaves out; the number of files.

    Links are packed as links and never followed. Raises InvalidArgument for rules that cannot be read, and beyond
    `longest` bytes.
    """
    count = 0
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(exclude_paths(str(folder), _rules(folder), dockerfile=dockerfile)):
            path = folder / name
            if name.split("/")[0] == ".git" or not os.path.lexists(path):
                continue
            info = tar.gettarinfo(path, arcname=name)
            if info is None:  # a socket
                continue
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            if info.isreg():
                # By its size again: a second name of a file would be packed as a link to the first.
                info.type, info.linkname, info.size = tarfile.REGTYPE, "", path.stat().st_size
                with path.open("rb") as file:
                    tar.addfile(info, file)
            else:
                tar.addfile(info)
            count += not info.isdir()
            if tar.offset > longest:
                raise InvalidArgument(
                    f"Expected at most {longest >> 20} MiB of files, found more.", "Leave some out in .dockerignore."
                )
    return count


def _rules(folder: Path) -> list[str]:
    path = folder / IGNORE_FILE
    if path.is_symlink() or not path.is_file():
        return []
    with path.open("rb") as file:
        text = file.read(MOST_IGNORE_BYTES).decode(errors="replace")
    lines = (line.strip() for line in text.removeprefix("\ufeff").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def dockerfile_in_folder(folder: Path, path: str) -> str:
    """The text of the Dockerfile at `path` below `folder`.

    Raises InvalidArgument with what is there instead when it is missing, leads outside, or is no text.
    """
    found = (folder / path).resolve()
    root = folder.resolve()
    if not found.is_relative_to(root):
        raise InvalidArgument(f"{path} leads out of the build’s files.", "A Dockerfile is one of them.")
    if not found.is_file():
        near = sorted(str(each.relative_to(folder)) for each in folder.rglob("*ockerfile*") if each.is_file())[:5]
        hint = f"There is: {', '.join(near)}." if near else "There is no file with such a name at all."
        raise InvalidArgument(f"There is no {path} among the files.", hint)
    with found.open("rb") as file:
        return decoded(file.read(LARGEST_DOCKERFILE + 1), path)


def dockerfile_in_tar(archive: Path, path: str) -> str:
    """The same of a tar. Links are looked up by name alone: what they lead to, the engine finds or refuses."""
    wanted = os.path.normpath(path).lstrip("/")
    near: list[str] = []
    with tarfile.open(archive) as tar:
        for info in tar:
            name = os.path.normpath(info.name).lstrip("/")
            if name == wanted and info.isreg() and info.size <= LARGEST_DOCKERFILE:
                file = tar.extractfile(info)
                return decoded(file.read() if file else b"", path)
            if name == wanted and info.issym():
                return ""
            if "ockerfile" in name and len(near) < 5:
                near.append(name)
            tar.members = []  # type: ignore[attr-defined]  # or it would remember every file
    hint = f"There is: {', '.join(near)}." if near else "There is no file with such a name at all."
    raise InvalidArgument(f"There is no {path} among the files.", hint)


def decoded(content: bytes, path: str) -> str:
    if len(content) > LARGEST_DOCKERFILE:
        raise InvalidArgument(f"Expected {path} to have at most {LARGEST_DOCKERFILE >> 20} MiB, found more.")
    try:
        return content.decode()
    except UnicodeDecodeError as exc:
        raise InvalidArgument(f"Expected {path} to be UTF-8, found a byte that is not at {exc.start}.") from exc
