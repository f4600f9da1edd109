"""The recorder on its event loop: what it takes, when it writes, and what it does about a disk that fails."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from containers.models import Ending
from containers.recordings import actions
from containers.recordings import keeping as keeping_module
from containers.recordings import recorder as module
from containers.recordings.cast import Event, header
from containers.recordings.files import CastFile, held, is_wanted, is_written
from containers.recordings.keeping import Keeping
from containers.recordings.recorder import Recorder, resume
from tests.recordings.casts import read
from tests.support.waiting import eventually_async

FIRST = header(columns=80, rows=24, started=1000.5, shell="sh", title="t", about={})


class Told(list[tuple[bool, str]]):
    def __call__(self, is_full: bool, words: str) -> None:
        self.append((is_full, words))


@pytest.fixture
def told() -> Told:
    return Told()


async def begin(folder: Path, told: Told) -> Recorder:
    return Recorder(CastFile.create(folder / "2026-11/a.cast", FIRST, 1000.5, 0), told)


async def test_what_it_was_given_is_on_disk_soon_without_an_end(folder: Path, told: Told) -> None:
    recorder = await begin(folder, told)
    recorder.output(0, b"hello ")
    recorder.resized(100, 30)
    recorder.output(6, b"world")
    await eventually_async(lambda: b"world" in recorder.file.cast.read_bytes())
    assert read(recorder.file.cast.read_bytes()).of("r") == ["100x30"]
    await recorder.release()
    assert told == []


async def test_output_that_comes_again_is_recorded_once_and_a_gap_is_marked(folder: Path, told: Told) -> None:
    recorder = await begin(folder, told)
    recorder.output(0, b"0123456789")
    recorder.output(4, b"456789ab")
    recorder.output(0, b"0123")
    await recorder.release()
    again = Recorder(await resume(folder / "2026-11/a.cast"), told)
    again.output(2, b"23456789abcd")
    again.output(20, b"z")
    again.resized(90, 30)
    assert await again.seal() == (folder / "2026-11/a.cast").stat().st_size
    found = read((folder / "2026-11/a.cast").read_bytes())
    assert found.output == "0123456789abcdz"
    assert found.of("m") == ["6 bytes of output were not kept"]


async def test_it_waits_for_whoever_writes_to_let_go(folder: Path, told: Told) -> None:
    first = await begin(folder, told)
    first.output(0, b"one ")
    coming = asyncio.create_task(resume(folder / "2026-11/a.cast"))
    await asyncio.sleep(0)
    await first.release()
    second = Recorder(await coming, told)
    second.output(4, b"two")
    await second.seal()
    assert read((folder / "2026-11/a.cast").read_bytes()).output == "one two"


async def test_of_sizes_in_a_row_the_last_is_recorded(folder: Path, told: Told) -> None:
    recorder = await begin(folder, told)
    for rows in range(1, 500):
        recorder.resized(100, rows)
    recorder.output(0, b"hello")
    recorder.resized(90, 30)
    await recorder.seal()
    assert read(recorder.file.cast.read_bytes()).of("r") == ["100x499", "90x30"]


async def test_whoever_writes_sees_who_waits_until_it_has_it(folder: Path, told: Told) -> None:
    first = await begin(folder, told)
    cast = first.file.cast
    coming = asyncio.create_task(resume(cast))
    await eventually_async(lambda: is_wanted(cast))
    await first.release()
    second = Recorder(await coming, told)
    assert not is_wanted(cast)
    again = asyncio.create_task(resume(cast))
    await eventually_async(lambda: is_wanted(cast))
    again.cancel()
    with pytest.raises(asyncio.CancelledError):
        await again
    assert not is_wanted(cast)
    await second.release()


async def test_a_flood_ends_at_the_limit_and_the_cast_says_so(folder: Path, told: Told, settings: Any) -> None:
    settings.RECORDINGS_MOST = 1_000_000
    recorder = await begin(folder, told)
    position = 0
    for _ in range(400):
        recorder.output(position, b"y\r\n" * 4096)
        position += 3 * 4096
        await recorder.room()
    await eventually_async(lambda: bool(told))
    assert told[0][0] is True
    found = read(recorder.file.cast.read_bytes())
    assert recorder.file.cast.stat().st_size < 1_001_000
    assert "reached the limit of 1 MB" in found.of("m")[-1]
    recorder.output(position, b"more")
    await recorder.release()
    assert await recorder.seal() == recorder.file.cast.stat().st_size
    assert len(told) == 1


async def test_a_full_disk_is_told_once_and_what_was_written_stays(
    folder: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = await begin(folder, told)
    recorder.output(0, b"kept")
    await eventually_async(lambda: b"kept" in recorder.file.cast.read_bytes())
    real = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if b"lost" in data:
            raise OSError(28, "No space left on device")
        return real(descriptor, data, offset)

    monkeypatch.setattr("os.pwrite", full)
    recorder.output(4, b"lost")
    await eventually_async(lambda: bool(told))
    assert told == [(False, "No space left on device")]
    found = read(recorder.file.cast.read_bytes())
    assert found.output == "kept"
    assert "No space left on device" in found.of("m")[-1]


async def test_a_disk_that_stands_still_is_given_up_and_closed_when_it_moves_again(
    folder: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALL_SECONDS", 0.05)
    recorder = await begin(folder, told)
    gate = threading.Event()
    real = CastFile.append

    def slow(self: CastFile, events: list[Event], position: int) -> None:
        gate.wait(20)
        real(self, events, position)

    monkeypatch.setattr(CastFile, "append", slow)
    position = 0
    while not told:
        recorder.output(position, b"z" * 65536)
        position += 65536
        await recorder.room()
    assert told[0][0] is False
    await recorder.release()  # does not wait for the disk
    gate.set()
    await eventually_async(lambda: not recorder.file.cast.with_suffix(".mark").exists())
    assert read(recorder.file.cast.read_bytes()).of("m")[-1].endswith("the disk stood still")


async def test_whoever_is_cancelled_while_it_comes_by_a_file_lets_go_of_it(
    folder: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await begin(folder, told)).release()
    cast = folder / "2026-11/a.cast"
    gate, inside = threading.Event(), threading.Event()
    real = CastFile.resume

    def slow(path: Path) -> CastFile:
        inside.set()
        gate.wait(20)
        return real(path)

    monkeypatch.setattr(CastFile, "resume", slow)
    coming = asyncio.create_task(resume(cast))
    await eventually_async(inside.is_set)
    coming.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await coming
    assert not is_written(cast)


class Row:
    """Stands for the row: nothing here reaches the database."""

    is_live = True


@pytest.mark.parametrize("how", ["leave", "end"])
async def test_a_consumer_that_is_cancelled_lets_go_first(
    folder: Path, told: Told, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A browser whose socket closes while its shell is being left: the next page waits for the recording."""

    async def nothing(*_: object, **__: object) -> None:
        return None

    monkeypatch.setattr(keeping_module, "in_thread", nothing)
    keeping = Keeping(nothing, nothing, nothing)
    keeping.row = Row()  # type: ignore[assignment]
    keeping.recorder = await begin(folder, told)
    keeping.output(0, b"hello")
    leaving = asyncio.create_task(keeping.leave(is_gone=True) if how == "leave" else keeping.end(Ending.EXITED))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    cast = folder / "2026-11/a.cast"
    assert not is_written(cast)
    assert read(cast.read_bytes()).output == "hello"


@pytest.mark.parametrize("how", ["leave", "end"])
async def test_last_lines_that_are_too_much_are_told_with_the_size_and_end_no_shell(
    folder: Path, told: Told, monkeypatch: pytest.MonkeyPatch, settings: Any, how: str
) -> None:
    settings.RECORDINGS_MOST = len(FIRST) + 60
    settings.RECORDINGS_REQUIRED = True
    ends: list[actions.Told] = []

    async def in_thread(function: object, *args: Any) -> None:
        if function is actions.end:
            ends.append(args[1])

    async def nothing(*_: object, **__: object) -> None:
        return None

    async def forbid(words: str) -> None:
        raise AssertionError(f"a shell that is over, or left, is not closed: {words}")

    monkeypatch.setattr(keeping_module, "in_thread", in_thread)
    keeping = Keeping(nothing, nothing, forbid)
    keeping.row = Row()  # type: ignore[assignment]
    keeping._record(await held(CastFile.create, folder / "2026-11/a.cast", FIRST, 1000.5, 0))
    keeping.output(0, b"x" * 100)
    await (keeping.leave(is_gone=True) if how == "leave" else keeping.end(Ending.EXITED, 0))
    await eventually_async(lambda: not keeping._tasks)
    assert [(end.ending, end.size) for end in ends] == [(Ending.FULL, (folder / "2026-11/a.cast").stat().st_size)]
