"""Logs of containers: as a stream, as a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from asgiref.sync import async_to_sync
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone
from ninja import Query, Router, Schema
from pydantic import ConfigDict, Field

from containers import log_files
from containers.access import get_container
from containers.logs import LogQuery, download_name
from containers.models import Container
from controlplane.access.models import User
from controlplane.api import streams
from controlplane.lib.errors import Unavailable
from controlplane.operations.audit import about
from controlplane.operations.sockets import Reading

router = Router(tags=["containers"])


class LogsQuery(Schema):
    model_config = ConfigDict(extra="forbid")

    tail: Annotated[str, Field(max_length=10, pattern=r"^(all|[0-9]{1,7})$", description="all, or a number")] = "500"
    since: Annotated[str, Field(max_length=24, description="Seconds since 1970")] = ""
    follow: bool = False
    stdout: bool = True
    stderr: bool = True


class DownloadQuery(Schema):
    model_config = ConfigDict(extra="forbid")

    tail: Annotated[str, Field(max_length=10, pattern=r"^(all|[0-9]{1,7})$", description="all, or a number")] = "all"
    since: Annotated[str, Field(max_length=24, description="Seconds since 1970")] = ""
    stdout: bool = True
    stderr: bool = True
    timestamps: Annotated[bool, Field(description="When each line was written, in front of it.")] = False


TEXT: dict[str, Any] = {
    "responses": {200: {"description": "The log.", "content": {"text/plain": {"schema": {"type": "string"}}}}}
}


@router.get("/{int:pk}/logs", operation_id="get_logs", openapi_extra=streams.DESCRIBED)
def get_logs(request: HttpRequest, pk: int, query: Query[LogsQuery]) -> HttpResponseBase:
    """Its log, line by line; with `follow`, as it comes."""
    container = _with_log(request, pk)
    reading = Reading(request.user, "container.logs", **about(container))
    return streams.respond(request, streams.logs(container, _wanted(query), reading), _still(pk))


@router.get("/{int:pk}/logs/download", operation_id="download_logs", openapi_extra=TEXT)
def download_logs(request: HttpRequest, pk: int, query: Query[DownloadQuery]) -> HttpResponseBase:
    """Its log as it was written, as a file."""
    container = _with_log(request, pk)
    reading = Reading(request.user, "container.logs", **about(container))
    content = log_files.text(container, _wanted(query, follow=0), reading)
    first = async_to_sync(log_files.begun)(content)
    lines = log_files.chained(first, content)
    response = streams.respond_with_bytes(request, lines, _still(pk), "text/plain; charset=utf-8")
    name = download_name(container.name, f"{timezone.now():%Y%m%dT%H%M%SZ}")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _still(pk: int) -> Callable[[User], Container]:
    """Asked again and again while it is sent: whether the log is still for whoever reads it."""
    return lambda actor: get_container(actor, pk, "container.logs")


def _with_log(request: HttpRequest, pk: int) -> Container:
    container = get_container(request.user, pk, "container.logs")
    if not container.host.is_connected:
        raise Unavailable(f"{container.host.name} is {container.host.get_state_display().lower()}.")
    return container


def _wanted(query: Schema, **more: int) -> LogQuery:
    said = {name: int(value) if isinstance(value, bool) else value for name, value in query.model_dump().items()}
    return LogQuery.parse("&".join(f"{name}={value}" for name, value in {**said, **more}.items()))
