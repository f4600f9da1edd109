"""Waiting for a condition, which is what tests do here instead of sleeping a guessed time."""

import asyncio
import inspect
import socket
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Value = TypeVar("Value")

PAUSE = 0.02
"""Seconds between two looks at a condition."""


def eventually(condition: Callable[[], Value], *, timeout: float = 10.0, what: str = "") -> Value:
    """The first truthy value of ``condition()``; AssertionError when ``timeout`` seconds bring none.

    An AssertionError inside the condition counts as "not yet" and is quoted when time is up.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            last: object = condition()
            if last:
                return last  # type: ignore[return-value]
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or _name(condition)}; last seen: {last!r}")
        time.sleep(PAUSE)


async def eventually_async(
    condition: Callable[[], Value | Awaitable[Value]], *, timeout: float = 10.0, what: str = ""
) -> Value:
    """As `eventually`, for the event loop; ``condition`` may be a coroutine function."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            last: object = condition()
            if inspect.isawaitable(last):
                last = await last
            if last:
                return last  # type: ignore[return-value]
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or _name(condition)}; last seen: {last!r}")
        await asyncio.sleep(PAUSE)


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _name(condition: Callable[..., object]) -> str:
    return getattr(condition, "__qualname__", repr(condition))
