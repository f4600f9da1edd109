"""Layers unpacked: what a tar says is what lies there, whatever dialect says it."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import zstandard
from gantry_agent.engine.errors import Internal, InvalidArgument
from gantry_agent.engine.layers.unpack import Limits, Unpacker

from tests.engine.tars import entry, folder, hard_link, symlink, tar_of, tree, unpack
from tests.support.waiting import eventually_async

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="unpacking layers needs root"),
]


def _gzip_members(content: bytes) -> bytes:
    """A gzip stream of several members, as estargz and pigz -i make them, with padding after it."""
    third = len(content) // 3
    parts = (content[:third], content[third : 2 * third], content[2 * third :])
    return b"".join(gzip.compress(part) for part in parts) + bytes(100)


def _zstd_frames(content: bytes) -> bytes:
    half = len(content) // 2
    skippable = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"note"
    return skippable + zstandard.compress(content[:half]) + zstandard.compress(content[half:])


@pytest.mark.parametrize(
    "compress", [bytes, gzip.compress, _gzip_members, zstandard.compress, _zstd_frames, bz2.compress, lzma.compress]
)
async def test_it_reads_every_compression(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    content = os.urandom(300_000) + bytes(2_000_000)
    plain = tar_of([folder("a"), entry("a/b", content), entry("empty")])
    unpacked = await unpack(compress(plain), tmp_path / "out")
    assert unpacked.diff_id == f"sha256:{hashlib.sha256(plain).hexdigest()}"
    assert (unpacked.size, unpacked.entries) == (len(content), 3)
    assert (tmp_path / "out/a/b").read_bytes() == content


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
async def test_it_writes_every_kind_of_entry_with_its_owner_mode_and_time(tmp_path: Path, kind: int) -> None:
    members = [
        folder("d", mode=0o2750, uid=7, gid=8, mtime=1_000_000),
        entry("d/f", b"text", mode=0o4755, uid=1000, gid=1001, mtime=1_234_567),
        hard_link("d/h", "d/f"),
        symlink("d/s", "/nowhere"),
        entry("d/p", type=tarfile.FIFOTYPE, mode=0o640),
        entry("d/c", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        entry("d/b", type=tarfile.BLKTYPE, devmajor=7, devminor=200, mode=0o600),
    ]
    await unpack(tar_of(members, kind), tmp_path / "out")
    out = tmp_path / "out/d"
    top, file = out.stat(), (out / "f").stat()
    assert (stat.S_IMODE(top.st_mode), top.st_uid, top.st_gid, top.st_mtime) == (0o2750, 7, 8, 1_000_000)
    assert (stat.S_IMODE(file.st_mode), file.st_uid, file.st_gid) == (0o4755, 1000, 1001)
    assert (file.st_mtime, file.st_nlink) == (1_234_567, 2)
    assert os.readlink(out / "s") == "/nowhere"
    assert stat.S_ISFIFO((out / "p").stat().st_mode)
    assert (out / "p").stat().st_gid == 0, "the folder's set-group-id bit hands nothing on"
    assert (out / "c").stat().st_rdev == os.makedev(1, 3)
    assert (out / "b").stat().st_rdev == os.makedev(7, 200)


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
async def test_it_reads_long_names_and_large_numbers(tmp_path: Path, kind: int) -> None:
    long = "/".join(["part" * 30] * 20)
    members = [entry(long, b"deep", uid=3_000_000, gid=2**31), symlink("s", long), hard_link("h", long)]
    await unpack(tar_of(members, kind), tmp_path / "out")
    assert (tmp_path / "out" / long).read_bytes() == b"deep"
    assert (tmp_path / "out" / long).stat().st_gid == 2**31
    assert os.readlink(tmp_path / "out/s") == long
    assert (tmp_path / "out/h").stat().st_nlink == 2


async def test_it_sets_attributes_but_none_of_overlayfs(tmp_path: Path) -> None:
    member, content = entry("f", b"x", uid=5)
    member.pax_headers = {
        "SCHILY.xattr.user.note": "text",
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        "SCHILY.xattr.user.overlay.opaque": "y",
    }
    await unpack(tar_of([(member, content)]), tmp_path / "out")
    assert os.listxattr(tmp_path / "out/f") == ["user.note"]


SPARSE = [["--format=gnu"], *(["--format=pax", f"--sparse-version={each}"] for each in ("0.0", "0.1", "1.0"))]


@pytest.mark.parametrize("arguments", SPARSE, ids=" ".join)
async def test_it_reads_sparse_files(tmp_path: Path, arguments: list[str]) -> None:
    source = tmp_path / "in"
    source.mkdir()
    _write_holes(source / "holes")
    (source / "after").write_bytes(b"end")
    packed = _tar("-C", source, "-S", *arguments, "-cf", "-", "holes", "after")
    assert len(packed) < 2_000_000
    await unpack(packed, tmp_path / "out", chunk=1000)
    assert (tmp_path / "out/holes").read_bytes() == (source / "holes").read_bytes()
    assert (tmp_path / "out/holes").stat().st_blocks < 10_000
    assert (tmp_path / "out/after").read_bytes() == b"end"


def _write_holes(path: Path) -> None:
    with open(path, "wb") as file:
        for at in range(40):
            file.seek(at * 300_000)
            file.write(b"%d" % at * 50)
        file.truncate(20_000_000)


def _tar(*arguments: str | Path, given: bytes = b"") -> bytes:
    return subprocess.run(["tar", *arguments], check=True, capture_output=True, input=given).stdout


async def test_it_agrees_with_gnu_tar(tmp_path: Path) -> None:
    packed = _tar("-C", "/usr/share", "-cf", "-", "perl5", "bash-completion")
    (tmp_path / "gnu").mkdir()
    _tar("-C", tmp_path / "gnu", "-xpf", "-", given=packed)
    await unpack(packed, tmp_path / "out")
    assert tree(tmp_path / "out") == tree(tmp_path / "gnu")


async def test_a_later_entry_replaces_an_earlier_one(tmp_path: Path) -> None:
    members = [
        entry("a", b"1"), folder("a"), entry("a/x"), entry("a", b"2"),
        folder("b"), entry("b/x"), symlink("b", "a"),
        folder("c", mode=0o700), entry("c/kept"), folder("c", mode=0o755),
    ]  # fmt: skip
    await unpack(tar_of(members), tmp_path / "out")
    assert (tmp_path / "out/a").read_bytes() == b"2"
    assert (tmp_path / "out/b").is_symlink()
    assert (tmp_path / "out/c/kept").exists()
    assert stat.S_IMODE((tmp_path / "out/c").stat().st_mode) == 0o755


async def test_whiteouts_become_overlayfs_own(tmp_path: Path) -> None:
    members = [
        folder("d"), entry("d/.wh.gone"), entry("d/.wh..wh..opq"), entry(".wh..wh.plnk"),
        entry(".wh.again"), folder("again"), entry("again/new"),
        entry("kept", b"mine"), entry(".wh.kept"),
        folder("made"), entry(".wh.made"),
        entry(".wh.parent"), entry("parent/file", b"x"),
    ]  # fmt: skip
    await unpack(tar_of(members), tmp_path / "out")
    out = tmp_path / "out"
    gone = os.lstat(out / "d/gone")
    assert stat.S_ISCHR(gone.st_mode)
    assert gone.st_rdev == 0
    assert [name for name in ("d", "again", "made", "parent") if _opaque(out / name)] == [
        "d",
        "again",
        "made",
        "parent",
    ]
    assert (out / "kept").read_bytes() == b"mine", "a whiteout never hides what its own layer brings"
    assert sorted(os.listdir(out)) == ["again", "d", "kept", "made", "parent"]


def _opaque(path: Path) -> bool:
    return "trusted.overlay.opaque" in os.listxattr(path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda plain: b"garbage" * 200, "no tar archive"),
        (lambda plain: plain[:1000], "ends inside"),
        (lambda plain: gzip.compress(plain)[:-20], "too early"),
        (lambda plain: gzip.compress(plain)[:200] + b"\xff" * 60_000, "damaged|early"),
        (lambda plain: zstandard.compress(plain)[:40] + b"\xff" * 60_000, "damaged"),
        (lambda plain: zstandard.compress(plain)[:40], "too early"),
        (lambda plain: zstandard.compress(plain)[:-5], "too early"),
        (lambda plain: zstandard.compress(plain) + b"\x28\xb5", "too early"),
        (lambda plain: plain[:124] + b"-0000000001\0" + plain[136:], "checksum"),
    ],
)
async def test_damaged_archives_are_refused(tmp_path: Path, damage: Callable[[bytes], bytes], words: str) -> None:
    plain = tar_of([entry("a", os.urandom(50_000))])
    with pytest.raises(InvalidArgument, match=words):
        await unpack(damage(plain), tmp_path / "out")


async def test_an_empty_archive_is_an_empty_layer(tmp_path: Path) -> None:
    for content in (b"", bytes(1024), gzip.compress(bytes(10240))):
        assert (await unpack(content, tmp_path / "out")).entries == 0


async def test_the_limits_hold(tmp_path: Path) -> None:
    many = tar_of(entry(str(number)) for number in range(200))
    with pytest.raises(InvalidArgument, match="100 entries"):
        await unpack(many, tmp_path / "many", Limits(entries=100))
    with pytest.raises(InvalidArgument, match="1000 bytes"):
        await unpack(tar_of([entry("a", bytes(1001))]), tmp_path / "large", Limits(size=1000))
    with pytest.raises(InvalidArgument, match="times as many"):
        await unpack(gzip.compress(tar_of([entry("a", bytes(20_000_000))])), tmp_path / "bomb", Limits(slack=1 << 20))
    for name in ("x/" * 600 + "y", "/".join(["n" * 200] * 30)):
        with pytest.raises(InvalidArgument, match="too deep"):
            await unpack(tar_of([entry(name)]), tmp_path / "deep")
    header = bytearray(tar_of([entry("long", b"x")], tarfile.GNU_FORMAT))
    special = io.BytesIO()
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 2 << 20
    special.write(member.tobuf(tarfile.GNU_FORMAT) + b"n" * (2 << 20) + bytes(header))
    with pytest.raises(InvalidArgument, match="extension header"):
        await unpack(special.getvalue(), tmp_path / "special")


async def test_a_caller_that_gives_up_leaves_no_process(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        await _give_up(tmp_path)
    assert not _workers(tmp_path)


def _root_of(process: psutil.Process) -> str:
    try:
        return os.readlink(f"/proc/{process.pid}/root")
    except OSError:
        return ""


async def _give_up(target: Path) -> None:
    async with Unpacker(target) as unpacker:
        await unpacker.write(tar_of([entry("a", bytes(10_000))])[:5000])
        raise RuntimeError


async def test_workers_start_again_after_their_nursery_died(tmp_path: Path) -> None:
    for number in range(3):
        await unpack(tar_of([entry("a")]), tmp_path / str(number))
        assert (tmp_path / str(number) / "a").is_file()
        [nursery] = [each for each in psutil.Process().children() if "nursery" in " ".join(each.cmdline())]
        nursery.kill()


async def test_a_worker_that_dies_is_told(tmp_path: Path) -> None:
    async with Unpacker(tmp_path) as unpacker:
        await unpacker.write(tar_of([entry("a", bytes(10_000))])[:5000])
        await eventually_async(lambda: _workers(tmp_path))
        _workers(tmp_path)[0].kill()
        with pytest.raises(Internal, match="without a report"):
            await unpacker.finish()


def _workers(root: Path) -> list[psutil.Process]:
    return [each for each in psutil.process_iter() if _root_of(each) == str(root)]
