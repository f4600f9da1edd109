"""Stacks of layers mounted: what a container sees, writes and leaves."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gantry_agent.engine.errors import Internal
from gantry_agent.engine.layers import overlay
from gantry_agent.engine.layers.changes import changes
from gantry_agent.engine.layers.pack import layers_view

from tests.support.scratch import unmount_below

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting layers needs root"),
]


class Stack:
    """Layers 0 (top) to n - 1, each with a file of its own and all with `same`."""

    def __init__(self, top: Path, count: int) -> None:
        self.top = top
        self.links_folder = top / "l"
        self.links_folder.mkdir()
        self.links = [f"{number:026d}" for number in range(count)]
        for link in self.links:
            layer = top / "layers" / f"{link:>064}" / "diff"
            layer.mkdir(parents=True)
            (layer / f"only-{link}").touch()
            (layer / "same").write_text(link)
            (self.links_folder / link).symlink_to(f"../layers/{link:>064}/diff")
        self.upper, self.work, self.merged = (top / "c" / name for name in ("upper", "work", "merged"))

    async def mount(self) -> None:
        await overlay.mount(self.links, self.links_folder, self.upper, self.work, self.merged)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Path]:
    yield tmp_path
    unmount_below(tmp_path)


@pytest.mark.parametrize("count", [0, 1, 2, 128, 499, 500])
async def test_every_height_of_stack_is_mounted(place: Path, count: int) -> None:
    stack = Stack(place, count)
    here = Path.cwd()
    await stack.mount()
    assert len([name for name in os.listdir(stack.merged) if name.startswith("only-")]) == count
    if count:
        assert (stack.merged / "same").read_text() == stack.links[0]
    (stack.merged / "new").write_text("kept")
    await overlay.unmount(stack.merged)
    assert (stack.upper / "new").read_text() == "kept"
    assert os.listdir(stack.merged) == []
    assert Path.cwd() == here


async def test_more_than_the_kernel_stacks_is_told(place: Path) -> None:
    with pytest.raises(Internal, match="501 layers"):
        await Stack(place, 501).mount()


async def test_places_with_difficult_names(place: Path) -> None:
    folder = place / "a,b:c\\d e=f"
    folder.mkdir()
    stack = Stack(folder, 3)
    await stack.mount()
    assert (stack.merged / "same").exists()
    await overlay.unmount(stack.merged)


async def test_a_layer_that_is_missing_is_told(place: Path) -> None:
    stack = Stack(place, 2)
    stack.links.append("gone")
    with pytest.raises(Internal, match="No such file"):
        await stack.mount()
    assert not os.path.ismount(stack.merged)


async def test_unmounting_twice_and_in_use_is_fine(place: Path) -> None:
    stack = Stack(place, 2)
    await stack.mount()
    with open(stack.merged / "same") as file:  # noqa: ASYNC230
        await overlay.unmount(stack.merged)
        await overlay.unmount(stack.merged)
        assert file.read() == stack.links[0]
    await overlay.unmount(place / "never")


async def test_many_at_once(place: Path) -> None:
    stacks = []
    for number in range(10):
        (place / str(number)).mkdir()
        stacks.append(Stack(place / str(number), 3))
    await asyncio.gather(*(stack.mount() for stack in stacks))
    assert all((stack.merged / "same").exists() for stack in stacks)
    await asyncio.gather(*(overlay.unmount(stack.merged) for stack in stacks))
    assert not any(os.path.ismount(stack.merged) for stack in stacks)


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_a_view_cannot_be_written(place: Path, count: int) -> None:
    stack = Stack(place, count)
    await overlay.view(stack.links, stack.links_folder, stack.merged)
    with pytest.raises(OSError, match="Read-only"):
        (stack.merged / "new").touch()
    await overlay.unmount(stack.merged)


async def test_what_a_runtime_mounts_on_is_no_change(place: Path) -> None:
    stack = Stack(place, 1)
    await stack.mount()
    for name in ("dev/pts", "proc", "sys", "etc/hosts", "etc/resolv.conf", ".dockerenv"):
        assert (stack.merged / name).exists()
    lowers = overlay.with_foundation(stack.links, stack.links_folder)
    assert await changes(stack.upper, layers_view(lowers, stack.links_folder, stack.merged)) == []
    await overlay.unmount(stack.merged)
