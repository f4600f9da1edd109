"""The lines of a cast, the file they go to, and who may write it."""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containers.recordings import files
from containers.recordings.cast import Event, Writer, header
from containers.recordings.files import Busy, CastFile, Full, Mark, Turn, WatchFile
from tests.recordings.casts import read

FIRST = header(columns=80, rows=24, started=1000.5, shell="/bin/sh", title="ada in web", about={"host": "h"})


def begin(folder: Path, name: str = "2026-11/a.cast") -> CastFile:
    return CastFile.create(folder / name, FIRST, 1000.5, 0)


def test_a_header_says_size_shell_and_where() -> None:
    found = read(FIRST).header
    assert (found["width"], found["height"], found["timestamp"]) == (80, 24, 1000)
    assert found["env"] == {"SHELL": "/bin/sh", "TERM": "xterm-256color"}
    assert found["gantry"] == {"host": "h"}


@given(text=st.text(min_size=1), cuts=st.lists(st.integers(0, 200), max_size=8), apart=st.floats(0, 1))
def test_output_cut_anywhere_comes_out_whole(text: str, cuts: list[int], apart: float) -> None:
    """Also amid a character, and over several writes."""
    data = text.encode("utf-8", "surrogatepass")
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    writer = Writer(1000.0)
    lines = FIRST
    for number, (start, end) in enumerate(pairwise(places)):
        lines += writer.lines([Event(1000.0 + number * apart, "o", data[start:end])])
    lines += writer.rest()
    assert read(lines).output == data.decode("utf-8", "replace")


def test_bytes_that_are_no_text_and_control_characters_stay_one_line_each() -> None:
    writer = Writer(1000.0)
    lines = FIRST + writer.lines(
        [Event(1001.0, "o", b"\xff\xfe\x00\x1b]52;c;eA==\x07\r\n\xe2\x80\xa8"), Event(1002.0, "i", "x\n")]
    )
    found = read(lines)
    assert found.output == "\ufffd\ufffd\0\x1b]52;c;eA==\x07\r\n\u2028"
    assert found.of("i") == ["x\n"]


def test_output_of_one_moment_is_one_event_and_order_is_kept() -> None:
    writer = Writer(1000.0)
    events = [
        Event(1001.0, "o", b"a"),
        Event(1001.01, "o", b"b"),
        Event(1001.011, "r", "90x30"),
        Event(1001.2, "o", b"c"),
    ]
    assert read(FIRST + writer.lines(events)).events == [(1.0, "o", "ab"), (1.011, "r", "90x30"), (1.2, "o", "c")]


def test_a_clock_that_is_put_back_does_not_turn_the_cast_back() -> None:
    writer = Writer(1000.0)
    lines = FIRST + writer.lines([Event(1005.0, "o", b"a"), Event(900.0, "m", "b"), Event(901.0, "o", b"c")])
    assert [at for at, _, _ in read(lines).events] == [5.0, 5.0, 5.0]


def test_only_its_owner_may_read_it(folder: Path) -> None:
    file = begin(folder)
    assert file.cast.stat().st_mode & 0o777 == 0o600
    assert file.cast.parent.stat().st_mode & 0o777 == 0o700
    assert files.mark_of(file.cast).stat().st_mode & 0o777 == 0o600
    file.release()


def test_another_process_goes_on_where_the_first_left_off(folder: Path) -> None:
    file = begin(folder)
    file.append([Event(1001.5, "o", "ä".encode()[:1])], 1)
    assert Mark.read(file.cast) == Mark(0, len(FIRST), 1.0, 1000.5), "half a character is not in it yet"
    file.append([Event(1002.5, "o", "ä".encode()[1:] + b"b")], 3)
    file.release()
    again = CastFile.resume(file.cast)
    assert (again.position, again.size) == (3, file.size)
    again.append([Event(1000.6, "o", b"c")], 4)
    again.seal("the end", 1004.0)
    found = read(file.cast.read_bytes())
    assert found.events == [(2.0, "o", "äb"), (2.0, "o", "c"), (3.5, "m", "the end")]
    assert Mark.read(file.cast) is None
    with pytest.raises(FileNotFoundError):
        CastFile.resume(file.cast)


def test_one_writes_at_a_time(folder: Path) -> None:
    file = begin(folder)
    assert files.is_written(file.cast)
    with pytest.raises(Busy):
        CastFile.resume(file.cast)
    with pytest.raises(Busy):
        files.seal_left(file.cast)
    file.release()
    assert not files.is_written(file.cast)


def test_whoever_waits_is_seen_and_waits_alone(folder: Path) -> None:
    file = begin(folder)
    assert not files.is_wanted(file.cast)
    turn = Turn(file.cast)
    assert files.is_wanted(file.cast)
    with pytest.raises(Busy):
        Turn(file.cast)
    turn.release()
    turn.release()
    assert not files.is_wanted(file.cast)
    file.seal()
    assert not files.is_wanted(file.cast)
    with pytest.raises(FileNotFoundError):
        Turn(file.cast)


def test_one_that_cannot_begin_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise OSError(5, "Input/output error")

    gc.collect()  # what earlier tests left would be closed meanwhile
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr("os.pwrite", broken)
    with pytest.raises(OSError, match="Input/output"):
        begin(folder)
    assert list((folder / "2026-11").iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
import django; django.setup()
from django.conf import settings
settings.RECORDINGS_RESERVE = 0
from containers.recordings.cast import Event
from containers.recordings.files import CastFile
file = CastFile.create(Path({cast!r}), {first!r}, 1000.5, 0)
file.append([Event(1001.5, "o", b"kept")], 4)
os.pwrite(file.descriptor, b'[9.0, "o", "torn', file.size)   # killed between the lines and their mark
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_a_cast_that_can_be_closed(folder: Path) -> None:
    from tests.support.home import ROOT

    cast = folder / "2026-11/a.cast"
    code = KILLED.format(root=str(ROOT), cast=str(cast), first=FIRST)
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert not files.is_written(cast)
    assert read(files.read(cast, 0, files.complete_size(cast))).output == "kept", "a watcher reads whole lines only"
    mark = files.seal_left(cast)
    assert mark is not None
    assert (mark.position, mark.elapsed) == (4, 1.0)
    assert read(cast.read_bytes()).output == "kept"


def test_it_does_not_grow_beyond_its_limit(folder: Path, settings: Any) -> None:
    settings.RECORDINGS_MOST = len(FIRST) + 100
    file = begin(folder)
    file.append([Event(1001.5, "o", b"x" * 50)], 50)
    with pytest.raises(Full, match="limit"):
        file.append([Event(1001.5, "o", b"x" * 50)], 100)
    file.seal("cut here", 1002.0)
    found = read(file.cast.read_bytes())
    assert found.output == "x" * 50
    assert found.of("m") == ["cut here"]


def test_it_leaves_room_on_the_disk(folder: Path, settings: Any) -> None:
    file = begin(folder)
    settings.RECORDINGS_RESERVE = 2**62
    with pytest.raises(Full, match="disk"):
        file.append([Event(1001.5, "o", b"x")], 1)
    file.release()
    with pytest.raises(Full, match="disk"):
        begin(folder, "2026-11/b.cast")


def test_a_link_in_its_place_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "2026-11").mkdir()
    (folder / "2026-11/a.cast").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="exists"):
        begin(folder)
    (tmp_path / "elsewhere").write_text("secret")
    with pytest.raises(OSError, match="symbolic"):
        files.read(folder / "2026-11/a.cast", 0, 10)


def test_watchers_are_named_while_they_live(folder: Path) -> None:
    file = begin(folder)
    assert files.watchers(file.cast) == []
    one, two = WatchFile(file.cast, "1", "bo"), WatchFile(file.cast, "2", "Ada\n<b>")
    assert files.watchers(file.cast) == ["Ada\n<b>", "bo"]
    one.release()
    assert files.watchers(file.cast) == ["Ada\n<b>"]
    os.close(two.descriptor)  # as when its process is killed
    assert files.watchers(file.cast) == []
    assert list(files.watch_of(file.cast).iterdir()) == []
    file.release()


def test_a_watcher_is_never_seen_before_it_is_locked(folder: Path) -> None:
    file = begin(folder)
    place = files.watch_of(file.cast)
    place.mkdir()
    (place / ".half").write_text('"x"')
    assert files.watchers(file.cast) == []
    assert (place / ".half").exists(), "it is somebody's who is just coming"
    with (place / ".half").open() as half:
        fcntl.flock(half, fcntl.LOCK_EX)
    file.release()
    files.remove(file.cast)
    assert list(file.cast.parent.iterdir()) == []
