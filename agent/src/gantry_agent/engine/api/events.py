"""GET /events: what happened and happens, one JSON object a line."""

import asyncio
import json
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import InvalidArgument
from gantry_agent.engine.events import Event, Listener

from .routes import Routes, filters_of, lasting

routes = Routes()

KINDS = ("container", "image", "volume", "network", "daemon")
FOREIGN = ("plugin", "node", "service", "secret", "config")
"""Filters of things this engine has not: they are understood, and match nothing."""
FILTERS = (*KINDS, *FOREIGN, "event", "label", "scope", "type")
LOOK = 1.0  # seconds of silence after which we look whether the client is still there
PATIENCE = 20.0  # seconds a client may leave a full buffer unread before it is cut
BATCH = 256  # events of one write
DETAILED = ("exec_create", "exec_start", "health_status")
"""Actions that say more behind a colon: the filter may name them without it."""


@routes("GET", "/events")
async def events(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Remembered events since `since`, then new ones until `until` or until the client goes."""
    wanted = EventFilter(filters_of(request, *FILTERS))
    since, until = moment(request, "since"), moment(request, "until")
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    with engine.events.listen() as listener:
        # Nothing is awaited before this: no event is in both, and none is told apart by a clock that may be set back.
        past = engine.events.since(since) if since is not None else []
        await response.prepare(request)
        lasting(request)
        out = _Writer(request, response, wanted, until)
        listener.on_cut = out.cut
        await out.write(past)
        await _follow(out, listener)
    if not listener.is_cut:
        await response.write_eof()
    return response


async def _follow(out: "_Writer", listener: Listener) -> None:
    """Pass on what comes until its time is up, the client goes, or it lags too far behind (and is cut off)."""
    while not out.is_over:
        batch = await _batch(listener, out.patience)
        if batch is None:
            return
        await out.write(batch)


async def _batch(listener: Listener, patience: float) -> list[Event] | None:
    """The events that wait, at most BATCH; [] after `patience` seconds without one; None when the listener was cut."""
    batch: list[Event] = []
    try:
        async with asyncio.timeout(patience):
            first = await listener.get()
    except TimeoutError:
        return batch
    while first is not None:
        batch.append(first)
        if len(batch) >= BATCH or listener.queue.empty():
            return batch
        first = listener.queue.get_nowait()
    return None


class _Writer:
    """One listener's end of the connection."""

    def __init__(
        self, request: web.Request, response: web.StreamResponse, wanted: "EventFilter", until: int | None
    ) -> None:
        self._request = request
        self._response = response
        self._wanted = wanted
        self._until = until

    @property
    def is_over(self) -> bool:
        """Whether nobody wants more."""
        transport = self._request.transport
        is_late = self._until is not None and time.time_ns() >= self._until
        return is_late or transport is None or transport.is_closing()

    @property
    def patience(self) -> float:
        """Seconds to wait for an event before looking round again."""
        left = LOOK if self._until is None else (self._until - time.time_ns()) / 1e9
        return max(0.0, min(LOOK, left))

    def cut(self) -> None:
        """Close the connection without a proper end: the client must see that it missed something."""
        if self._request.transport is not None:
            self._request.transport.abort()

    async def write(self, found: Iterable[Event]) -> None:
        """Send those that are wanted. A client that reads nothing is cut off."""
        lines = [
            json.dumps(shape(event)).encode() + b"\n"
            for event in found
            if (self._until is None or event.at <= self._until) and self._wanted.matches(event)
        ]
        if not lines:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                await self._response.write(b"".join(lines))
        except TimeoutError as exc:
            self.cut()
            raise ConnectionResetError("the listener reads nothing") from exc


def shape(event: Event) -> dict[str, Any]:
    """An event as Docker words it: containers and images also in the form before API 1.22."""
    old: dict[str, str] = {}
    if event.kind in ("container", "image"):
        old = {"status": event.action, "id": event.actor}
    if event.kind == "container" and "image" in event.attributes:
        old["from"] = event.attributes["image"]
    return {
        **old,
        "Type": event.kind,
        "Action": event.action,
        "Actor": {"ID": event.actor, "Attributes": dict(event.attributes)},
        "scope": "local",
        "time": event.at // 1_000_000_000,
        "timeNano": event.at,
    }


def moment(request: web.Request, name: str) -> int | None:
    """A moment of the query, "seconds" or "seconds.fraction", in nanoseconds; None without one.

    Raises InvalidArgument: relative times ("10m") are the client's to resolve.
    """
    text = request.query.get(name, "")
    if not text:
        return None
    found = re.fullmatch(r"(-?\d{1,11})(?:\.(\d{1,9})\d*)?", text)
    if not found:
        raise InvalidArgument(f"{name} must be seconds since 1970, like 1136073600.000000001, not {text!r}")
    return int(found[1]) * 1_000_000_000 + int((found[2] or "").ljust(9, "0"))


class EventFilter:
    """Which events are wanted: any value of each filter, and every filter; labels all of them."""

    def __init__(self, filters: Mapping[str, list[str]]) -> None:
        self._filters = filters

    def matches(self, event: Event) -> bool:
        """As Docker chooses: https://docs.docker.com/reference/cli/docker/system/events/#filter."""
        return all(self._passes(name, values, event) for name, values in self._filters.items() if values)

    def _passes(self, name: str, values: list[str], event: Event) -> bool:
        attributes = event.attributes
        if name == "type":
            return event.kind in values
        if name == "scope":
            return "local" in values
        if name == "event":
            return event.action in values or (
                event.action.startswith(DETAILED) and any(event.action.startswith(value) for value in values)
            )
        if name == "label":
            return all(_has_label(attributes, value) for value in values)
        if name == "image":
            image = attributes.get("image" if event.kind == "container" else "name", "")
            names = {event.actor, image, _without_tag(event.actor), _without_tag(image)} - {""}
            return event.kind in ("container", "image") and not names.isdisjoint(values)
        if name in FOREIGN or event.kind != name:
            return False
        return any(event.actor.startswith(value) or attributes.get("name", "").startswith(value) for value in values)


def _has_label(attributes: Mapping[str, str], wanted: str) -> bool:
    """Whether "key" is there, or "key=value" as it says."""
    key, is_exact, value = wanted.partition("=")
    return key in attributes and (not is_exact or attributes[key] == value)


def _without_tag(image: str) -> str:
    """ "shop:5000/web:1" → "shop:5000/web"."""
    head, _, last = image.rpartition("/")
    name = last.partition("@")[0].partition(":")[0]
    return f"{head}/{name}" if head else name
