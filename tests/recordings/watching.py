"""Watching a shell without a browser: what the page's script does, on the same WebSocket."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.recordings.casts import Read, read
from tests.support.stage import Stage

MOST = 4 * 1024 * 1024  # bytes of one frame


class Watch:
    """Collects the cast and what is said; confirms what it reads unless told not to."""

    def __init__(self, stage: Stage, recording: int, *, user: str = "other", url: str = "") -> None:
        url = url or stage.url
        self.stack = ExitStack()
        self.socket = self.stack.enter_context(
            connect(
                f"{url.replace('http', 'ws', 1)}/ws/recordings/{recording}/watch",
                origin=url,  # type: ignore[arg-type]
                additional_headers={"Cookie": f"gantry_session={stage.cookie(user) if user else 'none'}"},
                compression=None,
                open_timeout=30,
                max_size=MOST,
            )
        )
        self.data = b""
        self.told: list[dict[str, Any]] = []
        self.code: int | None = None
        self.confirms = True

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    @property
    def cast(self) -> Read:
        return read(self.data)

    def step(self, timeout: float = 20.0) -> bool:
        """One frame; False when the socket has closed."""
        try:
            frame = self.socket.recv(timeout)
        except ConnectionClosed as closed:
            self.code = closed.rcvd.code if closed.rcvd else None
            return False
        if isinstance(frame, str):
            self.told.append(json.loads(frame))
            return True
        self.data += frame
        if self.confirms:
            self.socket.send(json.dumps({"ack": len(self.data)}))
        return True

    def until(self, text: str, timeout: float = 15.0) -> None:
        """Read until the output has `text`."""
        deadline = time.monotonic() + timeout
        while text not in (self.cast.output if self.data.endswith(b"\n") else ""):
            assert time.monotonic() < deadline, f"no {text!r}"
            assert self.step(), f"closed with {self.code} before {text!r}; told {self.told}"

    def until_told(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Read until a message of that type came, with those fields."""
        wanted = {"type": kind, **fields}
        while not (found := [message for message in self.told if wanted.items() <= message.items()]):
            assert self.step(), f"closed with {self.code} before {kind}; told {self.told}"
        return found[-1]

    def until_closed(self) -> int | None:
        while self.step():
            pass
        return self.code
