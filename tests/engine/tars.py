"""Tars of any shape for tests, also those no sane program makes, and trees to compare."""

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from gantry_agent.engine.layers.unpack import Limits, Unpacked, Unpacker


def entry(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """One member; `fields` are TarInfo's."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in fields.items():
        setattr(member, key, value)
    return member, content


def folder(name: str, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.DIRTYPE, mode=fields.pop("mode", 0o755), **fields)


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.SYMTYPE, linkname=target, mode=0o777)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.LNKTYPE, linkname=target)


def tar_of(members: Iterable[tuple[tarfile.TarInfo, bytes]], kind: int = tarfile.PAX_FORMAT) -> bytes:
    """The plain tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


async def unpack(content: bytes, target: Path, limits: Limits | None = None, chunk: int = 100_000) -> Unpacked:
    """Unpack a layer into a folder, which is made."""
    target.mkdir(exist_ok=True)
    async with Unpacker(target, limits) as unpacker:
        for at in range(0, len(content), chunk):
            await unpacker.write(content[at : at + chunk])
        return await unpacker.finish()


async def chunks_of(content: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    for at in range(0, len(content), size):
        yield content[at : at + size]


def tree(top: Path) -> dict[str, tuple[Any, ...]]:
    """Everything below a folder that a layer can say: kind, mode, owner, seconds, content, links, attributes."""
    found: dict[str, tuple[Any, ...]] = {}
    firsts: dict[tuple[int, int], str] = {}
    for where, folders, files in os.walk(top):
        for name in sorted(folders + files):
            path = os.path.join(where, name)
            status = os.lstat(path)
            short = os.path.relpath(path, top)
            kind = stat.S_IFMT(status.st_mode)
            content: object = None
            if stat.S_ISREG(status.st_mode):
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif not stat.S_ISDIR(status.st_mode):
                content = status.st_rdev
            same = ""
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                same = firsts.setdefault((status.st_dev, status.st_ino), short)
            xattrs = {
                each: os.getxattr(path, each, follow_symlinks=False)
                for each in os.listxattr(path, follow_symlinks=False)
                if not each.startswith("trusted.overlay.")
            }
            found[short] = (
                kind,
                stat.S_IMODE(status.st_mode),
                status.st_uid,
                status.st_gid,
                None if stat.S_ISDIR(status.st_mode) else int(status.st_mtime),
                content,
                same,
                tuple(sorted(xattrs.items())),
            )
    return found
