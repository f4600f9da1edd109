"""Containers that are not made after all: whoever asked was cancelled."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from gantry_agent.engine.config import Config
from gantry_agent.engine.core import Engine
from gantry_agent.engine.layout import Layout

from tests.engine.stores import add_image
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.root


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    """As much of one as makes containers."""
    engine = Engine(Layout.at(tmp_path / "root", tmp_path / "run"), Config())
    await engine.store.open()
    engine.store.used_by = engine.containers.roster.by_image
    yield engine
    await engine.close()


@asynccontextmanager
async def begun(engine: Engine, image: str) -> AsyncIterator[tuple[asyncio.Task[Any], threading.Event]]:
    """A container being made; its row is not written before the event."""
    goes_on = threading.Event()
    writing = asyncio.ensure_future(engine.database.write(lambda _: goes_on.wait()))
    making = asyncio.ensure_future(engine.containers.create("mine", {"Image": image}))
    try:
        await eventually_async(lambda: list(engine.layout.containers.iterdir()), what="the container is begun")
        yield making, goes_on
    finally:
        goes_on.set()
        await writing


async def test_cancelled_while_what_others_added_is_collected(engine: Engine) -> None:
    """A layer came in meanwhile, so a collection follows; the container is written down before that."""
    image = await add_image(engine.store, ["a"], Cmd=["/x"])
    async with begun(engine, image) as (making, goes_on):
        await engine.store.blobs.put(b"of a stage beside it")
        goes_on.set()
        while not (engine.containers.all() or making.done()):  # noqa: ASYNC110, nothing tells
            await asyncio.sleep(0)
        assert not making.done(), "the collection is under way"
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
    await nothing_of_it(engine, image)


async def test_cancelled_while_its_row_is_written(engine: Engine) -> None:
    """The row is written nevertheless, and would keep the name for ever."""
    image = await add_image(engine.store, ["a"], Cmd=["/x"])
    async with begun(engine, image) as (making, goes_on):
        making.cancel()
        goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await making
    await nothing_of_it(engine, image)


async def nothing_of_it(engine: Engine, image: str) -> None:
    """In memory, in the database, on the disk; its name is free."""
    assert engine.containers.all() == []
    assert engine.database.read("SELECT id FROM containers") == []
    assert list(engine.layout.containers.iterdir()) == []
    container, _ = await engine.containers.create("mine", {"Image": image})
    assert engine.containers.all() == [container]
