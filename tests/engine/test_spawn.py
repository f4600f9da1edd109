"""Helpers are started beside the event loop, with what they need on the disk first."""

import asyncio
import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from gantry_agent.engine.errors import Internal
from gantry_agent.engine.runtime.spawn import Spawner, ended


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    one = Spawner(hides_unified=False)
    yield one
    one.close()


async def test_what_a_helper_needs_is_written_while_the_loop_goes_on(spawner: Spawner, tmp_path: Path) -> None:
    """The disk answers only once the loop has gone on."""
    disk = threading.Event()

    def prepare() -> None:
        assert disk.wait(10), "the loop stood still"
        (tmp_path / "needed").write_text("7")

    asyncio.get_running_loop().call_later(0.05, disk.set)
    read, write = os.pipe()
    process = await spawner.start(["cat", str(tmp_path / "needed")], prepare=prepare, output=write)
    os.close(write)
    assert await ended(process) == 0
    with os.fdopen(read) as output:
        assert output.read() == "7"


async def test_a_full_disk_is_told_as_the_helpers_failure(spawner: Spawner) -> None:
    def prepare() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(Internal, match=r"cannot be started: .*No space left on device"):
        await spawner.start(["true"], prepare=prepare, output=subprocess.DEVNULL)
