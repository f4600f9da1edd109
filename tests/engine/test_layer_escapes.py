"""Layers and archives made to get out of their root: nothing outside changes, whatever the tar says.

The corpus follows the rows "Layer tar escapes" and "cp and archive link races" of the threat list.
"""

import asyncio
import contextlib
import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gantry_agent.engine.errors import EngineError, InvalidArgument
from gantry_agent.engine.layers import archive
from gantry_agent.engine.layers.unpack import Limits

from tests.engine.tars import chunks_of, entry, folder, hard_link, symlink, tar_of, unpack

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="unpacking layers needs root"),
]

Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder beside the root whose every bit must stay as it is."""
    place = tmp_path / "outside"
    (place / "sub").mkdir(parents=True)
    (place / "canary").write_text("untouched")
    before = _whole(place)
    yield place
    assert _whole(place) == before


def _whole(top: Path) -> str:
    """A hash of names, kinds, owners, modes, times, link counts and content of a tree."""
    found = hashlib.sha256()
    for where, folders, files in os.walk(top):
        folders.sort()
        for name in (".", *sorted(folders + files)):
            path = os.path.join(where, name)
            status = os.lstat(path)
            facts = (path, status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_nlink)
            found.update(repr(facts).encode())
            if stat.S_ISREG(status.st_mode):
                found.update(Path(path).read_bytes())
    return found.hexdigest()


def _escapes(outside: Path) -> dict[str, Members]:
    there, up = str(outside), "../" * 20
    return {
        "dots": [entry(f"{up}{there}/canary", b"x")],
        "dots in the middle": [folder("a"), entry(f"a/{up}{there}/canary", b"x")],
        "dots at the end": [folder("a/../../outside", mode=0o777)],
        "absolute": [entry(f"{there}/canary", b"x"), folder(there, mode=0o777)],
        "link as parent": [symlink("l", there), entry("l/canary", b"x"), folder("l/sub", mode=0o700)],
        "relative link as parent": [symlink("l", f"{up}{there}"), entry("l/canary", b"x"), entry("l/new", b"x")],
        "link to a link": [symlink("a", "b"), symlink("b", there), entry("a/canary", b"x")],
        "file through a link": [symlink("canary", f"{there}/canary"), entry("canary", b"x")],
        "folder on a link": [symlink("l", there), folder("l", mode=0o700, uid=99), entry("l/f")],
        "hard link out": [hard_link("h", f"{up}{there}/canary"), entry("h", b"x")],
        "absolute hard link": [hard_link("h", f"{there}/canary"), entry("h", b"x")],
        "hard link through a link": [symlink("l", there), hard_link("h", "l/canary"), entry("h", b"x", mode=0o777)],
        "whiteout through a link": [symlink("l", there), entry("l/.wh.canary"), entry("l/.wh.sub")],
        "opaque through a link": [symlink("l", there), entry("l/.wh..wh..opq")],
        "whiteout of the parent": [folder("a"), entry("a/.wh..."), entry(".wh..."), entry(".wh..")],
        "whiteout of nothing": [entry("a/.wh.")],
        "device as a way": [entry("d", type=tarfile.CHRTYPE, devmajor=1, devminor=1), entry("d", b"x")],
        "link with a trailing slash": [symlink("l", there), entry("l/", b"")],
        "proc": [symlink("l", "/proc/self/root"), entry(f"l{there}/canary", b"x")],
        "cwd": [symlink("l", "/proc/self/cwd"), entry("l/../outside/canary", b"x")],
        "long pax path": [symlink("x" * 200, there), entry("x" * 200 + "/canary", b"x")],
        "a link replaced by a folder's time": [folder("t", mtime=1), symlink("t", there)],
    }


NAMES = sorted(_escapes(Path("/")))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
async def test_a_layer_stays_inside(tmp_path: Path, outside: Path, name: str, kind: int) -> None:
    with contextlib.suppress(EngineError):
        await unpack(tar_of(_escapes(outside)[name], kind), tmp_path / "root")


@pytest.mark.parametrize("name", NAMES)
async def test_an_archive_stays_inside(tmp_path: Path, outside: Path, name: str) -> None:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (root / "in/l").symlink_to(outside)
    (root / "in/canary").symlink_to(outside / "canary")
    (root / "l2").symlink_to(outside)
    for path in ("/", "/in", "/l2", "/in/l"):
        with contextlib.suppress(EngineError):
            await archive.write_path(
                {"kind": "folder", "path": str(root)}, path, chunks_of(tar_of(_escapes(outside)[name])), limits=Limits()
            )


async def test_the_second_layer_finds_the_link_of_the_first_harmless(tmp_path: Path, outside: Path) -> None:
    root = tmp_path / "root"
    await unpack(tar_of([symlink("l", str(outside)), symlink("canary", str(outside / "canary"))]), root)
    for member in (entry("l/canary", b"x"), entry("canary", b"x"), entry("l/.wh.sub"), entry("l/.wh..wh..opq")):
        with contextlib.suppress(EngineError):
            await unpack(tar_of([member]), root)


async def test_reading_follows_no_link_out(tmp_path: Path, outside: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "l").symlink_to(outside)
    (root / "f").symlink_to(outside / "canary")
    (root / "up").symlink_to("../outside")
    view = {"kind": "folder", "path": str(root)}
    for path in ("/l/canary", "/l/", "/l/.", "/up/canary", "/up/", "/f/", "/../outside/canary"):
        with pytest.raises(EngineError):
            await _read(view, path)
    assert b"untouched" not in await _read(view, "/")
    assert b"untouched" not in await _read(view, "/f")


async def _read(view: dict[str, Any], path: str) -> bytes:
    return b"".join([chunk async for chunk in archive.read_path(view, path)])


async def test_a_folder_that_turns_into_a_link_is_never_left(tmp_path: Path, outside: Path) -> None:
    """As the swapping container: `d` is a folder one moment, a link to the host's folder the next."""
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (root / "d/canary").write_text("inside")
    (root / "link").symlink_to(outside)
    view = {"kind": "folder", "path": str(root)}
    swapper = await asyncio.create_subprocess_exec(
        "python3", "-c", SWAPPER, str(root / "d"), str(root / "link"), stdout=asyncio.subprocess.DEVNULL
    )
    content = tar_of([entry("canary", b"inside"), entry("d/canary", b"inside")])
    try:
        for _ in range(25):
            for path in ("/d/canary", "/d/", "/"):
                with contextlib.suppress(EngineError):
                    assert b"untouched" not in await _read(view, path)
            for path in ("/d", "/"):
                with contextlib.suppress(EngineError):
                    await archive.write_path(view, path, chunks_of(content), limits=Limits())
    finally:
        swapper.kill()
        await swapper.wait()


SWAPPER = """
import ctypes, sys
libc = ctypes.CDLL(None)
one, two = (each.encode() for each in sys.argv[1:])
while True:
    libc.renameat2(-100, one, -100, two, 2)
"""


async def test_no_attribute_of_the_overlay_comes_from_an_archive(tmp_path: Path) -> None:
    member, content = folder("d")
    member.pax_headers = {"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.trusted.overlay.metacopy": ""}
    await unpack(tar_of([(member, content)]), tmp_path / "root")
    assert os.listxattr(tmp_path / "root/d") == []


async def test_an_owner_is_one_of_the_containers_own(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nann:x:1234:100::/:/bin/sh\n")
    (root / "etc/group").write_text("users:x:100:\nstaff:x:50:\n")
    view = {"kind": "folder", "path": str(root)}
    for user, owner in (("ann", (1234, 100)), ("ann:staff", (1234, 50)), ("77", (77, 0)), ("77:88", (77, 88))):
        await archive.write_path(view, "/", chunks_of(tar_of([entry("f", uid=5)])), limits=Limits(), user=user)
        status = (root / "f").stat()
        assert (status.st_uid, status.st_gid) == owner
    with pytest.raises(InvalidArgument, match="nobody-here"):
        await archive.write_path(view, "/", chunks_of(tar_of([entry("f")])), limits=Limits(), user="nobody-here")
