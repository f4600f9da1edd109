"""The files of a build as one tar, streamed to the engine: what was uploaded or cloned, and the typed Dockerfile."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tarfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from docker.utils.build import exclude_paths

from controlplane.lib.errors import Conflict, InvalidArgument

PIECE = 256 * 1024  # bytes
BLOCK = 512  # bytes of a tar's block
IGNORE_FILE = ".dockerignore"
MOST_IGNORE_BYTES = 1024 * 1024
MOST_RULES = 1000
MOST_STARS = 3
LEAST_FREE = 512 << 20  # bytes of the disk that no context gets
MOST_FILES = 500_000
LARGEST_DOCKERFILE = 1024 * 1024
LONGEST_PATH = 300  # of a Dockerfile; longer ones are not kept
READS_ALL_AS_IT_IS = ("gantry", "docker")  # engines that build every file as it stands

_PART = r"(?!\.\.?(?:/|\Z))[\w.@+-]+(?: +[\w.@+-]+)*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")


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


class BoundedInfo(tarfile.TarInfo):
    """A header whose extensions (long names, attributes) are short: tarfile reads each of them whole into memory."""

    LONGEST = 1 << 20  # bytes

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in (*_EXTENSIONS, tarfile.SOLARIS_XHDTYPE) and self.size > self.LONGEST:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(tar)  # type: ignore[misc]


def forget(tar: tarfile.TarFile) -> None:
    """What tarfile remembers of every file it has read or written: without an end, in a large archive."""
    tar.members = []  # type: ignore[attr-defined]
    tar.inodes.clear()  # type: ignore[attr-defined]


_EXTENSIONS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)


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
    try:
        names = sorted(exclude_paths(str(folder), _rules(folder), dockerfile=dockerfile))
    except RecursionError as exc:
        raise InvalidArgument("Expected folders at most some hundred deep, found deeper ones.") from exc
    if len(names) > MOST_FILES:
        raise InvalidArgument(f"Expected at most {MOST_FILES:,} files, found more.", "Leave some out in .dockerignore.")
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            path = folder / name
            if name.split("/")[0] == ".git" or not os.path.lexists(path):
                continue
            info = tar.gettarinfo(path, arcname=name)
            if info is None:  # a socket
                continue
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            if shutil.disk_usage(target.parent).free < LEAST_FREE + info.size:
                raise Conflict(
                    "The disk that builds are packed on is nearly full.", "Ask an administrator to free some."
                )
            if info.isreg():
                # By its size again: a second name of a file would be packed as a link to the first.
                info.type, info.linkname, info.size = tarfile.REGTYPE, "", path.stat().st_size
                with path.open("rb") as file:
                    tar.addfile(info, file)
            else:
                tar.addfile(info)
            count += not info.isdir()
            forget(tar)
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
    rules = [line for line in lines if line and not line.startswith("#")]
    if len(rules) > MOST_RULES or any(_is_costly(rule) for rule in rules):
        raise InvalidArgument(
            f"{IGNORE_FILE} is taken with at most {MOST_RULES} rules, and {MOST_STARS} stars between two slashes.",
            "The time to match more of them grows without bounds.",
        )
    return rules


def _is_costly(rule: str) -> bool:
    """Whether a file's name could keep the matching (docker-py's, with backtracking) busy for hours."""
    return any(len(re.findall(r"\*+", part)) > MOST_STARS for part in rule.split("/")) or rule.count("**") > MOST_STARS


def dockerfile_path(text: str) -> str:
    """The path of a Dockerfile among the files, without a slash or `./` before it.

    Raises InvalidArgument unless every engine takes it for the name of that file and nothing else: Podman also takes a
    list in JSON, and a URL, which it fetches.
    """
    path = re.sub(r"\A(?:\.?/+)+", "", text)
    if len(path) > LONGEST_PATH or not _PATH.fullmatch(path):
        raise InvalidArgument(
            f"Expected the path of a Dockerfile such as docker/web.Dockerfile, found “{shown(path[:80])}”.",
            "It lies among the files, without “..”, and has letters, digits, blanks and . _ @ + - alone. Rename it.",
        )
    return path


def refuse_template(path: str, engine_kind: str) -> None:
    """Raise InvalidArgument where another text would be built than stands in the file: Podman runs what ends in .in
    through the C preprocessor (podman-build(1))."""
    if path.endswith(".in") and engine_kind not in READS_ALL_AS_IT_IS:
        raise InvalidArgument(
            f"Expected a Dockerfile whose name does not end in .in, found {path}.",
            "Podman puts such a file through a preprocessor and builds what comes of it. Rename it.",
        )


def dockerfile_in_folder(folder: Path, path: str) -> str:
    """The text of the Dockerfile at `path` below `folder`.

    Raises InvalidArgument with what is there instead when it is missing, leads outside, or is no text.
    """
    found = (folder / path).resolve()
    root = folder.resolve()
    if not found.is_relative_to(root):
        raise InvalidArgument(f"{path} leads out of the build’s files.", "A Dockerfile is one of them.")
    if not found.is_file():
        near = sorted(shown(str(each.relative_to(folder))) for each in folder.rglob("*ockerfile*") if each.is_file())[
            :5
        ]
        hint = f"There is: {', '.join(near)}." if near else "There is no file with such a name at all."
        raise InvalidArgument(f"There is no {path} among the files.", hint)
    with found.open("rb") as file:
        return decoded(file.read(LARGEST_DOCKERFILE + 1), path)


def dockerfile_in_tar(archive: Path, path: str) -> str:
    """The same of a tar. Links are looked up by name alone: what they lead to, the engine finds or refuses."""
    wanted = os.path.normpath(path).lstrip("/")
    near: list[str] = []
    found: bytes | None = None  # of two with the same name, engines take the last
    with tarfile.open(archive, tarinfo=BoundedInfo) as tar:
        for info in tar:
            name = os.path.normpath(info.name).lstrip("/")
            if name == wanted and info.isreg():
                file = tar.extractfile(info)
                found = file.read(LARGEST_DOCKERFILE + 1) if file else b""
            elif name == wanted and info.issym():
                found = b""
            if "ockerfile" in name and len(near) < 5:
                near.append(shown(name))
            forget(tar)
    if found is not None:
        return decoded(found, path)
    hint = f"There is: {', '.join(near)}." if near else "There is no file with such a name at all."
    raise InvalidArgument(f"There is no {path} among the files.", hint)


def shown(name: str) -> str:
    """A file's name as text that a database takes, whatever its bytes."""
    return name.encode(errors="replace").decode().replace("\0", "")


def decoded(content: bytes, path: str) -> str:
    if len(content) > LARGEST_DOCKERFILE:
        raise InvalidArgument(f"Expected {path} to have at most {LARGEST_DOCKERFILE >> 20} MiB, found more.")
    if b"\0" in content:
        raise InvalidArgument(f"Expected {path} to be text, found a zero byte.")
    try:
        return content.decode()
    except UnicodeDecodeError as exc:
        raise InvalidArgument(f"Expected {path} to be UTF-8, found a byte that is not at {exc.start}.") from exc
