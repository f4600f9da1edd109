"""Recordings: the list, the player, the view of a shell as it goes on, download, removal."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from csp.constants import SELF, UNSAFE_INLINE
from csp.decorators import csp_update
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_GET, require_POST

from containers.models import Recording
from containers.recordings import actions, taking
from containers.recordings.access import get_recording, recordings_of
from containers.recordings.cast import MEDIA_TYPE
from containers.recordings.files import pool
from containers.recordings.filters import SORTS, RecordingFilter
from controlplane.access.decide import allows, require
from controlplane.access.downloads import while_allowed
from controlplane.access.middleware import signed_in
from controlplane.lib.lists import listing
from controlplane.lib.pages import back, page
from controlplane.operations.audit import audited, client_ip

SPEEDS = ("0.5", "1", "2", "4", "8", "16")  # static/js/recordings/player.js has the same

# xterm.js writes its own style sheet into the page; scripts stay as narrow as everywhere.
POLICY = {"style-src": [SELF, UNSAFE_INLINE]}


def recording_list(request: HttpRequest) -> HttpResponse:
    """All recordings one may see, those of open shells first."""
    require(request.user, "recording.see")
    found = listing(request, RecordingFilter, recordings_of(request.user), sorts=SORTS, default_sort="-started")
    return page(request, "recordings/list.html", {"listing": found})


@csp_update(POLICY)  # type: ignore[arg-type]
def recording_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """The player. It fetches the cast itself (static/js/recording.js), and `?t=` says where to begin. An open shell is
    watched live, which its person sees.
    """
    recording = get_recording(request.user, pk)
    if recording.is_live:
        return redirect("recordings:watch", pk=pk)
    context = {
        "recording": recording,
        "speeds": SPEEDS,
        "can_remove": allows(request.user, "recording.remove", recording),
    }
    return page(request, "recordings/detail.html", context)


@csp_update(POLICY)  # type: ignore[arg-type]
def watch(request: HttpRequest, pk: int) -> HttpResponse:
    """An open shell as the person in it sees it. The page opens the stream itself (static/js/watch.js)."""
    return page(request, "recordings/watch.html", {"recording": get_recording(request.user, pk)})


@require_GET
async def cast(request: HttpRequest, pk: int) -> StreamingHttpResponse:
    """The recording for the player. 409 while its shell is open."""
    return await _sent(request, pk, "replayed")


@require_GET
async def download(request: HttpRequest, pk: int) -> StreamingHttpResponse:
    """The recording as a file, for asciinema and its like."""
    return await _sent(request, pk, "downloaded")


async def _sent(request: HttpRequest, pk: int, deed: str) -> StreamingHttpResponse:
    recording = await sync_to_async(_opened)(request, pk, deed)
    size = await pool(taking.complete_size, recording)
    content = while_allowed(request, taking.pieces(recording, size), lambda user: get_recording(user, pk))
    response = StreamingHttpResponse(content, content_type=MEDIA_TYPE)
    response["Content-Length"] = str(size)
    response["Cache-Control"] = "no-store"
    if deed == "downloaded":
        response["Content-Disposition"] = f'attachment; filename="{taking.file_name(recording)}"'
    return response


def _opened(request: HttpRequest, pk: int, deed: str) -> Recording:
    """The recording, and who takes it is written down. Raises Conflict while its shell is open."""
    recording = get_recording(request.user, pk)
    taking.require_over(recording)
    audited(request, request.user, "recording.see", recording, deed)
    return recording


@require_POST
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Remove one recording."""
    recording = get_recording(request.user, pk, "recording.remove")
    actions.remove(signed_in(request), recording, client_ip(request))
    messages.success(request, f"The recording of {recording} was removed.")
    return back(request, "recordings:list")
