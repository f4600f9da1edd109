"""Whatever is done to the trail behind our back, `audit_verify` finds it and says what it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.operations import anchors, chain, guards, tasks, verify
from controlplane.operations.audit import record
from controlplane.operations.models import AuditEntry, AuditHead
from tests.operations.trail import TABLE, copy_of, entries, make_room, rehash, renumber, sql, swap, unguarded

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _anchors_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchors, "folder", lambda: tmp_path / "audit")


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the report."""
    out = StringIO()
    try:
        call_command("audit_verify", "--json", *arguments, stdout=out)
    except SystemExit as exc:
        return int(str(exc.code)), json.loads(out.getvalue())
    return 0, json.loads(out.getvalue())


def first_finding() -> tuple[str, int]:
    code, report = run()
    assert code == 1
    return report["findings"][0]["kind"], report["findings"][0]["seq"]


def test_an_untouched_trail_is_whole() -> None:
    assert run()[0] == 0, "an empty one is, too"
    written = entries(12)
    code, report = run()
    assert (code, report["checked"], report["last"], report["hash"]) == (0, 12, 12, written[-1].hash)


COLUMNS = {
    "actor_id": 7, "actor_name": "eve", "token_id": 1, "token_name": "t", "ip": "192.0.2.9", "door": "api",
    "verb": "host.see", "target_kind": "host", "target_id": "9", "target_name": "n", "host_name": "h",
    "environment": "e", "environment_row_id": 4,
    "outcome": "refused", "result": "failed", "seconds": 5, "refers_to": 1, "detail": "nothing",
    "operation_id": 3, "at": "2020-01-01 00:00:00+00:00", "prev": "f" * 64, "hash": "f" * 64,
}  # fmt: skip


def test_every_column_is_tried() -> None:
    there = {field.column for field in AuditEntry._meta.concrete_fields}
    assert there == {*COLUMNS, "id", "seq", "version"}
    said = set(chain.fields(AuditEntry(at=anchors.timezone.now(), version=chain.VERSION)))
    assert len(said) == len(there) - 2, "all but the row's id and the hash are hashed"


@pytest.mark.parametrize("column", COLUMNS)
def test_an_altered_column_is_found(column: str) -> None:
    entries(5)
    with unguarded():
        sql(f"UPDATE {TABLE} SET {column} = %s WHERE seq = 3", COLUMNS[column])
    assert first_finding() == ("altered", 3)


def test_an_altered_entry_with_a_fitting_hash_breaks_with_the_next() -> None:
    entries(5)
    with unguarded():
        sql(f"UPDATE {TABLE} SET detail = 'nothing' WHERE seq = 3")
        rehash(AuditEntry.objects.get(seq=3))
    assert first_finding() == ("altered", 3)


def test_so_does_the_first_one() -> None:
    entries(3)
    with unguarded():
        sql(f"UPDATE {TABLE} SET detail = 'nothing' WHERE seq = 1")
        rehash(AuditEntry.objects.get(seq=1))
    assert first_finding() == ("altered", 1)


def test_one_that_follows_nothing_was_written_anew() -> None:
    entries(5)
    with unguarded():
        sql(f"UPDATE {TABLE} SET prev = %s WHERE seq = 3", "f" * 64)
        rehash(AuditEntry.objects.get(seq=3))
    assert first_finding() == ("altered", 3)


def test_one_that_was_overwritten_by_a_copy_of_another_is_altered() -> None:
    entries(6)
    with unguarded():
        sql(f"DELETE FROM {TABLE} WHERE seq = 5")
        copy_of(3, seq=5)
    assert first_finding() == ("altered", 5)


def test_the_last_one_altered_with_a_fitting_hash_is_not_the_one_the_head_names() -> None:
    entries(5)
    with unguarded():
        sql(f"UPDATE {TABLE} SET detail = 'nothing' WHERE seq = 5")
        rehash(AuditEntry.objects.get(seq=5))
    assert first_finding() == ("head", 5)


@pytest.mark.parametrize(("gone", "seq"), [([1], 1), ([3], 3), ([3, 4], 3), ([6], 6), ([5, 6], 5)])
def test_a_missing_entry_is_found(gone: list[int], seq: int) -> None:
    entries(6)
    with unguarded():
        for each in gone:
            sql(f"DELETE FROM {TABLE} WHERE seq = %s", each)
    assert first_finding() == ("missing", seq)


def test_a_missing_entry_whose_place_was_closed_up_is_found() -> None:
    entries(6)
    with unguarded():
        sql(f"DELETE FROM {TABLE} WHERE seq = 3")
        for each in (4, 5, 6):
            renumber(each, each - 1)
    assert first_finding() == ("missing", 3)
    assert "moved up" in run()[1]["findings"][0]["message"]


@pytest.mark.parametrize("order", [[2, 3, 1], [3, 1, 2], [3, 2, 1]])
def test_a_longer_way_round_is_reordered_too(order: list[int]) -> None:
    entries(6)
    with unguarded():
        for old, new in zip([2, 3, 4], order, strict=True):
            renumber(old, -new)
        for new in order:
            renumber(-new, new + 1)
    assert first_finding() == ("reordered", 2)


def test_one_that_was_put_beyond_the_end_is_reordered() -> None:
    entries(6)
    with unguarded():
        renumber(3, 99)
    assert first_finding() == ("reordered", 3)


@pytest.mark.parametrize(("one", "other"), [(1, 2), (2, 5), (5, 6)])
def test_swapped_entries_are_found(one: int, other: int) -> None:
    entries(6)
    with unguarded():
        swap(one, other)
    assert first_finding() == ("reordered", one)


def test_an_entry_put_in_between_is_found() -> None:
    entries(6)
    with unguarded():
        for each in (6, 5, 4):
            renumber(each, each + 1)
        copy_of(3, seq=4, detail="never happened")
    assert first_finding() == ("inserted", 4)


@pytest.mark.parametrize("after", [0, 3, 5])
def test_one_that_fits_what_is_before_it_is_found_too(after: int) -> None:
    """Put in by somebody who knows the form and how to hash it."""
    entries(6)
    before = AuditEntry.objects.get(seq=after).hash if after else chain.GENESIS
    with unguarded():
        make_room(after, 6)
        copy_of(after + 2 if after < 5 else 1, seq=after + 1, prev=before, detail="never happened")
        rehash(AuditEntry.objects.get(seq=after + 1))
    assert first_finding() == ("inserted", after + 1)


def test_several_put_in_are_found_at_the_first() -> None:
    entries(6)
    with unguarded():
        make_room(3, 6)
        copy_of(2, seq=4, detail="never happened")
        make_room(4, 7)
        copy_of(2, seq=5, detail="nor this")
    assert first_finding() == ("inserted", 4)


def test_an_exact_copy_put_in_behind_its_original_is_found() -> None:
    entries(6)
    with unguarded():
        make_room(3, 6)
        copy_of(3, seq=4)
    assert first_finding() == ("inserted", 4)


def test_an_entry_put_at_the_end_is_found() -> None:
    entries(6)
    last = AuditEntry.objects.get(seq=6)
    last.seq, last.prev, last.detail = 7, last.hash, "never happened"
    copy_of(6, seq=7, prev=last.prev, detail=last.detail, hash=chain.digest(last))
    assert first_finding() == ("inserted", 7)


def cut_off(after: int) -> None:
    """The end of the trail, and the head put back: what is left is a whole chain."""
    kept = AuditEntry.objects.get(seq=after)
    with unguarded():
        sql(f"DELETE FROM {TABLE} WHERE seq > %s", after)
        sql(f"UPDATE {guards.HEAD} SET seq = %s, hash = %s", after, kept.hash)


def test_an_end_cut_off_with_the_head_is_found_by_an_anchor() -> None:
    entries(6)
    assert anchors.drop()
    cut_off(3)
    assert first_finding() == ("anchor", 6)
    entries(9)
    assert first_finding() == ("anchor", 6), "also when others have taken the places"


def test_a_trail_written_anew_from_the_middle_is_found_by_an_anchor() -> None:
    entries(6)
    anchors.drop()
    with unguarded():
        sql(f"UPDATE {TABLE} SET detail = 'nothing' WHERE seq = 3")
        before = AuditEntry.objects.get(seq=2).hash
        for seq in (3, 4, 5, 6):
            sql(f"UPDATE {TABLE} SET prev = %s WHERE seq = %s", before, seq)
            rehash(entry := AuditEntry.objects.get(seq=seq))
            before = chain.digest(entry)
        sql(f"UPDATE {guards.HEAD} SET hash = %s", before)
    assert first_finding() == ("anchor", 6)


def test_a_lost_head_is_found() -> None:
    entries(3)
    with unguarded():
        sql(f"DELETE FROM {guards.HEAD}")
    assert first_finding()[0] == "inserted"


def test_missing_triggers_are_named() -> None:
    entries(3)
    sql(f"DROP TRIGGER audit_head_delete{'' if connection.vendor == 'sqlite' else f' ON {guards.HEAD}'}")
    code, report = run()
    assert code == 1
    assert [(each["kind"], "audit_head_delete" in each["message"]) for each in report["findings"]] == [
        ("unguarded", True)
    ]


def test_it_begins_where_it_is_told() -> None:
    entries(6)
    with unguarded():
        sql(f"UPDATE {TABLE} SET detail = 'nothing' WHERE seq = 2")
    assert run("--from", "4")[0] == 0
    assert run("--from", "2")[1]["findings"][0]["seq"] == 2
    assert run("--from", "99")[0] == 1, "where nothing stands"
    with pytest.raises(CommandError):
        call_command("audit_verify", "--from", "0")


def test_it_says_it_in_words_too() -> None:
    entries(3)
    with unguarded():
        sql(f"DELETE FROM {TABLE} WHERE seq = 2")
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("audit_verify", stdout=out)
    assert "missing: Entry 2 is missing." in out.getvalue()


def test_batches_leave_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "BATCH", 3)
    entries(10)
    assert run()[1]["checked"] == 10
    with unguarded():
        sql(f"DELETE FROM {TABLE} WHERE seq = 4")
    assert first_finding() == ("missing", 4)


def test_an_anchor_is_dropped_when_the_trail_has_grown(caplog: pytest.LogCaptureFixture) -> None:
    assert anchors.drop() is None
    written = entries(2)
    with caplog.at_level("INFO"):
        tasks.anchor_audit()
    assert written[-1].hash in caplog.text, "the log has it too"
    assert anchors.drop() is None
    assert [(anchor.seq, anchor.hash) for anchor in anchors.read()] == [(2, written[-1].hash)]
    (path,) = anchors.folder().iterdir()
    assert path.stat().st_mode & 0o077 == 0


def test_a_torn_line_of_anchors_costs_no_other() -> None:
    entries(1)
    anchors.drop()
    (path,) = anchors.folder().iterdir()
    with path.open("a") as file:
        file.write('{"at":"2026-01-01T00:')
    entries(1)
    assert anchors.drop()
    assert [anchor.seq for anchor in anchors.read()] == [1, 2]
    assert anchors.last() == list(anchors.read())[-1]


def test_the_next_anchor_tells_the_log_that_the_last_one_fits_no_more(caplog: pytest.LogCaptureFixture) -> None:
    entries(6)
    anchors.drop()
    cut_off(3)
    anchors.drop()
    assert "tampered" in caplog.text


# --- Whatever is done ---

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
Tampering = Callable[[], bool]


def _alter(seq: int, column: str, text: str) -> Tampering:
    def do() -> bool:
        before = AuditEntry.objects.values_list(column, flat=True).get(seq=seq)
        sql(f"UPDATE {TABLE} SET {column} = %s WHERE seq = %s", text, seq)
        return before != text

    return do


def _delete(seq: int) -> Tampering:
    return lambda: bool(sql(f"DELETE FROM {TABLE} WHERE seq = %s", seq)) or True


def _swap(one: int, other: int) -> Tampering:
    return lambda: bool(swap(one, other)) or one != other


def _insert(seq: int) -> Tampering:
    def do() -> bool:
        make_room(seq, SIZE)
        copy_of(1, seq=seq + 1, detail="never happened")
        return True

    return do


def _as(kind: str, tamperings: st.SearchStrategy[Tampering]) -> st.SearchStrategy[tuple[str, Tampering]]:
    return st.tuples(st.just(kind), tamperings)


SIZE = 8
PLACES = st.integers(1, SIZE)
ALTERED = ["detail", "target_name", "actor_name", "host_name", "verb"]
TAMPERINGS = st.one_of(
    _as("altered", st.builds(_alter, PLACES, st.sampled_from(ALTERED), TEXT)),
    _as("missing", st.builds(_delete, PLACES)),
    _as("reordered", st.builds(_swap, PLACES, PLACES)),
    _as("inserted", st.builds(_insert, st.integers(1, SIZE - 1))),
)


@settings(max_examples=80)
@given(texts=st.lists(TEXT, min_size=SIZE, max_size=SIZE), tampering=TAMPERINGS)
def test_no_tampering_goes_unfound_or_is_called_another(texts: list[str], tampering: tuple[str, Tampering]) -> None:
    kind, do = tampering
    try:
        with transaction.atomic():
            for text in texts:
                record(AnonymousUser(), "container.stop", target_name=text, host_name=text, detail=text, stranger=text)
            assert verify.verify([]).findings == ()
            guards.remove(connection)
            changed = do()
            guards.install(connection)
            assert [finding.kind for finding in verify.verify([]).findings] == [kind] * changed
            raise _UndoError
    except _UndoError:
        pass
    assert not AuditEntry.objects.exists()
    assert not AuditHead.objects.filter(seq__gt=0).exists()


class _UndoError(Exception):
    """Leave nothing for the next example."""
