"""A browser's side of a WebSocket, without a network (channels.testing asks for daphne, which we do not have)."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

from asgiref.testing import ApplicationCommunicator


class Socket(ApplicationCommunicator):
    """One handshake with an ASGI application, and what is said after it."""

    def __init__(self, application: Any, address: str, headers: list[tuple[bytes, bytes]]) -> None:
        parts = urlsplit(address)
        super().__init__(
            application,
            {
                "type": "websocket",
                "path": parts.path,
                "query_string": parts.query.encode(),
                "headers": headers,
                "subprotocols": [],
                "client": ("127.0.0.1", 40_000),
            },
        )

    async def connect(self) -> tuple[bool, int | None]:
        """Whether it was accepted; if not, the code it was closed with."""
        await self.send_input({"type": "websocket.connect"})
        answer = await self.receive_output(timeout=15)
        return answer["type"] == "websocket.accept", answer.get("code")

    async def say(self, text: str) -> None:
        await self.send_input({"type": "websocket.receive", "text": text})

    async def hear(self) -> Any:
        """The JSON of the next message."""
        message = await self.receive_output(timeout=15)
        assert message["type"] == "websocket.send", message
        return json.loads(message["text"])

    async def closed_with(self) -> int:
        """The code it closes with, whatever it says before."""
        while True:
            message: dict[str, Any] = await self.receive_output(timeout=15)
            if message["type"] == "websocket.close":
                return int(message["code"])

    async def leave(self) -> None:
        """As when the page is closed; the application may have ended already."""
        await self.send_input({"type": "websocket.disconnect", "code": 1005})
        try:
            await self.wait(timeout=15)
        except asyncio.CancelledError:
            pass
