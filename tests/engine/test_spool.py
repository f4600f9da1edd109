"""A spooled tar is the same tree as the tar unpacked: whatever members come, in whatever order."""

import asyncio
import hashlib
import io
import os
import subprocess
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from gantry_agent.engine.errors import EngineError
from gantry_agent.engine.layers.child import Child
from gantry_agent.engine.layers.content import Files, FolderFiles, Node, pieces
from gantry_agent.engine.layers.extract import Limits
from gantry_agent.engine.layers.spool import SpoolFiles
from hypothesis import example, given, settings
from hypothesis import strategies as some

from tests.engine.tars import entry, folder, hard_link, symlink, tar_of
from tests.support.counts import count

pytestmark = pytest.mark.root

NAMES = ("a", "b", "a-b", "a.b", "\x01", "ä")
PATHS = some.lists(some.sampled_from((*NAMES, "..", ".")), min_size=1, max_size=4).map("/".join)
MODES = some.sampled_from((0o644, 0o755, 0o600, 0o4755, 0o1777, 0))
OWNERS = some.sampled_from((0, 1000, 65534))


@some.composite
def members(draw: some.DrawFn) -> tuple[tarfile.TarInfo, bytes]:
    kind = draw(some.sampled_from("ffffddlhp"))
    fields: dict[str, Any] = {"mode": draw(MODES), "uid": draw(OWNERS), "gid": draw(OWNERS), "mtime": 1_700_000_000}
    path = draw(PATHS)
    if kind == "f":
        return entry(path, draw(some.binary(max_size=3)), **fields)
    if kind == "d":
        return folder(path, **fields)
    if kind == "p":
        return entry(path, type=tarfile.FIFOTYPE, **fields)
    target = draw(PATHS)
    return symlink(path, draw(some.sampled_from(("", "/"))) + target) if kind == "l" else hard_link(path, target)


async def unpacked(tar: bytes, place: Path, job: dict[str, Any]) -> str:
    """Give the tar to a worker; why it refused it, "" when it did not."""
    place.mkdir()
    async with Child({**job, "limits": list(Limits())}) as child:
        try:
            await child.write(tar)
            await child.finish()
        except EngineError as error:
            return error.message
    return ""


async def both(tar: bytes, place: Path) -> tuple[str, str]:
    view = {"kind": "folder", "path": str(place / "folder")}
    writing = {"do": "write", "view": view, "path": "/", "keeps_kinds": False, "user": ""}
    return (
        await unpacked(tar, place / "folder", writing),
        await unpacked(tar, place / "spool", {"do": "spool", "target": str(place / "spool")}),
    )


def told(files: Files, node: Node) -> tuple[Any, ...]:
    content = digest = b""
    if node.is_file:
        with files.open(node) as file:
            content = b"".join(pieces(file))
        with files.open(node) as file:
            digest = file.digest()
        assert digest == hashlib.sha256(content).digest()
    size, mtime = (0, 0) if node.is_folder else (len(content), node.mtime)
    return node.path, oct(node.mode), node.uid, node.gid, node.rdev, size, mtime, node.link, content


def tree(files: Files, path: bytes = b"") -> list[tuple[Any, ...]]:
    """What there is, and with what has several names which of them are one file: no two of them, -1."""
    found = [(told(files, node), node.same if node.is_file else None) for node in files.walk(path)]
    names = Counter(same for _, same in found if same)
    groups: dict[object, int] = {}
    return [(*what, groups.setdefault(same, len(groups)) if names[same] > 1 else -1) for what, same in found]


def looked_up(files: Files, path: bytes) -> Any:
    """What a path leads to, links followed, and the names in it; the system's number where it leads nowhere."""
    try:
        node = files.find(path)
        return (*told(files, node), files.names(path) if node.is_folder else [])
    except OSError as error:
        return error.errno


def paths() -> Iterator[bytes]:
    for first in NAMES:
        yield os.fsencode(first)
        for second in (*NAMES, "..", "../.."):
            yield os.fsencode(f"{first}/{second}")
            yield os.fsencode(f"{first}/{second}/a")


@settings(max_examples=count(40, 400), deadline=None)
@given(some.lists(members(), max_size=12))
@example([entry("a", b"1"), hard_link("b", "a"), entry("a", b"2")])  # of one file with two names, one is left
def test_a_spool_is_what_unpacking_gives(entries: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        there = Path(place)
        by_folder, by_spool = asyncio.run(both(tar_of(entries), there))
        # Unpacking also fails when it is to set the time of a folder that a later member has replaced.
        has_folders = any(member.isdir() for member, _ in entries)
        assert bool(by_folder) == bool(by_spool) or (has_folders and by_folder), (by_folder, by_spool)
        if by_folder:
            return
        root = os.open(there / "folder", os.O_PATH | os.O_DIRECTORY)
        try:
            with closing(SpoolFiles(there / "spool")) as spool:
                assert tree(spool) == tree(folder_files := FolderFiles(root))
                assert spool.names(b"") == folder_files.names(b"")
                for path in paths():
                    assert looked_up(spool, path) == looked_up(folder_files, path), path
        finally:
            os.close(root)


def spooled(tar: bytes, place: Path) -> SpoolFiles:
    assert asyncio.run(unpacked(tar, place, {"do": "spool", "target": str(place)})) == ""
    return SpoolFiles(place)


def test_a_hole_stays_one(tmp_path: Path) -> None:
    """GNU tar's sparse format: 8 MB, of which one block at the end of the first and the fourth is there."""
    (tmp_path / "holes").touch()
    with (tmp_path / "holes").open("r+b") as file:
        for at in (2 << 20, 7 << 20):
            file.seek(at)
            file.write(b"x" * 4096)
        file.truncate(8 << 20)
    tar = subprocess.run(["tar", "-C", tmp_path, "-cS", "holes"], capture_output=True, check=True).stdout
    assert len(tar) < 100_000
    with closing(spooled(tar, tmp_path / "spool")) as spool:
        node = spool.find(b"holes")
        with spool.open(node) as file:
            assert b"".join(pieces(file)) == (tmp_path / "holes").read_bytes()
        with spool.open(node) as file:
            assert file.digest() == hashlib.sha256((tmp_path / "holes").read_bytes()).digest()
    assert (tmp_path / "spool/data").stat().st_blocks * 512 < 1 << 20


def test_attributes_that_belong_to_the_file_are_kept(tmp_path: Path) -> None:
    member, content = entry("f", b"x")
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    member.pax_headers = {
        "SCHILY.xattr.user.note": "a b",
        "SCHILY.xattr.security.capability": capability.decode("utf-8", "surrogateescape"),
        "SCHILY.xattr.trusted.overlay.opaque": "y",
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member, io.BytesIO(content))
    with closing(spooled(buffer.getvalue(), tmp_path / "spool")) as spool, spool.open(spool.find(b"f")) as file:
        assert file.attributes() == {b"user.note": b"a b", b"security.capability": capability}


def test_folders_of_many_files_are_read_in_order(tmp_path: Path) -> None:
    """Names come in order, a folder before what is in it, and a folder's own names without all below it."""
    tar = tar_of([entry(f"{number % 10}/{number:04}", b"") for number in range(3000)])
    with closing(spooled(tar, tmp_path / "spool")) as spool:
        walked = [node.path for node in spool.walk(b"")]
        assert walked == sorted(walked)
        assert len(walked) == 3010
        assert spool.names(b"") == [b"%d" % number for number in range(10)]
        assert spool.names(b"7")[:2] == [b"0007", b"0017"]
