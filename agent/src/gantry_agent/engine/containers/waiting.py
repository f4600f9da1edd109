"""Those who wait for a container: to stop, to end next, to be gone."""

import asyncio
from collections.abc import Callable

from gantry_agent.engine.errors import InvalidArgument

from .model import Container, Status

CONDITIONS = ("not-running", "next-exit", "removed")


class Waiting:
    """Futures by container; `told` wakes those whose condition holds now."""

    def __init__(self) -> None:
        self._waiters: dict[str, list[tuple[str, asyncio.Future[int]]]] = {}

    async def stopped(self, container: Container) -> None:
        """Until it has no process."""
        if container.is_running:
            await self._one(container, "stopped")

    async def until(self, container: Container, condition: str) -> int:
        """The exit code, once `condition` holds. Raises InvalidArgument."""
        if condition not in CONDITIONS:
            raise InvalidArgument(f'invalid condition: "{condition}"')
        state = container.state
        if condition == "not-running" and not state.is_running and state.status is not Status.RESTARTING:
            return state.exit_code
        return await self._one(container, condition)

    def told(self, container: Container, *, is_exit: bool = False) -> None:
        """Its state has changed; `is_exit`: one run has ended, with all it had."""
        ended = not container.is_running
        holds: dict[str, Callable[[], bool]] = {
            "stopped": lambda: ended,
            "not-running": lambda: ended and container.state.status is not Status.RESTARTING,
            "next-exit": lambda: ended,
            "removed": lambda: False,
        }
        self._wake(container, [name for name, test in holds.items() if test()])

    def removed(self, container: Container) -> None:
        """It is gone."""
        self._wake(container, ["stopped", *CONDITIONS])
        self._waiters.pop(container.id, None)

    def _wake(self, container: Container, conditions: list[str]) -> None:
        waiters = self._waiters.get(container.id, [])
        for each in tuple(waiters):
            condition, future = each
            if condition in conditions:
                waiters.remove(each)
                if not future.done():
                    future.set_result(container.state.exit_code)

    async def _one(self, container: Container, condition: str) -> int:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        entry = (condition, future)
        waiters = self._waiters.setdefault(container.id, [])
        waiters.append(entry)
        try:
            return await future
        finally:
            if entry in waiters:
                waiters.remove(entry)
