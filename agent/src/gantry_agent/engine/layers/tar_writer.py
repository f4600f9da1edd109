"""Tar headers, in the plainest format that holds the entry: ustar, with a PAX header only where it must be.

The same entry always gives the same bytes. Times are whole seconds, as in the layers Docker makes.
"""

import os
import stat
from collections.abc import Mapping
from typing import NamedTuple

BLOCK = 512
END = bytes(2 * BLOCK)
MAX_OCTAL = 0o7777777  # owners
MAX_SIZE = 0o77777777777
MAX_DEVICE = 0o7777777
FILE, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, FOLDER, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK_DEVICE,
    stat.S_IFDIR: FOLDER,
    stat.S_IFIFO: FIFO,
}
"""A socket has no place in an archive."""


class Facts(NamedTuple):
    """What a header says of a thing besides its name and kind. `mtime` is seconds, `device` as in st_rdev."""

    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    device: int = 0


def facts_of(found: os.stat_result) -> Facts:
    """A file's own."""
    seconds = max(0, found.st_mtime_ns // 1_000_000_000)
    return Facts(found.st_mode & 0o7777, found.st_uid, found.st_gid, found.st_size, seconds, found.st_rdev)


def header(
    name: bytes, kind: bytes, facts: Facts, *, link: bytes = b"", xattrs: Mapping[bytes, bytes] | None = None
) -> bytes:
    """The header blocks of one entry. Its body follows when `kind` is FILE: `size` bytes, padded to BLOCK."""
    mode, uid, gid, size, mtime, device = facts
    size = size if kind == FILE else 0
    device = device if kind in (CHARACTER, BLOCK_DEVICE) else 0
    pax: dict[bytes, bytes] = {}
    prefix, short = _split(name)
    if short is None:
        pax[b"path"], short = name, name[:100]
    if len(link) > 100:
        pax[b"linkpath"], link = link, link[:100]
    for key, owner in ((b"uid", uid), (b"gid", gid)):
        if owner > MAX_OCTAL:
            pax[key] = b"%d" % owner
    if size > MAX_SIZE:
        pax[b"size"] = b"%d" % size
    if mtime > MAX_SIZE:
        pax[b"mtime"] = b"%d" % mtime
    for key, value in (xattrs or {}).items():
        pax[b"SCHILY.xattr." + key] = value
    block = _block(
        short, kind, mode, uid & MAX_OCTAL, gid & MAX_OCTAL, size & MAX_SIZE, mtime & MAX_SIZE,
        link, os.major(device) & MAX_DEVICE, os.minor(device) & MAX_DEVICE, prefix,
    )  # fmt: skip
    return _pax(pax, short) + block if pax else block


def padding(size: int) -> bytes:
    """What fills a body of `size` bytes up to a whole block."""
    return bytes(-size % BLOCK)


def _pax(records: Mapping[bytes, bytes], short: bytes) -> bytes:
    body = b"".join(_record(key, records[key]) for key in sorted(records))
    name = b"PaxHeaders.0/" + (short.strip(b"/").rpartition(b"/")[2] or b"entry")
    return _block(name[:100], b"x", 0o644, 0, 0, len(body), 0, b"", 0, 0, b"") + body + padding(len(body))


def _record(key: bytes, value: bytes) -> bytes:
    content = b" %s=%s\n" % (key, value)
    length = len(content)
    while len(b"%d" % length) + len(content) != length:
        length = len(b"%d" % length) + len(content)
    return b"%d%s" % (length, content)


def _split(name: bytes) -> tuple[bytes, bytes | None]:
    """ustar's prefix and name; no name when it does not fit."""
    if len(name) <= 100:
        return b"", name
    at = name.find(b"/", len(name) - 101)
    while 0 <= at < len(name) - 1:
        if 0 < at <= 155:
            return name[:at], name[at + 1 :]
        if at > 155:
            break
        at = name.find(b"/", at + 1)
    return b"", None


def _block(
    name: bytes, kind: bytes, mode: int, uid: int, gid: int, size: int, mtime: int,
    link: bytes, major: int, minor: int, prefix: bytes,
) -> bytes:  # fmt: skip
    block = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0        %s%sustar\x0000%s%07o\0%07o\0%s" % (
        name.ljust(100, b"\0"), mode, uid, gid, size, mtime, kind, link.ljust(100, b"\0"), bytes(64), major, minor,
        prefix.ljust(167, b"\0"),
    )  # fmt: skip
    return b"%s%06o\0 %s" % (block[:148], sum(block), block[156:])
