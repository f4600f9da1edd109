"""Reading conmon's logs: nothing is lost, doubled or mixed up, wherever lines break and files rotate."""

import asyncio
import struct
import time
from pathlib import Path

import pytest
from gantry_agent.engine.containers import log_files, logs
from gantry_agent.engine.containers.life import Life, Lives
from gantry_agent.engine.containers.log_files import Cursor, hold, rotate, rotated
from gantry_agent.engine.containers.log_records import Renderer, Wanted, stamp
from gantry_agent.engine.containers.model import Container, Status
from gantry_agent.engine.containers.watching import Watcher
from gantry_agent.engine.events import Events
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.waiting import eventually_async

BEGIN = 1_700_000_000_000_000_000
STREAMS = {1: b"stdout", 2: b"stderr"}


class Conmon:
    """Writes a log as conmon 2.1 does: each read of a stream becomes whole lines and at most one unfinished one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("ab", buffering=0)
        self.written = {1: b"", 2: b""}
        self.at = BEGIN

    def write(self, stream: int, data: bytes) -> None:
        self.at += 1_000_000
        self.written[stream] += data
        *whole, rest = data.split(b"\n")
        records = [(b"F", line) for line in whole] + ([(b"P", rest)] if rest else [])
        head = stamp(self.at) + b"+00:00 " + STREAMS[stream]
        self.file.write(b"".join(head + b" " + tag + b" " + text + b"\n" for tag, text in records))

    def rotate(self, keep: int = 99) -> None:
        rotate(self.path, keep)
        self.file.close()
        fresh = self.path.with_suffix(".tmp")
        self.file = fresh.open("wb", buffering=0)
        fresh.rename(self.path)

    def close(self) -> None:
        self.file.close()


@pytest.fixture
def conmon(tmp_path):
    writer = Conmon(tmp_path / "ctr.log")
    yield writer
    writer.close()


def frames(data: bytes) -> list[tuple[int, bytes]]:
    found, place = [], 0
    while place < len(data):
        stream, size = struct.unpack_from(">BxxxL", data, place)
        found.append((stream, data[place + 8 : place + 8 + size]))
        place += 8 + size
    assert place == len(data)
    return found


def of(data: bytes, stream: int) -> bytes:
    return b"".join(text for number, text in frames(data) if number == stream)


async def reading(path: Path, wanted: Wanted, *, tail=None, life=None, watcher=None):
    cursor = await logs.place(path, wanted, tail=tail, ends_now=life is None)
    async for data in logs.read(cursor, wanted, life=life, watcher=watcher):
        yield data


async def whole(path: Path, wanted: Wanted, **how) -> bytes:
    return b"".join([data async for data in reading(path, wanted, **how)])


def life_of(container: Container, events: Events) -> Life:
    return Life(container, waits=False, get=lambda _: container)


def running() -> Container:
    container = Container("c" * 64, "c", "", "", 0, {}, {})
    container.state.status = Status.RUNNING
    return container


texts = st.binary(max_size=30) | st.sampled_from(
    [b"\n", b"a\n", b"a\r\n\nb", b"x" * 3000, b"\n\n", b"y" * 3000 + b"\n"]
)
steps = st.lists(st.tuples(st.sampled_from([1, 2]), texts) | st.just("rotate"), max_size=30)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, joins=st.booleans())
def test_each_stream_reads_as_it_was_written(tmp_path_factory, steps, joins):
    path = tmp_path_factory.mktemp("log") / "ctr.log"
    conmon = Conmon(path)
    cursor, renderer, out = Cursor(path), Renderer(Wanted(joins=joins)), b""
    for step in steps:
        if step == "rotate":
            conmon.rotate()
        else:
            conmon.write(*step)
        if len(out) % 3:  # sometimes follow at once, sometimes lag behind several files
            out += renderer.feed(cursor.read(4096 * 3))
    while records := cursor.read():
        out += renderer.feed(records)
    out += renderer.end()
    cursor.close()
    conmon.close()
    assert {1: of(out, 1), 2: of(out, 2)} == conmon.written


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, count=st.integers(0, 12))
def test_tail_gives_the_last_lines(tmp_path_factory, steps, count):
    path = tmp_path_factory.mktemp("log") / "ctr.log"
    conmon = Conmon(path)
    lines: list[tuple[int, bytes]] = []  # in the order in which they end
    begun: dict[int, bytes] = {}  # in the order in which what is unfinished now was written last
    for step in steps:
        if step == "rotate":
            conmon.rotate()
            continue
        conmon.write(*step)
        if not step[1]:
            continue
        *ended, rest = (begun.pop(step[0], b"") + step[1]).split(b"\n")
        lines += [(step[0], line + b"\n") for line in ended]
        if rest:
            begun[step[0]] = rest
    conmon.close()
    lines += begun.items()
    out = asyncio.run(whole(path, Wanted(), tail=count))
    last = lines[len(lines) - min(count, len(lines)) :]
    for stream in (1, 2):
        assert of(out, stream) == b"".join(line for number, line in last if number == stream)


async def test_an_unfinished_line_is_the_last_one_whatever_came_after_it(conmon):
    conmon.write(1, b"a\nb")
    conmon.write(2, b"c\n" * 100)
    for count, expected in ((1, [(1, b"b")]), (2, [(2, b"c\n"), (1, b"b")])):
        assert frames(await whole(conmon.path, Wanted(), tail=count)) == expected


async def test_a_line_in_pieces_is_whole_though_others_ended_in_its_middle(conmon):
    conmon.write(1, b"before\nbegin ")
    conmon.write(2, b"other\n")
    conmon.write(1, b"end\n")
    assert frames(await whole(conmon.path, Wanted(), tail=1)) == [(1, b"begin end\n")]


async def test_a_line_written_in_pieces_is_one_frame(conmon):
    for piece in (b"a", b"b", b"c\nd"):
        conmon.write(1, piece)
        conmon.write(2, b"e\n")
    out = await whole(conmon.path, Wanted(stderr=False, timestamps=True))
    assert frames(out) == [(1, stamp(BEGIN + 1_000_000) + b"Z abc\n"), (1, stamp(BEGIN + 5_000_000) + b"Z d")]


async def test_a_line_without_end_is_given_in_pieces(conmon):
    for _ in range(9):
        conmon.write(1, b"x" * 8000)
    found = frames(await whole(conmon.path, Wanted()))
    assert max(len(text) for _, text in found) <= 25_000
    assert sum(len(text) for _, text in found) == 72_000


async def test_since_and_until_are_inclusive(conmon):
    for number in range(50_000):
        conmon.write(1, b"%d\n" % number)
    wanted = Wanted(is_framed=False, since=stamp(BEGIN + 40_001 * 1_000_000), until=stamp(BEGIN + 40_003 * 1_000_000))
    assert await whole(conmon.path, wanted) == b"40000\n40001\n40002\n"


async def test_another_time_zone_is_told_in_utc(tmp_path):
    path = tmp_path / "ctr.log"
    path.write_bytes(b"2026-11-20T23:30:00.000000001+01:00 stdout F a\n")
    out = await whole(path, Wanted(timestamps=True, is_framed=False, since=b"2026-11-20T22:29:59.000000000"))
    assert out == b"2026-11-20T22:30:00.000000001Z a\n"


async def test_a_torn_record_is_passed_over(tmp_path):
    path = tmp_path / "ctr.log"
    path.write_bytes(b"garbage\n\n2026-11-20T23:30:00.000000001+00:00 stdout F a\n2026-11-20T23:30:00.0000")
    assert await whole(path, Wanted(is_framed=False)) == b"a\n"


async def test_no_log_is_an_empty_one(tmp_path):
    assert await whole(tmp_path / "ctr.log", Wanted()) == b""


async def test_reading_ends_at_what_was_there_though_more_is_written(conmon):
    conmon.write(1, b"a\n" * 100_000)
    seen = b""
    async for data in reading(conmon.path, Wanted(is_framed=False)):
        seen += data
        conmon.write(1, b"b\n" * 1000)
        if len(seen) > 200_000:
            break
    assert seen == b"a\n" * 100_000


async def test_following_survives_rotation_and_ends_at_death(conmon):
    container, watcher, events = running(), Watcher(), Events()
    life = life_of(container, events)
    seen: list[bytes] = []

    async def follow():
        async for data in reading(conmon.path, Wanted(is_framed=False), tail=0, life=life, watcher=watcher):
            seen.append(data)

    conmon.write(1, b"before\n")
    task = asyncio.create_task(follow())
    await eventually_async(lambda: watcher._folders, what="somebody follows")
    for number in range(500):
        conmon.write(1, b"%d\n" % number)
        if number % 100 == 50:
            conmon.rotate()
            await asyncio.sleep(0)
    conmon.write(1, b"end")
    container.state.status = Status.EXITED
    life.changed()
    async with asyncio.timeout(5):
        await task
    watcher.close()
    assert b"".join(seen) == b"".join(b"%d\n" % number for number in range(500)) + b"end"


async def test_following_ends_at_until(conmon):
    container, watcher = running(), Watcher()
    life = life_of(container, Events())
    wanted = Wanted(is_framed=False, until=stamp(time.time_ns()))
    conmon.write(1, b"a\n")
    async with asyncio.timeout(5):
        assert await whole(conmon.path, wanted, life=life, watcher=watcher) == b"a\n"
    watcher.close()


async def test_lives_tell_of_the_next_run():
    events, container = Events(), running()
    container.state.status = Status.EXITED
    lives = Lives(events, lambda _: container)
    runner = asyncio.create_task(lives.run())
    with lives.of(container, waits=True) as life:
        begun = asyncio.create_task(life.begin())
        await asyncio.sleep(0)
        assert not life.is_over()
        container.state.status = Status.RUNNING
        events.publish("container", "start", container.id)
        async with asyncio.timeout(5):
            await begun
            ended = asyncio.create_task(life.end())
            await asyncio.sleep(0)
            container.state.status, container.state.finished_at = Status.EXITED, 7
            events.publish("container", "die", container.id)
            await ended
    runner.cancel()


def test_a_slow_reader_keeps_what_is_rotated_away_and_removed(conmon):
    cursor, renderer = Cursor(conmon.path), Renderer(Wanted(is_framed=False))
    for number in range(6):
        conmon.write(1, b"%d\n" % number)
        hold(conmon.path)
        conmon.rotate(keep=1)
    conmon.write(1, b"last\n")
    cursor.hold()
    for path in conmon.path.parent.iterdir():
        path.unlink()
    out = b""
    while records := cursor.read():
        out += renderer.feed(records)
    cursor.close()
    assert out == b"0\n1\n2\n3\n4\n5\nlast\n"


def test_a_reader_too_far_behind_is_cut_instead_of_missing_something(conmon, monkeypatch):
    monkeypatch.setattr(log_files, "HOLD_LIMIT", 1000)
    cursor = Cursor(conmon.path)
    for _ in range(4):
        conmon.write(1, b"x" * 500)
        hold(conmon.path)
        conmon.rotate(keep=1)
    with pytest.raises(ConnectionResetError):
        cursor.read()
    cursor.close()


def test_a_rotation_cut_short_loses_and_doubles_nothing(conmon):
    """The engine died before it told conmon, which writes on to the file that has two names."""
    conmon.write(1, b"a\n")
    rotate(conmon.path, 2)
    conmon.write(1, b"b\n")
    cursor = Cursor(conmon.path)
    assert Renderer(Wanted(is_framed=False)).feed(cursor.read()) == b"a\nb\n"
    assert cursor.read() == b""
    rotate(conmon.path, 2)
    assert [number for number, _ in rotated(conmon.path)] == [1]
    conmon.write(1, b"c\n")
    conmon.rotate()
    conmon.write(1, b"d\n")
    assert Renderer(Wanted(is_framed=False)).feed(cursor.read()) == b"c\n"
    assert Renderer(Wanted(is_framed=False)).feed(cursor.read()) == b"d\n"
    cursor.close()


def test_rotation_keeps_the_newest(conmon):
    for number in range(6):
        conmon.write(1, b"%d\n" % number)
        conmon.rotate(keep=2)
    assert [number for number, _ in rotated(conmon.path)] == [5, 6]
    assert asyncio.run(whole(conmon.path, Wanted(is_framed=False))) == b"4\n5\n"
