"""How large a request may be. Django's own limits count what it has already written to the disk."""

from __future__ import annotations

from typing import Any

MOST_BYTES = 8 * 1024 * 1024  # the longest form (containers.run_form) stays below 3 MB


class BodyLimit:
    """ASGI middleware: 413 for a body beyond `MOST_BYTES`, said or sent, before any of the rest is read."""

    def __init__(self, inner: Any, most: int = MOST_BYTES) -> None:
        self.inner = inner
        self.most = most

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if not said.isdigit() or len(said) > 15 or int(said) > self.most:
            await _refuse(send)
            return
        received = 0
        answering = False

        async def counted() -> dict[str, Any]:
            nonlocal received
            message: dict[str, Any] = await receive()
            received += len(message.get("body", b""))
            # As if the browser had gone: the application stops reading and throws away what it has.
            return {"type": "http.disconnect"} if received > self.most else message

        async def watched(message: dict[str, Any]) -> None:
            nonlocal answering
            answering = True
            await send(message)

        await self.inner(scope, counted, watched)
        if received > self.most and not answering:
            await _refuse(send)


async def _refuse(send: Any) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": b"The request is larger than anything Gantry takes.\n"})
