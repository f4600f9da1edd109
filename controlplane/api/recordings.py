"""Recordings of terminals: which there are, what one shows, removing one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Query, Router, Schema
from pydantic import Field

from containers.models import Recording
from containers.recordings import actions, taking
from containers.recordings.access import get_recording, recordings_of
from containers.recordings.cast import MEDIA_TYPE
from containers.recordings.filters import SORTS, RecordingFilter
from controlplane.access.decide import require
from controlplane.api import streams
from controlplane.api.common import caller, ip_of
from controlplane.api.paging import Page, paged, query_of
from controlplane.operations.audit import audited

router = Router(tags=["recordings"])

CAST: dict[str, Any] = {
    "responses": {
        200: {
            "description": "An asciicast, version 2.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        }
    }
}


class RecordingOut(Schema):
    """What one shell showed. It outlives its container, its host and its person."""

    id: int
    actor: str
    container: str
    engine_id: str
    image: str
    host: str
    environment: str | None
    shell: str
    state: Annotated[str, Field(description="“live”, or how it ended.")]
    exit_code: int | None
    trouble: Annotated[str, Field(description="Why it ended before its shell.")]
    started_at: datetime
    ended_at: datetime | None
    size: Annotated[int, Field(description="Bytes of its cast; 0 while it is live.")]

    @staticmethod
    def resolve_actor(row: Recording) -> str:
        return row.actor_name

    @staticmethod
    def resolve_container(row: Recording) -> str:
        return row.container_name

    @staticmethod
    def resolve_image(row: Recording) -> str:
        return row.image_ref

    @staticmethod
    def resolve_host(row: Recording) -> str:
        return row.host_name

    @staticmethod
    def resolve_environment(row: Recording) -> str | None:
        return row.environment.slug if row.environment else None


RecordingQuery = query_of("RecordingQuery", RecordingFilter, SORTS, "-started")


@router.get("", response=Page[RecordingOut], operation_id="list_recordings")
def list_recordings(request: HttpRequest, query: Query[RecordingQuery]) -> Any:  # type: ignore[valid-type]
    """Those one may replay, those of open shells first."""
    require(request.user, "recording.see")
    return paged(request, RecordingFilter, recordings_of(request.user), query, sorts=SORTS)


@router.get("/{int:pk}", response=RecordingOut, operation_id="get_recording")
def get_one(request: HttpRequest, pk: int) -> Any:
    """One of them."""
    return get_recording(request.user, pk)


@router.get("/{int:pk}/cast", operation_id="get_cast", openapi_extra=CAST)
def cast(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The recording itself, for asciinema and its like. 409 while its shell is open. Who takes it is written down."""
    recording = get_recording(request.user, pk)
    taking.require_over(recording)
    audited(request, request.user, "recording.see", recording, "downloaded")
    size = taking.complete_size(recording)
    content = taking.pieces(recording, size)
    response = streams.respond_with_bytes(request, content, lambda actor: get_recording(actor, pk), MEDIA_TYPE)
    response["Content-Length"] = str(size)
    response["Content-Disposition"] = f'attachment; filename="{taking.file_name(recording)}"'
    return response


@router.delete("/{int:pk}", response={204: None}, operation_id="remove_recording")
def remove(request: HttpRequest, pk: int) -> Any:
    """Remove it for good. 409 while it is being written."""
    actions.remove(caller(request), get_recording(request.user, pk, "recording.remove"), ip_of(request))
