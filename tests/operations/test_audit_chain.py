"""The chain of the audit trail: one after another whoever writes, nothing changed afterwards."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError, connection, transaction

from controlplane.access.models import Standing, User
from controlplane.lib import origin
from controlplane.operations import actions, chain, guards, lifecycle
from controlplane.operations.audit import gathered, record
from controlplane.operations.models import AppendOnly, AuditEntry, AuditHead, Operation
from controlplane.operations.verify import verify
from hosts.models import Environment, Host
from tests.operations.conftest import request
from tests.operations.trail import TABLE, entries, sql

NOBODY = AnonymousUser()


@pytest.mark.django_db
def test_an_entry_holds_the_hash_of_the_one_before() -> None:
    first, second = entries(2)
    assert (first.seq, first.prev) == (1, "0" * 64)
    assert (second.seq, second.prev) == (2, first.hash)
    head = AuditHead.objects.get()
    assert (head.seq, head.hash) == (2, second.hash)


@pytest.mark.django_db
def test_the_form_is_the_one_that_is_documented() -> None:
    """Pinned by hand: were it another, nobody could verify what was written before."""
    entry = AuditEntry(
        seq=7, version=1, prev="a" * 64, at=datetime(2026, 11, 29, 15, 55, 54, 120, tzinfo=UTC), actor_id=3,
        actor_name="Ada “A” Löwe", ip="2001:DB8::0:1", door="page", verb="container.stop", target_kind="container",
        target_id="c1", target_name="a\\b", host_name="edge-1", environment="prod", detail='say "x" / ü 🦀',
        operation_id=12,
    )  # fmt: skip
    expected = (
        '{"actor":3,"actor_name":"Ada “A” Löwe","at":"2026-11-29T15:55:54.000120Z","detail":"say \\"x\\" / ü 🦀",'
        '"door":"page","environment":"prod","host":"edge-1","ip":"2001:db8::1","operation":12,"outcome":"allowed",'
        f'"prev":"{"a" * 64}","refers_to":null,"result":"","seconds":null,"seq":7,"target_id":"c1",'
        '"target_kind":"container","target_name":"a\\\\b","token":null,"token_name":"","verb":"container.stop",'
        '"version":1}'
    )
    assert chain.canonical(chain.fields(entry)).decode() == expected
    assert chain.digest(entry) == hashlib.sha256(expected.encode()).hexdigest()
    assert json.loads(chain.line(entry)) == {**json.loads(expected), "hash": ""}


def test_the_second_version_has_the_environment_s_number_and_is_else_the_same() -> None:
    first, second = (
        chain.fields(AuditEntry(seq=1, version=version, at=datetime(2026, 11, 29, tzinfo=UTC), environment_row_id=5))
        for version in (1, chain.VERSION)
    )
    assert second == {**first, "version": 2, "environment_id": 5}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:DB8:0:0::0:1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::192.0.2.7", "::c000:207"),
        ("", None),
        ("unix:/run/x", None),
        (None, None),
    ],
)
def test_an_address_has_one_spelling(given: str | None, kept: str | None) -> None:
    entry = record(NOBODY, "x.y", ip=given)
    assert entry.ip == kept
    assert chain.digest(AuditEntry.objects.get(pk=entry.pk)) == entry.hash


@pytest.mark.django_db
def test_who_where_and_by_which_door() -> None:
    ada = User.objects.create(username="ada", standing=Standing.ADMINISTRATOR)
    host = Host.objects.create(name="edge-1", environment=Environment.objects.create(name="Staging East", slug="east"))
    with origin.entered(door="api", ip="192.0.2.1", token_id=9, token_name="ci"):
        entry = record(ada, "container.stop", host=host)
    assert (entry.actor, entry.actor_name, entry.token_id, entry.token_name) == (ada, "ada", 9, "ci")
    assert (entry.ip, entry.door, entry.host_name, entry.environment) == ("192.0.2.1", "api", "edge-1", "Staging East")
    assert record(ada, "x.y").door == "command", "what is not said by an edge comes from the command line"


@pytest.mark.django_db
def test_what_is_gathered_is_written_at_the_end_and_together() -> None:
    with transaction.atomic(), gathered():
        entries(2)
        with gathered():
            entries(1)
        with suppress(_UndoError), gathered():
            entries(1)
            raise _UndoError
        assert not AuditEntry.objects.exists()
    assert list(AuditEntry.objects.order_by("seq").values_list("seq", "detail")) == [
        (1, "number 0"),
        (2, "number 1"),
        (3, "number 0"),
    ]
    with suppress(_UndoError), transaction.atomic(), gathered():
        entries(1)
        raise _UndoError
    assert AuditHead.objects.get().seq == 3


@pytest.mark.django_db
def test_what_was_undone_leaves_no_gap() -> None:
    entries(1)
    with suppress(_UndoError), transaction.atomic():
        entries(3)
        raise _UndoError
    assert [entry.seq for entry in entries(2)] == [2, 3]
    assert verify([]).findings == ()


@pytest.mark.django_db
def test_python_changes_no_entry() -> None:
    (entry,) = entries(1)
    rows = AuditEntry.objects.filter(pk=entry.pk)
    for attempt in (
        lambda: rows.update(detail="x"),
        lambda: rows.delete(),
        lambda: AuditEntry.objects.create(actor_name="x"),
        lambda: AuditEntry.objects.bulk_create([AuditEntry()]),
        lambda: AuditEntry.objects.bulk_update([entry], ["detail"]),
        lambda: AuditEntry.objects.get_or_create(actor_name="x"),
        lambda: AuditEntry.objects.update_or_create(actor_name="x"),
        entry.save,
        entry.delete,
    ):
        with pytest.raises(AppendOnly):
            attempt()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE {TABLE} SET detail = 'x'",
        f"UPDATE {TABLE} SET seq = 9 WHERE seq = 1",
        f"DELETE FROM {TABLE} WHERE seq = 1",
        f"DELETE FROM {guards.HEAD}",
        f"UPDATE {guards.HEAD} SET seq = 1",
        f"UPDATE {guards.HEAD} SET seq = 9, id = 2",
        f"INSERT OR REPLACE INTO {TABLE} SELECT * FROM {TABLE} WHERE seq = 1",
        f"TRUNCATE {TABLE}",
        f"TRUNCATE {guards.HEAD}",
    ],
)
def test_the_database_changes_no_entry(statement: str) -> None:
    only = "postgresql" if "TRUNCATE" in statement else "sqlite" if "REPLACE" in statement else connection.vendor
    if connection.vendor != only:
        pytest.skip(f"{connection.vendor} has no such statement")
    entries(2)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        sql(statement)
    assert AuditEntry.objects.count() == 2


@pytest.mark.django_db
def test_an_entry_outlives_what_it_names() -> None:
    ada = User.objects.create(username="ada", standing=Standing.ADMINISTRATOR)
    host = Host.objects.create(name="edge-1")
    operation = actions.start(ada, request("say", host=host))
    entry = AuditEntry.objects.get()
    actor, host_id = ada.pk, host.pk
    Operation.objects.filter(pk=operation.pk).delete()
    host.delete()
    ada.delete()
    kept = AuditEntry.objects.select_related("actor", "operation").get()
    assert (kept.actor_id, kept.actor_name, kept.host_name) == (actor, "ada", "edge-1")
    assert (kept.actor, kept.operation) == (None, None), "the ids lead nowhere now"
    assert (kept.hash, chain.digest(kept)) == (entry.hash, entry.hash)
    assert verify([]).findings == ()
    assert host_id


@pytest.mark.django_db(transaction=True)
def test_writers_at_once_make_one_chain() -> None:
    """Each thread with a connection of its own; some of what they do is undone."""
    writers, each = 6, 15
    begin = threading.Barrier(writers)
    failed: list[Exception] = []

    def write(number: int) -> None:
        try:
            begin.wait()
            for n in range(each):
                with suppress(_UndoError), transaction.atomic():
                    record(NOBODY, "container.stop", detail=f"{number}.{n}")
                    if n % 3 == 2:
                        raise _UndoError
        except Exception as exc:  # noqa: BLE001 - told to the test
            failed.append(exc)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    report = verify([])
    assert (report.findings, report.checked) == ((), writers * each * 2 // 3)
    assert AuditHead.objects.get().seq == report.last == report.checked


@pytest.mark.django_db(transaction=True)
def test_cancelling_and_ending_at_once_do_not_lock_each_other_out() -> None:
    """Both end operations and write of it: were the chain's end locked before the rows, they would wait in a ring."""
    ada = User.objects.create(username="ada", standing=Standing.ADMINISTRATOR)
    parent = actions.start_many(ada, "Many", [request("say") for _ in range(10)])
    children = list(parent.children.order_by("pk"))
    claimed = [lifecycle.claim(child.pk) for child in children[::2]]
    begin = threading.Barrier(2)
    failed: list[Exception] = []

    def run(work: list[object]) -> None:
        try:
            begin.wait()
            for each in work:
                each()  # type: ignore[operator]
        except Exception as exc:  # noqa: BLE001 - told to the test
            failed.append(exc)
        finally:
            connection.close()

    ends = [lambda each=each: lifecycle.finish(each, "succeeded") for each in reversed(claimed)]
    threads = [threading.Thread(target=run, args=(work,)) for work in ([lambda: actions.cancel(ada, parent)], ends)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    ended = AuditEntry.objects.filter(verb="operation.ended")
    assert ended.count() == len(children)
    first = {entry.operation_id: entry.seq for entry in AuditEntry.objects.filter(verb="container.start")}
    assert all(entry.refers_to == first[entry.operation_id] for entry in ended)
    assert set(ended.values_list("result", flat=True)) == {"succeeded", "cancelled"}
    assert verify([]).findings == ()


class _UndoError(Exception):
    """Undo the present transaction."""
