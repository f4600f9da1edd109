"""Builds that fill the disk: ended with their place before the host is short of room, with nothing half-made."""

import os
from collections.abc import Iterator

import pytest

from tests.conftest import need
from tests.engine.builder.building import BASE, build
from tests.engine.builder.leavings import nothing_left, settled
from tests.support.images import busybox, busybox_why_not
from tests.support.small_disk import ROOM, SmallDisk
from tests.support.waiting import eventually

pytestmark = pytest.mark.root
MIB = "dd if=/dev/zero bs=1M count=1 2>/dev/null"


@pytest.fixture(scope="module")
def engine() -> Iterator[SmallDisk]:
    need(SmallDisk.why_not(), busybox_why_not())
    with SmallDisk() as engine:
        engine.load(busybox().archive(BASE))
        yield engine


def works_on(engine: SmallDisk) -> None:
    """What else is on the host is as it was, and the next build has room."""
    assert engine.free > ROOM // 2
    assert build(engine, f"FROM {BASE}\nRUN {MIB} > /small\n", nocache=1).error == ""


def test_a_step_that_writes_on_and_on_is_ended_before_the_disk_is_full(engine: SmallDisk) -> None:
    before = settled(engine)
    neighbour = engine.run(BASE, "sh", "-c", f"while {MIB} > /mine; do sleep 0.05; done; echo was harmed; sleep 1000")
    built = build(engine, f"FROM {BASE}\nRUN true\nRUN while {MIB}; do sleep 0.05; done > /big\n")
    assert built.error.startswith("Dockerfile:3: RUN: the host's disk is nearly full"), built.error
    assert "bytes are free" in built.error
    assert "was harmed" not in engine.cli("logs", neighbour)
    engine.cli("rm", "-f", neighbour)
    nothing_left(engine, before)
    works_on(engine)


def test_a_step_that_makes_files_without_end(engine: SmallDisk) -> None:
    before = settled(engine)
    built = build(engine, f"FROM {BASE}\nRUN n=0; while n=$((n+1)); do : > /tmp/f$n; done\n")
    assert built.error.startswith("Dockerfile:2: RUN: "), built.error
    assert "disk is nearly full" in built.error
    assert "files can still be made" in built.error
    nothing_left(engine, before)
    works_on(engine)


@pytest.mark.parametrize("command", ["cat /dev/zero > /big", "cat /dev/zero > /big || true"])
def test_a_step_that_is_quicker_than_anybody_looks(engine: SmallDisk, command: str) -> None:
    """It meets the end of the disk itself."""
    before = settled(engine)
    built = build(engine, f"FROM {BASE}\nRUN {command}\n")
    assert built.error.startswith("Dockerfile:2: RUN: "), built.error
    assert "No space left on device" in built.error or "disk is nearly full" in built.error, built.error
    nothing_left(engine, before)
    works_on(engine)


def test_a_cache_mount_that_takes_the_room_is_given_up(engine: SmallDisk) -> None:
    """It would be there for the next build, which had no room then."""
    before = settled(engine)
    built = build(engine, f"FROM {BASE}\nRUN --mount=type=cache,target=/c while {MIB}; do sleep 0.05; done > /c/big\n")
    assert built.error.startswith("Dockerfile:2: RUN: the host's disk is nearly full"), built.error
    eventually(lambda: engine.free > ROOM // 2, timeout=20, what="the cache is given up")
    nothing_left(engine, before)
    works_on(engine)


def test_what_builds_keep_goes_before_one_is_refused(engine: SmallDisk) -> None:
    kept = f"FROM {BASE}\nRUN --mount=type=cache,target=/c dd if=/dev/zero of=/c/kept bs=1M count=30\n"
    assert build(engine, kept, nocache=1).error == ""
    rest = engine.root / "rest"
    rest.write_bytes(bytes(engine.free - (2 << 20)))
    try:
        assert build(engine, f"FROM {BASE}\nRUN {MIB} > /small\n", nocache=1).error == ""
    finally:
        rest.unlink()
    works_on(engine)


def test_files_that_do_not_fit(engine: SmallDisk) -> None:
    """The context itself; then its copy."""
    before = settled(engine)
    built = build(engine, f"FROM {BASE}\nCOPY big /\n", {"big": os.urandom(ROOM)})
    assert "No space left on device" in built.error or "nearly full" in built.error, built.error
    assert built.error.startswith("receiving the build context: ")
    nothing_left(engine, before)
    built = build(engine, f"FROM {BASE}\nCOPY big /\n", {"big": os.urandom(ROOM * 4 // 10)})
    assert built.error.startswith("Dockerfile:2: COPY: "), built.error
    assert "No space left on device" in built.error or "nearly full" in built.error, built.error
    nothing_left(engine, before)
    works_on(engine)


def test_a_host_that_is_full_already_says_so(engine: SmallDisk) -> None:
    before = settled(engine)
    rest = engine.root / "rest"
    rest.write_bytes(bytes(engine.free - (2 << 20)))
    built = build(engine, f"FROM {BASE}\nRUN sleep 5\n")
    assert built.error.startswith("receiving the build context: the host's disk is nearly full"), built.error
    rest.unlink()
    nothing_left(engine, before)
    works_on(engine)
