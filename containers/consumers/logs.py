"""A container's log, from its engine to one browser: the engine's bytes untouched, never more than was asked for."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from django.db import DatabaseError

from containers.access import get_container
from containers.logs import LogQuery, ending, opening
from containers.models import Container
from controlplane.lib.errors import GantryError, InvalidArgument, NotFound, Unavailable
from controlplane.operations.audit import about
from controlplane.operations.sockets import AuditedConsumer, Reading
from hosts.engine import Engine, engine_for, explain

log = logging.getLogger(__name__)

# Bytes on their way that the page has not confirmed. A page that stops reading stops its own reader on the host;
# what the kernel and uvicorn hold for it comes on top, and is bounded too.
WINDOW = 1024 * 1024
BATCH = 256 * 1024
# After a small piece, lines are left to gather this long: at most 50 messages a second for a log that trickles.
SMALL = 16 * 1024
GATHER_SECONDS = 0.02
INSPECT_SECONDS = 10.0
BAD_QUERY = 4400


class LogConsumer(AuditedConsumer):
    """`/ws/containers/<pk>/logs?tail=&since=&follow=&timestamps=&stdout=&stderr=` (see LogQuery).

    Binary messages are the engine's stream, cut anywhere: Docker's frames (ContainerAttach in the Engine API), or
    with a TTY plain bytes. Text messages are JSON: first `{"type": "opened", "tty": …, "running": …}`, last one of
    `ended`, `gone` (the container is removed), `lost` (the host is away: connect again later) and `refused`.
    The page answers `{"ack": n}`: it has dealt with n bytes in all; with `"ping": true` it gets a `pong`. Taking
    the stream apart is the page's work, which also knows best where to resume: the server holds no state for it.
    """

    # Needs no groups; without a channel layer a log goes on while Redis is away.
    channel_layer_alias = "none"
    container: Container

    def authorise(self) -> None:
        pk = self.scope["url_route"]["kwargs"]["pk"]
        self.container = get_container(self.scope["user"], pk, "container.logs")

    def is_there(self) -> bool:
        return Container.objects.filter(pk=self.container.pk).exists()

    async def opened(self) -> None:
        self.sent = self.confirmed = 0
        self.credit = asyncio.Event()
        self.reading = Reading(self.scope["user"], "container.logs", **about(self.container))
        try:
            self.query = LogQuery.parse(self.scope["query_string"].decode("latin-1"))
        except InvalidArgument as exc:
            await self._say({"type": "refused", "message": exc.message, "hint": exc.hint})
            await self.close(BAD_QUERY)
            return
        self.relay = asyncio.create_task(self._relay())

    async def closed(self) -> None:
        if self.relay is not None:
            await self.end_relay()
            try:
                await self.reading.ended("the log was left")
            except DatabaseError as exc:
                log.warning("the end of a log was not written down: %s", exc)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            message = json.loads(text_data or "")
            confirmed, ping = message["ack"], message.get("ping")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            confirmed, ping = None, None
        if not isinstance(confirmed, int) or not self.confirmed <= confirmed <= self.sent:
            await self.close(BAD_QUERY)
            return
        self.confirmed = confirmed
        self.credit.set()
        if ping:
            await self._say({"type": "pong"})

    async def _relay(self) -> None:
        try:
            await self._say(await self._last_word())
            await self.close()
        except OSError:
            return  # the browser has gone

    async def _last_word(self) -> dict[str, Any]:
        """Relay until the log ends; answers the message that says why."""
        try:
            async with engine_for(self.container.host) as engine:
                return await self._follow(engine)
        except NotFound:
            return {"type": "gone"}
        except GantryError as exc:
            message, hint = explain(exc, "container.logs")
            kind = "lost" if isinstance(exc, Unavailable) else "refused"
            return {"type": kind, "message": message, "hint": hint}
        except DatabaseError as exc:
            log.warning("a log was not opened, as that could not be written down: %s", exc)
            return {
                "type": "lost",
                "message": "Gantry’s database does not answer.",
                "hint": "It is tried again by itself.",
            }

    async def _follow(self, engine: Engine) -> dict[str, Any]:
        path = f"/containers/{self.container.engine_id}"
        inspection = await engine.get(f"{path}/json", timeout=INSPECT_SECONDS)
        # No time limit: Podman sends even the headers only with the log's next line.
        async with engine.stream("GET", f"{path}/logs", timeout=None, **self.query.parameters()) as response:
            # Here and not earlier: a page that looks for a host that is away comes again and again, and reads nothing.
            await self.reading.began(f"followed the log: {self.query}")
            await self._say(opening(inspection))
            while data := await response.content.read(BATCH):
                self.sent += len(data)
                await self.send(bytes_data=data)
                await self._until_wanted()
                if len(data) < SMALL:
                    await asyncio.sleep(GATHER_SECONDS)
        return ending(await engine.get(f"{path}/json", timeout=INSPECT_SECONDS))

    async def _until_wanted(self) -> None:
        while self.sent - self.confirmed >= WINDOW:
            self.credit.clear()
            await self.credit.wait()

    async def _say(self, message: dict[str, Any]) -> None:
        await self.send(json.dumps(message))
