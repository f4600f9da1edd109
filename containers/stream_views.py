"""The pages around a container's streams: its logs, and a terminal in it."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from csp.constants import SELF, UNSAFE_INLINE
from csp.decorators import csp_update
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils import timezone

from containers import log_files
from containers.access import get_container
from containers.logs import LogQuery, download_name
from controlplane.access.decide import allows
from controlplane.access.downloads import while_allowed
from controlplane.lib.pages import page
from controlplane.operations.audit import about
from controlplane.operations.sockets import Reading


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
    reading = Reading(request.user, "container.logs", **about(container))
    content = log_files.text(container, wanted, reading)
    chained = log_files.chained(await log_files.begun(content), content)
    whole = while_allowed(request, chained, lambda user: get_container(user, pk, "container.logs"))
    response = StreamingHttpResponse(whole, content_type="text/plain; charset=utf-8")
    name = download_name(container.name, f"{timezone.now():%Y%m%dT%H%M%SZ}")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response


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
