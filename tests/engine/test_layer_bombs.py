"""Layers made to fill a disk or a memory are stopped, cheaply."""

import asyncio
import contextlib
import gzip
import io
import os
import re
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import zstandard
from gantry_agent.engine.errors import InvalidArgument
from gantry_agent.engine.layers.unpack import Limits, Unpacker

from tests.engine.tars import entry, tar_of, unpack

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="unpacking layers needs root"),
]

LIMITS = Limits(size=32 << 30, entries=20_000, slack=64 << 20)
MOST_MEMORY = 200 << 20  # bytes


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)


def _zeros(size: int) -> Iterator[bytes]:
    yield _header("zeros", size)
    for _ in range(size >> 20):
        yield bytes(1 << 20)


def _gzip_bomb(size: int) -> Iterator[bytes]:
    compressor = zlib.compressobj(9, wbits=31)
    for chunk in _zeros(size):
        if out := compressor.compress(chunk):
            yield out
    yield compressor.flush()


def _zstd_bomb(size: int) -> Iterator[bytes]:
    compressor = zstandard.ZstdCompressor(level=19).compressobj()
    for chunk in _zeros(size):
        if out := compressor.compress(chunk):
            yield out
    yield compressor.flush()


def _many_entries(count: int) -> Iterator[bytes]:
    compressor = zlib.compressobj(1, wbits=31)
    for number in range(count):
        if out := compressor.compress(_header(f"d{number % 300}/f{number}", 0)):
            yield out
    yield compressor.flush()


def _wide_window() -> Iterator[bytes]:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=31)
    yield zstandard.ZstdCompressor(compression_params=parameters).compressobj().compress(tar_of([entry("a")])) or b""
    yield bytes.fromhex("28b52ffd00a8") + bytes(100)


def _many_folders() -> Iterator[bytes]:
    out = io.BytesIO()
    with gzip.open(out, "wb", compresslevel=1) as file:
        for number in range(LIMITS.entries + 1):
            member = tarfile.TarInfo("long" * 20 + str(number))
            member.type = tarfile.DIRTYPE
            file.write(member.tobuf(tarfile.GNU_FORMAT))
    yield out.getvalue()


@pytest.mark.parametrize(
    ("bomb", "words"),
    [
        (lambda: _gzip_bomb(10 << 30), "times as many"),
        (lambda: _zstd_bomb(10 << 30), "times as many"),
        (lambda: _many_entries(10_000_000), "20000 entries|times as many"),
        (_many_folders, "20000 entries"),
        (_wide_window, "damaged"),
        (lambda: iter([_header("large", 2 << 40)]), "bytes"),
        (lambda: iter([gzip.compress(_header("large", 1 << 62))]), "bytes"),
    ],
    ids=["gzip", "zstd", "entries", "folders", "window", "size", "huge"],
)
async def test_a_bomb_is_stopped(tmp_path: Path, bomb: object, words: str) -> None:
    seen: list[int] = []
    with pytest.raises(InvalidArgument, match=words):
        await _feed(tmp_path, bomb(), seen)  # type: ignore[operator]
    assert _on_disk(tmp_path) <= 2 * LIMITS.slack
    assert max(seen, default=0) < MOST_MEMORY


async def _feed(target: Path, chunks: Iterator[bytes], seen: list[int]) -> None:
    """Unpack; `seen` gets the highest memory the worker had, again and again."""
    async with Unpacker(target, LIMITS) as unpacker:
        worker: psutil.Process | None = None
        for chunk in chunks:
            await unpacker.write(chunk)
            worker = worker or _worker_in(target)
            seen.append(_highest_memory(worker))
        await unpacker.finish()


def _worker_in(root: Path) -> psutil.Process | None:
    for each in psutil.Process().children(recursive=True):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{each.pid}/root") == str(root):
                return each
    return None


def _highest_memory(worker: psutil.Process | None) -> int:
    """Bytes; 0 when it is not there (any more)."""
    with contextlib.suppress(OSError):
        if worker:
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{worker.pid}/status").read_text())
            return int(found[1]) << 10 if found else 0
    return 0


def _on_disk(folder: Path) -> int:
    told = subprocess.run(["du", "-s", "--apparent-size", "-B1", folder], check=True, capture_output=True, text=True)
    blocks = int(told.stdout.split()[0])
    return blocks - 4096 * sum(len(folders) + 1 for _, folders, _ in os.walk(folder))


def _sparse(folder: Path) -> bytes:
    with open(folder / "sparse", "wb") as file:
        file.truncate(50 << 30)
    return subprocess.run(["tar", "-C", folder, "-S", "-cf", "-", "sparse"], check=True, capture_output=True).stdout


async def test_sparse_files_count_as_long_as_they_look(tmp_path: Path) -> None:
    packed = await asyncio.to_thread(_sparse, tmp_path)
    with pytest.raises(InvalidArgument, match="bytes"):
        await unpack(packed, tmp_path / "out", LIMITS)


async def test_a_bomb_in_a_bomb_is_a_file(tmp_path: Path) -> None:
    inner = gzip.compress(gzip.compress(bytes(50 << 20)))
    await unpack(gzip.compress(tar_of([entry("inner.gz", inner)])), tmp_path / "out", LIMITS)
    assert (tmp_path / "out/inner.gz").read_bytes() == inner
