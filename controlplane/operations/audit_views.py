"""The audit trail, to search, open and export."""

from __future__ import annotations

from collections.abc import AsyncIterator

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from controlplane.access.decide import allows, require, visible
from controlplane.access.downloads import while_allowed
from controlplane.access.giving import EVERYTHING
from controlplane.access.middleware import signed_in
from controlplane.access.models import User
from controlplane.lib.keyset import keyed
from controlplane.lib.pages import page
from controlplane.operations import entries
from controlplane.operations.filters import AuditFilter
from controlplane.operations.models import AuditCursor, AuditEntry


def trail(request: HttpRequest) -> HttpResponse:
    """Who asked for what, newest first; search, filters and place are in the URL. Of one environment for those who
    hold the right there alone, as on all pages here."""
    require(request.user, "audit.see")
    rows = visible(request.user, "audit.see", AuditEntry.objects.select_related("operation"))
    sees_all = allows(request.user, "audit.see", EVERYTHING)
    context = {
        "listing": keyed(request, AuditFilter, rows, key="seq"),
        "sees_all": sees_all,
        "waiting": AuditCursor.objects.filter(name="syslog").exclude(trouble="").first() if sees_all else None,
    }
    return page(request, "operations/audit.html", context)


def entry(request: HttpRequest, pk: int) -> HttpResponse:
    """One entry whole: its hash and whether it fits, what stands before and after it, what refers to it."""
    found = entries.get_entry(signed_in(request), pk)
    return page(request, "operations/audit_entry.html", {**vars(found), "line": found.line})


@require_GET
async def export(request: HttpRequest) -> StreamingHttpResponse:
    """What the filters leave, oldest first, as JSON Lines: what is hashed, with the hash. Up to the present end."""
    lines = await sync_to_async(_begun)(request)
    content = while_allowed(request, lines, lambda user: require(user, "audit.see"))
    response = StreamingHttpResponse(content, content_type="application/x-ndjson; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="audit-{timezone.now():%Y%m%dT%H%M%SZ}.jsonl"'
    response["Cache-Control"] = "no-store"
    return response


def _begun(request: HttpRequest) -> AsyncIterator[bytes]:
    """The lines; that they are asked for is written down first."""
    actor = signed_in(request)
    require(actor, "audit.see")
    narrowed = AuditFilter(request.GET, queryset=AuditEntry.objects.all(), request=request)
    narrowed.form.is_valid()  # what is not valid narrows nothing, here as on the page
    return entries.export(actor, narrowed, lambda: User.objects.get(pk=actor.pk))
