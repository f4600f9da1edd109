"""The audit trail: one entry for each change and each reading of what is private, allowed or refused.

Who appends holds the end of the chain until the transaction ends (`chain.append`). So `record` comes last in its
transaction, after every other row was locked; a transaction of several steps gathers its entries instead:

    with transaction.atomic(), gathered():
        …
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.db.models import Model
from django.http import HttpRequest

from controlplane.access.decide import Actor
from controlplane.access.models import User
from controlplane.access.reach import environment_of
from controlplane.lib import origin
from controlplane.lib.logs import printable
from controlplane.operations import chain
from controlplane.operations.models import AuditEntry, Operation, Outcome

MOST_DETAIL = 4000  # characters; an entry fits into one datagram

_gathering: ContextVar[list[AuditEntry] | None] = ContextVar("gantry_audit_gathering", default=None)


def client_ip(request: HttpRequest) -> str | None:
    return request.META.get("REMOTE_ADDR") or None


@contextmanager
def gathered() -> Iterator[None]:
    """What is recorded inside is written at the end, all at once; nothing when it ends with an error."""
    outer = _gathering.get()
    entries: list[AuditEntry] = [] if outer is None else outer
    begun = len(entries)
    _gathering.set(entries)
    try:
        yield
        if outer is None:
            chain.append(entries)
    except BaseException:
        del entries[begun:]
        raise
    finally:
        _gathering.set(outer)


def record(
    actor: Actor,
    verb: str,
    *,
    target_kind: str = "",
    target_id: object = "",
    target_name: str = "",
    host: Any = None,
    host_name: str = "",
    environment: Model | None = None,
    outcome: str = Outcome.ALLOWED,
    result: str = "",
    seconds: int | None = None,
    follows: AuditEntry | None = None,
    detail: str = "",
    operation: Operation | None = None,
    ip: str | None = None,
    door: str = "",
    stranger: str = "anonymous",
) -> AuditEntry:
    """Write one entry in the present transaction. Control characters in names are escaped: one entry, one line.

    `host`: a hosts.Host, for its name and its environment. `follows`: the entry whose end this one tells, in the same
    environment unless another is given. `ip`, `door`: where it comes from, when that is not the present origin.
    `stranger` is what an actor without an account is called.
    """
    here = origin.current()
    if host is not None:
        host_name, environment = host.name, environment or environment_of(host)
    where = {
        "environment": printable(str(environment or ""))[:60],
        "environment_row_id": environment and environment.pk,
    }
    if environment is None and follows is not None:
        where = {"environment": follows.environment, "environment_row_id": follows.environment_row_id}
    name = actor.display if isinstance(actor, User) else stranger
    entry = AuditEntry(
        actor=actor if isinstance(actor, User) else None,
        actor_name=printable(name)[:200],
        token_id=here.token_id,
        token_name=printable(here.token_name)[:200],
        ip=chain.address(ip or here.ip),
        door=door or here.door,
        verb=verb[:60],
        target_kind=target_kind,
        target_id=printable(str(target_id))[:300],
        target_name=printable(target_name)[:300],
        host_name=printable(host_name)[:200],
        **where,
        outcome=outcome,
        result=result,
        seconds=seconds,
        refers_to=follows.seq if follows else None,
        detail=printable(detail)[:MOST_DETAIL],
        operation=operation,
    )
    entries = _gathering.get()
    if entries is None:
        chain.append([entry])
    else:
        entries.append(entry)
    return entry


@contextmanager
def as_asked(operation: Operation) -> Iterator[AuditEntry | None]:
    """What is recorded inside comes from where `operation` was asked for: its door, address and token, whoever runs it.

    Gives the entry of the asking; None when there is none.
    """
    asked = AuditEntry.objects.filter(operation=operation.pk).order_by("seq").first()
    if asked is not None:
        where = {name: getattr(asked, name) for name in ("door", "ip", "token_id", "token_name")}
    else:
        where = {"token_id": operation.token_id, "token_name": operation.token.name if operation.token else ""}
    with origin.entered(**where):
        yield asked


def about(target: Model) -> dict[str, Any]:
    """What `record` says of one of our own rows: its kind, id, name, and the host and environment it belongs to."""
    kind = target._meta.model_name or ""
    said: dict[str, Any] = {"target_kind": kind, "target_id": target.pk or "", "target_name": str(target)}
    host = target if kind == "host" else getattr(getattr(target, "operation", target), "host", None)
    said["environment"] = environment_of(target)
    # An operation and a recording keep the name of a host that is gone.
    said["host_name"] = getattr(target, "host_name", "") or getattr(host, "name", "")
    if kind == "operation":
        said["target_name"] = getattr(target, "title", "")
    elif kind in ("container", "image"):  # the engine's own: rows of the mirror come and go
        said["target_id"] = getattr(target, "engine_id", "")
    return said


def audited(request: HttpRequest, actor: Actor, verb: str, target: Model, detail: str) -> AuditEntry:
    """`record` for what is done at once, within the request, to one of our own rows."""
    return record(actor, verb, **about(target), detail=detail, ip=client_ip(request))
