"""The pages around a container's streams: its logs, and a terminal in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from asgiref.sync import sync_to_async
from csp.constants import SELF, UNSAFE_INLINE
from csp.decorators import csp_update
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils import timezone

from containers.access import get_container
from containers.logs import LogQuery, download_name, has_terminal
from containers.models import Container
from controlplane.access.decide import allows
from controlplane.lib.errors import GantryError
from controlplane.lib.pages import page
from hosts.engine import demultiplex, engine_for, explain

CHUNK = 64 * 1024


def logs(request: HttpRequest, pk: int) -> HttpResponse:
    """The log viewer. The page opens the stream itself (static/js/logs.js), its options in the URL."""
    container = get_container(request.user, pk, "container.logs")
    context = {"container": container, "can_exec": allows(request.user, "container.exec", container)}
    return page(request, "containers/logs.html", context)


async def download_logs(request: HttpRequest, pk: int) -> HttpResponse | StreamingHttpResponse:
    """The log as a file: all of it, or what `?since=`, `tail`, `stdout`, `stderr`, `timestamps` leave."""
    container = await sync_to_async(get_container)(request.user, pk, "container.logs")
    query = request.META.get("QUERY_STRING", "")
    wanted = LogQuery.parse(f"{query}&follow=0", tail="all", timestamps=False)
    content = _log_text(container, wanted)
    # The engine's refusal must be known before the headers are sent; an error later breaks the download off,
    # which the browser shows as a failed one.
    try:
        first = await anext(content, b"")
    except GantryError as exc:
        exc.message, exc.hint = explain(exc, "container.logs")
        raise
    response = StreamingHttpResponse(_chained(first, content), content_type="text/plain; charset=utf-8")
    name = download_name(container.name, f"{timezone.now():%Y%m%dT%H%M%SZ}")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async with aclosing(rest):  # type: ignore[type-var]
        yield first
        async for data in rest:
            yield data


async def _log_text(container: Container, wanted: LogQuery) -> AsyncIterator[bytes]:
    """The log's bytes without frames. Each piece is read when the one before it has been sent."""
    path = f"/containers/{container.engine_id}"
    async with engine_for(container.host) as engine:
        inspection = await engine.get(f"{path}/json", timeout=10)
        async with engine.stream("GET", f"{path}/logs", **wanted.parameters()) as response:
            if has_terminal(inspection):
                while data := await response.content.read(CHUNK):
                    yield data
            else:
                async for _, data in demultiplex(response.content):
                    yield data


# What a phone's keyboard lacks: the key (static/js/terminal/keypad.js), its face, its name.
KEYS = (
    ("esc", "esc", "Escape"),
    ("tab", "tab", "Tab"),
    ("ctrl", "ctrl", "Control, for the next key"),
    ("alt", "alt", "Alt, for the next key"),
    ("ctrl-c", "^C", "Control C"),
    ("left", "←", "Left"),
    ("down", "↓", "Down"),
    ("up", "↑", "Up"),
    ("right", "→", "Right"),
    ("home", "home", "Home"),
    ("end", "end", "End"),
    ("slash", "/", "Slash"),
    ("dash", "-", "Dash"),
    ("pipe", "|", "Pipe"),
    ("tilde", "~", "Tilde"),
)


# xterm.js writes its own style sheet into the page; scripts stay as narrow as everywhere.
@csp_update({"style-src": [SELF, UNSAFE_INLINE]})  # type: ignore[arg-type]
def terminal(request: HttpRequest, pk: int) -> HttpResponse:
    """A shell in the container. The page opens the stream itself (static/js/terminal.js)."""
    container = get_container(request.user, pk, "container.exec")
    context = {"container": container, "keys": KEYS, "can_start": allows(request.user, "container.start", container)}
    return page(request, "containers/terminal.html", context)
