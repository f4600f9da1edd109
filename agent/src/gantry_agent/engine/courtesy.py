"""Bulk work lets go first what somebody waits for: both have their turns on one event loop."""

import asyncio
import contextlib
from collections.abc import Callable

LONGEST = 0.5  # seconds somebody is let go first; a command that runs on has been started by then
STEP = 0.05  # seconds bulk work stands back at most, each time: who is always in a hurry slows it and does not stop it


class Courtesy:
    """Who is in a hurry now."""

    def __init__(self) -> None:
        self._hurried: set[object] = set()
        self._calm = asyncio.Event()
        self._calm.set()

    def hurry(self) -> Callable[[], None]:
        """Somebody waits, until what is given back is called, or for LONGEST."""
        mark = object()
        self._hurried.add(mark)
        self._calm.clear()
        timer = asyncio.get_running_loop().call_later(LONGEST, self._over, mark)

        def done() -> None:
            timer.cancel()
            self._over(mark)

        return done

    def _over(self, mark: object) -> None:
        self._hurried.discard(mark)
        if not self._hurried:
            self._calm.set()

    async def after_you(self) -> None:
        """Stand back while somebody is in a hurry. For loops over bulk data."""
        if self._hurried:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STEP):
                    await self._calm.wait()
