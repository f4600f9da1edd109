"""Entries to tamper with, and the way past the triggers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db import connection

from controlplane.operations import chain, guards
from controlplane.operations.audit import record
from controlplane.operations.models import AuditEntry

TABLE = guards.ENTRIES


def entries(count: int, **said: Any) -> list[AuditEntry]:
    """So many new ones."""
    return [record(AnonymousUser(), "container.stop", detail=f"number {n}", **said) for n in range(count)]


def sql(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


@contextmanager
def unguarded() -> Iterator[None]:
    """As somebody who owns the database could: without the triggers, and with them back afterwards."""
    guards.remove(connection)
    try:
        yield
    finally:
        guards.install(connection)


def renumber(old: int, new: int) -> None:
    sql(f"UPDATE {TABLE} SET seq = %s WHERE seq = %s", new, old)


def swap(first: int, second: int) -> None:
    """The numbers of two entries."""
    renumber(first, -1)
    renumber(second, first)
    renumber(-1, second)


def rehash(entry: AuditEntry) -> None:
    """As somebody who knows the form."""
    sql(f"UPDATE {TABLE} SET hash = %s WHERE seq = %s", chain.digest(entry), entry.seq)


def copy_of(original: int, /, **changes: Any) -> None:
    """Put an entry in by hand."""
    names = [field.column for field in AuditEntry._meta.concrete_fields if field.column != "id"]
    values = [changes.get(name, getattr(AuditEntry.objects.get(seq=original), name)) for name in names]
    sql(f"INSERT INTO {TABLE} ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))})", *values)


def make_room(after: int, last: int) -> None:
    for each in range(last, after, -1):
        renumber(each, each + 1)
