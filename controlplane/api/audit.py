"""The audit trail, to be read: the list, one entry in its place, all of it as JSON Lines."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from ninja import Query, Router, Schema

from controlplane.access import tokens
from controlplane.access.decide import require, visible
from controlplane.access.models import User
from controlplane.api.common import caller, ip_of
from controlplane.api.paging import Page, filters_of, narrowed_by, paged, query_of
from controlplane.api.streams import NDJSON
from controlplane.operations import entries
from controlplane.operations.filters import AuditFilter
from controlplane.operations.models import AuditEntry

router = Router(tags=["audit"])
SORTS = {"seq": ("seq",)}


class AuditOut(Schema):
    """Who asked for what, on what, and whether it was allowed."""

    seq: int
    at: datetime
    actor: str
    door: str
    token: str
    ip: str | None
    verb: str
    target: dict[str, str]
    host: str
    environment: str
    outcome: str
    detail: str
    operation: int | None

    @staticmethod
    def resolve_actor(row: AuditEntry) -> str:
        return row.actor_name

    @staticmethod
    def resolve_token(row: AuditEntry) -> str:
        return row.token_name

    @staticmethod
    def resolve_host(row: AuditEntry) -> str:
        return row.host_name

    @staticmethod
    def resolve_target(row: AuditEntry) -> dict[str, str]:
        return {"kind": row.target_kind, "id": row.target_id, "name": row.target_name}

    @staticmethod
    def resolve_operation(row: AuditEntry) -> int | None:
        return row.operation_id


class AuditDetail(AuditOut):
    """With its place in the chain. `is_whole`: its hash fits it; `follows`: it holds the hash of the one before.
    `origin`: the entry whose end it tells; `sequels`: those that tell of its own. `line`: as it is exported."""

    environment: str
    result: str
    seconds: int | None
    prev: str
    hash: str
    is_whole: bool
    follows: bool
    origin: int | None
    sequels: list[int]
    line: str


EXPORTED: dict[str, Any] = {
    "responses": {
        200: {
            "description": "An entry a line, as docs/audit.md says, with its hash.",
            "content": {NDJSON: {"schema": {"type": "object"}}},
        }
    }
}
AuditQuery = query_of("AuditQuery", AuditFilter, SORTS, "-seq")


@router.get("", response=Page[AuditOut], operation_id="list_audit")
def list_audit(request: HttpRequest, query: Query[AuditQuery]) -> Any:  # type: ignore[valid-type]
    """The trail, the newest first."""
    require(request.user, "audit.see")
    rows = visible(request.user, "audit.see", AuditEntry.objects.all())
    return paged(request, AuditFilter, rows, query, sorts=SORTS, last=("seq",))


ExportQuery = filters_of("ExportQuery", AuditFilter)


@router.get("/export", operation_id="export_audit", openapi_extra=EXPORTED)
def export(request: HttpRequest, query: Query[ExportQuery]) -> HttpResponseBase:  # type: ignore[valid-type]
    """What the filters leave, the oldest first, up to the present end. It breaks off when the right or the token ends.
    That it was asked for is written down."""
    actor, ip = caller(request), ip_of(request)
    require(actor, "audit.see")
    narrowed = narrowed_by(request, AuditFilter, AuditEntry.objects.all())

    def again() -> User:
        assert actor.token is not None
        return tokens.still_good(actor.token, ip)

    response = StreamingHttpResponse(entries.export(actor, narrowed, again))
    response["Content-Type"] = f"{NDJSON}; charset=utf-8"
    response["Cache-Control"] = "no-store"
    return response


@router.get("/{int:pk}", response=AuditDetail, operation_id="get_audit_entry")
def get_one(request: HttpRequest, pk: int) -> Any:
    """One entry, by its `seq`: whether it is as it was written, and what refers to it."""
    found = entries.get_entry(caller(request), pk)
    row: Any = found.entry
    row.is_whole, row.follows, row.line = found.is_whole, found.follows, found.line
    row.origin = found.origin.seq if found.origin else None
    row.sequels = [each.seq for each in found.sequels]
    return row
