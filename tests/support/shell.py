"""A terminal without a browser: what the page's script does, on the same WebSocket."""

import json
import time
import uuid
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.stage import Stage

MOST = 4 * 1024 * 1024  # bytes of one frame


class Shell:
    """A terminal as a browser holds it: acknowledges what it reads, collects what it is told."""

    def __init__(
        self, stage: Stage, pk: int, *, user: str = "admin", origin: str = "", url: str = "", **query: Any
    ) -> None:
        # `user_`: in the container; `user` is who asks.
        query = {"session": str(uuid.uuid4()), "columns": 80, "rows": 24, **query, "user": query.pop("user_", "")}
        cookie = stage.cookie(user) if user else "none"
        url = url or stage.url
        address = url.replace("http", "ws", 1)
        self.session = query["session"]
        self.stack = ExitStack()
        self.socket: ClientConnection = self.stack.enter_context(
            connect(
                f"{address}/ws/containers/{pk}/terminal?{urlencode(query)}",
                origin=origin or url,  # type: ignore[arg-type]
                additional_headers={"Cookie": f"gantry_session={cookie}"},
                compression=None,
                open_timeout=30,
                max_size=MOST,
            )
        )
        self.output = bytearray()
        self.start = 0
        self.told: list[dict[str, Any]] = []
        self.code: int | None = None
        self.acknowledges = True

    def __enter__(self) -> "Shell":
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    @property
    def end(self) -> int:
        return self.start + len(self.output)

    def read(self, timeout: float = 30.0) -> bool:
        """One frame; False when the socket has closed."""
        try:
            frame = self.socket.recv(timeout)
        except ConnectionClosed as closed:
            self.code = closed.rcvd.code if closed.rcvd else None
            return False
        if isinstance(frame, bytes):
            self.output += frame
            if self.acknowledges:
                self.answer("ack", bytes=len(frame))
        else:
            message = json.loads(frame)
            self.told.append(message)
            if message["type"] == "replay":
                self.start = message["from"]
            elif message["type"] == "exit":
                self.answer("seen")
        return True

    def until(self, text: bytes | str, timeout: float = 30.0) -> bytearray:
        """Read until the output has `text`; the output."""
        wanted = text.encode() if isinstance(text, str) else text
        deadline = time.monotonic() + timeout
        searched = 0  # bytes that hold no beginning of it: a flood is not looked through again for every frame
        while self.output.find(wanted, searched) < 0:
            searched = max(0, len(self.output) - len(wanted) + 1)
            assert time.monotonic() < deadline, f"no {wanted!r} in {self.output[-500:]!r}"
            assert self.read(), f"closed with {self.code} before {wanted!r}; told {self.told}"
        return self.output

    def until_told(self, kind: str) -> dict[str, Any]:
        """Read until a message of that type came."""
        while not (found := [message for message in self.told if message["type"] == kind]):
            assert self.read(), f"closed with {self.code} before {kind}; told {self.told}"
        return found[-1]

    def until_closed(self) -> int | None:
        """Read until the socket closes; the close code."""
        while self.read():
            pass
        return self.code

    def type(self, text: str | bytes) -> None:
        self.socket.send(text.encode() if isinstance(text, str) else text)

    def answer(self, kind: str, **fields: Any) -> None:
        """Say it, unless the socket was closed meanwhile: what with is what is read next."""
        with suppress(ConnectionClosed):
            self.say(kind, **fields)

    def say(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))
