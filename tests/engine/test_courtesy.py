"""Who is in a hurry goes first, and holds up nobody for ever."""

import asyncio
import contextlib

import pytest
from gantry_agent.engine import courtesy
from gantry_agent.engine.courtesy import Courtesy


@pytest.fixture(autouse=True)
def long_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no pause of this machine is taken for the end of one."""
    monkeypatch.setattr(courtesy, "STEP", 1.0)
    monkeypatch.setattr(courtesy, "LONGEST", 3600.0)


async def passes(one: Courtesy) -> bool:
    """Whether bulk work goes on within some turns of the loop."""
    task = asyncio.create_task(one.after_you())
    for _ in range(5):
        await asyncio.sleep(0)
    found = task.done()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return found


async def test_bulk_work_stands_back_until_everybody_is_done() -> None:
    one = Courtesy()
    assert await passes(one)
    first, second = one.hurry(), one.hurry()
    assert not await passes(one)
    first()
    first()
    assert not await passes(one)
    second()
    assert await passes(one)


async def test_it_goes_on_beside_those_who_are_always_in_a_hurry() -> None:
    """By its own patience: the hurry is not over."""
    one = Courtesy()
    done = one.hurry()
    for _ in range(3):
        await asyncio.wait_for(one.after_you(), timeout=10)
        assert not await passes(one), "it stood back, and will again"
    done()


async def test_nobody_is_in_a_hurry_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courtesy, "LONGEST", 0.5)
    one = Courtesy()
    done = one.hurry()
    assert not await passes(one)
    await asyncio.sleep(0.6)
    assert await passes(one)
    done()
    assert await passes(one)
