"""A disk that fills up: a clear error, nothing half-listed, and work goes on once there is room."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from gantry_agent.engine.errors import EngineError
from gantry_agent.engine.images.removal import remove_image

from tests.conftest import need
from tests.engine.stores import contents, opened, put
from tests.support.images import TestImage, busybox, busybox_why_not, make_tar
from tests.support.small_disk import SmallDisk
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.root
ROOM = 24 << 20  # bytes


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem with ROOM bytes."""
    need("" if os.geteuid() == 0 else "only root mounts a filesystem")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "gantry-test", tmp_path], check=True)
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def image_of(size: int) -> TestImage:
    return TestImage((make_tar({"big": os.urandom(size)}), make_tar({"small": os.urandom(8)})))


def fill(path: Path) -> None:
    """Take all the room there is. Raises OSError in the end."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


# Too big for the archive itself; for the blob beside it; for the layer unpacked beside both.
@pytest.mark.parametrize("size", [ROOM + 1, ROOM * 6 // 10, ROOM * 4 // 10])
async def test_a_full_disk_is_told_and_given_back(small_disk: Path, size: int) -> None:
    async with opened(small_disk) as engine:
        await put(engine, image_of(1000).archive("kept:1"))
        before = contents(engine.layout)
        with pytest.raises(EngineError, match="No space left on device"):
            await put(engine, image_of(size).archive("big:1"))
        await eventually_async(lambda: not contents(engine.layout)["leftovers"], what="what was received goes")
        assert contents(engine.layout) == before
        assert [image.repo_tags for image in engine.store.images.all()] == [["kept:1"]]
        await put(engine, image_of(ROOM // 5).archive("fits:1"))
        assert await engine.store.check() == []


def test_whatever_meets_a_full_disk_is_told_so() -> None:
    need(SmallDisk.why_not(), busybox_why_not())
    with SmallDisk() as engine:
        engine.load(busybox().archive("base:1"))
        one = engine.expect("POST", "/containers/create", {"Image": "base:1", "Cmd": ["true"]})["Id"]
        with pytest.raises(OSError, match="No space left"):
            fill(engine.root / "rest")
        status, answer = engine.request("POST", f"/containers/{one}/start")
        assert status == 500
        assert "No space left on device" in answer["message"]
        (engine.root / "rest").unlink()
        assert engine.request("POST", f"/containers/{one}/start")[0] == 204


async def test_an_image_can_be_removed_from_a_full_disk(small_disk: Path) -> None:
    async with opened(small_disk) as engine:
        await put(engine, image_of(ROOM // 5).archive("app:1"))
        with pytest.raises(OSError, match="No space left"):
            fill(small_disk / "rest")
        await remove_image(engine, "app:1")
        await eventually_async(lambda: not contents(engine.layout)["leftovers"], what="the layers go")
        assert contents(engine.layout)["layers"] == set()
        await put(engine, image_of(1000).archive("app:1"))
