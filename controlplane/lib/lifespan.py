"""What the web process does from its start to its end: it beats as part “web”."""

from __future__ import annotations

import asyncio
from typing import Any

from controlplane.lib import parts


class Lifespan:
    """The ASGI application of the `lifespan` scope."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        beating: asyncio.Task[None] | None = None
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                beating = asyncio.create_task(parts.beating("web"))
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                if beating is not None:
                    beating.cancel()
                    await asyncio.gather(beating, return_exceptions=True)
                await send({"type": "lifespan.shutdown.complete"})
                return
