"""Messages of a long piece of work, as Docker's API streams them: one JSON object a line.

    progress.message("Digest: sha256:…")                        {"status": …}
    progress.step("ec76c58a6766", "Pull complete")              {"status": …, "progressDetail": {}, "id": …}
    progress.detail("ec76c58a6766", "Downloading", 5, 100)      {"status": …, "progressDetail": {…}, "progress": …}
    progress.aux({"ID": "sha256:…"})                            {"aux": …}

Who works never waits for who reads: of a number that changes, a slow reader sees only the latest, and everything else
said is bounded by the work itself. Only a build's output is not: it waits in `drained`.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

INTERVAL = 0.1  # seconds between two numbers of the same step
BAR = 50  # characters
MOST_UNREAD = 1 << 20  # characters of text
UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


class Progress:
    """What one piece of work says. It is read once, by `batches`."""

    def __init__(self) -> None:
        self._pending: list[dict[str, Any]] = []
        self._numbers: dict[str, tuple[str, int]] = {}
        """id → the status and place in `_pending` of its number that was not read yet."""
        self._said_at: dict[str, float] = {}
        self._unread = 0
        """Characters of text that were not read yet."""
        self._changed = asyncio.Event()
        self._drained = asyncio.Event()
        self._is_closed = False

    def message(self, status: str, about: str = "") -> None:
        """A line of its own; `about` is its id, if any."""
        self._add({"status": status, "id": about} if about else {"status": status})

    def step(self, about: str, status: str) -> None:
        """Something has reached another state."""
        self._numbers.pop(about, None)
        self._said_at.pop(about, None)
        self._add({"status": status, "progressDetail": {}, "id": about})

    def detail(self, about: str, status: str, current: int, total: int) -> None:
        """How far a step has come, in bytes. Most calls of a fast sequence are left out, never the last."""
        now = time.monotonic()
        if current < total and now - self._said_at.get(about, 0.0) < INTERVAL:
            return
        self._said_at[about] = now
        found = {
            "status": status,
            "progressDetail": {"current": current, "total": total},
            "progress": bar(current, total),
            "id": about,
        }
        said = self._numbers.get(about)
        if said and said[0] == status:
            self._pending[said[1]] = found
        else:
            self._numbers[about] = status, len(self._pending)
            self._add(found)

    def text(self, content: str) -> None:
        """A sentence for people, its line end included."""
        self._unread += len(content)
        self._add({"stream": content})

    async def drained(self) -> None:
        """Wait until the reader has most of the text: for work whose words have no bound."""
        while self._unread > MOST_UNREAD and not self._is_closed:
            self._drained.clear()
            await self._drained.wait()

    def failed(self, message: str) -> None:
        """The work failed, and its answer has begun."""
        self._add({"errorDetail": {"message": message}, "error": message})

    def aux(self, content: dict[str, Any]) -> None:
        """What programs read."""
        self._add({"progressDetail": {}, "aux": content})

    def close(self) -> None:
        """Nothing more will be said."""
        self._is_closed = True
        self._changed.set()
        self._drained.set()

    async def batches(self, patience: float) -> AsyncIterator[bytes]:
        """What was said since the last time, until the end; b"" after `patience` seconds of silence."""
        while True:
            try:
                async with asyncio.timeout(patience):
                    await self._changed.wait()
            except TimeoutError:
                yield b""
                continue
            self._changed.clear()
            pending, self._pending = self._pending, []
            self._numbers.clear()
            self._unread = 0
            self._drained.set()
            if pending:
                yield b"".join(line(each) for each in pending)
            elif self._is_closed:
                return
            if self._is_closed:
                self._changed.set()

    def _add(self, found: dict[str, Any]) -> None:
        self._pending.append(found)
        self._changed.set()


def line(content: dict[str, Any]) -> bytes:
    """One message as it is sent."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode() + b"\r\n"


def failure(message: str, code: int = 0) -> bytes:
    """The last line of work that failed after its answer had begun. `code`: of a command, if one was to blame."""
    detail = {"code": code, "message": message} if code else {"message": message}
    return line({"errorDetail": detail, "error": message})


def bar(current: int, total: int) -> str:
    """Docker's drawing of a number: [==>   ]  1.5MB/3MB."""
    if total <= 0:
        return f"{size(current):>8}"
    share = min(current * 100 // total, 100) // 2
    numbers = f"{size(current):>8}" + (f"/{size(total)}" if current <= total else "")
    return f"[{'=' * share + '>':<{BAR + 1}}] {numbers}"


def size(count: int) -> str:
    """Bytes in decimal units with four digits, as Go's units.HumanSize: 36.45kB."""
    value, unit = float(count), 0
    while value >= 1000 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.4g}{UNITS[unit]}"
