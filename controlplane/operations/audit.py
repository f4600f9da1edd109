"""The audit trail: one row for each change asked for, allowed or refused."""

from __future__ import annotations

from django.db.models import Model
from django.http import HttpRequest

from controlplane.access.decide import Actor
from controlplane.access.models import User
from controlplane.operations.models import AuditEntry, Operation, Outcome


def client_ip(request: HttpRequest) -> str | None:
    return request.META.get("REMOTE_ADDR") or None


def record(
    actor: Actor,
    verb: str,
    *,
    target_kind: str = "",
    target_id: object = "",
    target_name: str = "",
    host_name: str = "",
    outcome: str = Outcome.ALLOWED,
    detail: str = "",
    operation: Operation | None = None,
    ip: str | None = None,
    stranger: str = "anonymous",
) -> AuditEntry:
    """Write one entry in the present transaction. Control characters in names are escaped: one entry, one line.

    `stranger` is what an actor without an account is called.
    """
    name = actor.display if isinstance(actor, User) else stranger
    return AuditEntry.objects.create(
        actor=actor if isinstance(actor, User) else None,
        actor_name=printable(name)[:200],
        ip=ip,
        verb=verb,
        target_kind=target_kind,
        target_id=printable(str(target_id))[:300],
        target_name=printable(target_name)[:300],
        host_name=printable(host_name)[:200],
        outcome=outcome,
        detail=printable(detail),
        operation=operation,
    )


def audited(request: HttpRequest, actor: Actor, verb: str, target: Model, detail: str) -> AuditEntry:
    """`record` for a change that is done at once, within the request, to one of our own rows."""
    return record(
        actor,
        verb,
        target_kind=target._meta.model_name or "",
        target_id=target.pk,
        target_name=str(target),
        detail=detail,
        ip=client_ip(request),
    )


def printable(text: str) -> str:
    """`text` with control and line-breaking characters written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
