"""The outer tar of a saved image: a flat list of files, and links between them. Layers are unpacked elsewhere.

Names are never used as paths: each file's content goes to a numbered file of ours.
"""

import hashlib
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gantry_agent.engine.errors import InvalidArgument
from gantry_agent.engine.layers.tar_reader import FILE, LINK, SYMLINK, Source, TarError, TarReader
from gantry_agent.engine.oci import Digest
from gantry_agent.engine.store import files

from .intake import Readable

BLOCK = 512
CHUNK = 1 << 20  # bytes
MAX_MEMBERS = 100_000
MAX_LINKS = 40  # as the kernel follows
END = bytes(2 * BLOCK)


@dataclass
class SpooledFile:
    """A file of the archive, in a file of ours."""

    path: Path
    digest: Digest
    size: int


@dataclass
class Spool:
    """What an archive holds: files by name, links by name."""

    files: dict[str, SpooledFile] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> SpooledFile | None:
        """The file of that name, links followed; None when it is not there."""
        name = _clean(name)
        for _ in range(MAX_LINKS):
            if name in self.files:
                return self.files[name]
            if name not in self.links:
                return None
            name = self.links[name]
        return None

    def read(self, name: str, most: int) -> bytes:
        """A small file's content. Raises InvalidArgument when it is missing or longer than `most` bytes."""
        found = self.get(name)
        if found is None:
            raise InvalidArgument(f"the archive has no file {name[:200]!r}")
        if found.size > most:
            raise InvalidArgument(f"{name[:200]!r} has {found.size} bytes; at most {most} are read")
        return found.path.read_bytes()


def spool(archive: Readable, folder: Path, most: int) -> Spool:
    """Take a tar apart into numbered files in `folder`. Blocks. `most`: bytes of one file.

    Raises InvalidArgument for what is not a tar, and beyond the limits.
    """
    found = Spool()
    reader = TarReader(Source(lambda: archive.read(CHUNK)))
    try:
        for number, member in enumerate(reader):
            if number >= MAX_MEMBERS:
                raise InvalidArgument(f"the archive has more than {MAX_MEMBERS} files")
            name = _clean(_text(member.name))
            if member.kind == FILE and member.sparse is None:
                if member.size > most:
                    raise InvalidArgument(f"{name[:200]!r} has {member.size} bytes; at most {most} are accepted")
                found.files[name] = _copy(reader, folder / str(number))
            elif member.kind == LINK:
                found.links[name] = _clean(_text(member.link))
            elif member.kind == SYMLINK:
                found.links[name] = _clean(posixpath.join(posixpath.dirname(name), _text(member.link)))
    except TarError as exc:
        raise InvalidArgument(f"the archive cannot be read: {exc}") from exc
    return found


def receive(archive: Readable, path: Path) -> SpooledFile:
    """Put all of `archive` into one file. Blocks."""
    return _write(iter(lambda: memoryview(archive.read(CHUNK)), b""), path)


def header(name: str, size: int, mtime: int = 0) -> bytes:
    """A ustar header of a regular file; `name` has at most 100 bytes."""
    fields = bytearray(BLOCK)
    fields[0:100] = name.encode().ljust(100, b"\0")
    fields[100:108], fields[108:116], fields[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    # Sizes of 8 GiB and more do not fit 11 octal digits: GNU's binary form.
    fields[124:136] = b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    fields[136:148] = b"%011o\0" % mtime
    fields[148:156] = b" " * 8
    fields[156:157], fields[257:265] = b"0", b"ustar\x0000"
    fields[148:156] = b"%06o\0 " % sum(fields)
    return bytes(fields)


def padding(size: int) -> bytes:
    """What follows a file of `size` bytes up to the next header."""
    return bytes(-size % BLOCK)


def _copy(reader: TarReader, path: Path) -> SpooledFile:
    return _write(reader.body(), path)


def _write(pieces: Iterable[memoryview], path: Path) -> SpooledFile:
    digest, size = hashlib.sha256(), 0
    with files.explained("receiving an archive"), path.open("xb", buffering=0) as file:
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            while piece:
                piece = piece[file.write(piece) :]
    return SpooledFile(path, Digest("sha256:" + digest.hexdigest()), size)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _clean(name: str) -> str:
    """A name to compare with: no leading `./` or `/`, no doubled slashes."""
    return posixpath.normpath("/" + name).lstrip("/")
