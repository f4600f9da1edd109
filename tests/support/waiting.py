"""Waiting for a condition, which is what tests do here instead of sleeping a guessed time."""

import asyncio
import inspect
import random
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

Value = TypeVar("Value")

PAUSE = 0.02
"""Seconds between two looks at a condition."""
STALL = 0.5
"""Seconds a pause may be too long: beyond, the whole machine stood still, and nothing could happen in that time."""


def eventually(condition: Callable[[], Value], *, timeout: float = 30.0, what: str = "") -> Value:
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
        before = time.monotonic()
        if before > deadline:
            raise AssertionError(f"not within {timeout} s: {what or _name(condition)}; last seen: {last!r}")
        time.sleep(PAUSE)
        overslept = time.monotonic() - before - PAUSE
        deadline += overslept if overslept > STALL else 0


async def eventually_async(
    condition: Callable[[], Value | Awaitable[Value]], *, timeout: float = 30.0, what: str = ""
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


_PORTS = range(20_000, 32_000)  # below those that the kernel gives to whoever asks for any
_held: deque[socket.socket] = deque(maxlen=200)


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port nobody listens on, and no other test of this machine is given while it may be needed."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        held = hold(f"port-{port}")
        if held is None:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
            except OSError:
                held.close()
                continue
        _held.append(held)
        return port


def hold(name: str) -> socket.socket | None:
    """Take a name among all test runs of this machine; None when another has it. Closing it lets it go."""
    held = socket.socket(socket.AF_UNIX)
    try:
        held.bind(f"\0gantry-test-{name}")
    except OSError:
        held.close()
        return None
    return held


def _name(condition: Callable[..., object]) -> str:
    return getattr(condition, "__qualname__", repr(condition))
