"""Where a change comes from: the door, the address and the token. The audit trail asks for it when it writes.

Set at the edges (a page's middleware, a socket, a task) and carried by the context, into threads and tasks too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any


class Door:
    """The ways in. Text, as it stands in the trail."""

    PAGE, SOCKET, API, TASK = "page", "socket", "api", "task"
    WEBHOOK, AGENT, COMMAND = "webhook", "agent", "command"
    ALL = (PAGE, SOCKET, API, TASK, WEBHOOK, AGENT, COMMAND)


# Which door an address belongs to; all others are pages.
_DOORS = (("/api/", Door.API), ("/agent/", Door.AGENT), ("/builds/hooks/", Door.WEBHOOK))


def door_of(path: str) -> str:
    return next((door for prefix, door in _DOORS if path.startswith(prefix)), Door.PAGE)


@dataclass(frozen=True)
class Origin:
    """`token_id`, `token_name`: of the access token that stood for its owner; None and "" for a session."""

    door: str = Door.COMMAND
    ip: str | None = None
    token_id: int | None = None
    token_name: str = ""


_NOWHERE = Origin()
_origin: ContextVar[Origin] = ContextVar("gantry_origin", default=_NOWHERE)


def current() -> Origin:
    return _origin.get()


def enter(**changes: Any) -> None:
    """Change the origin for the rest of this context."""
    _origin.set(replace(_origin.get(), **changes))


@contextmanager
def entered(**changes: Any) -> Iterator[Origin]:
    """Change the origin for a while. What was there before is set again, by value: the end may be in another context
    than the beginning when Django crosses from a thread to the loop in between."""
    before = _origin.get()
    enter(**changes)
    try:
        yield _origin.get()
    finally:
        _origin.set(before)
