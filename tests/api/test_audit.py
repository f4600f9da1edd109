"""The audit trail by the API: an entry in its place, and the export."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient, Client

from controlplane.access import tokens
from controlplane.access.actions import set_standing
from controlplane.access.models import Standing, Token, User
from controlplane.lib.errors import RightMissing
from controlplane.operations import chain, entries
from controlplane.operations.audit import record
from controlplane.operations.models import AuditEntry
from tests.api.conftest import UNUSABLE, bearer, client_with, issue
from tests.operations.trail import TABLE, sql, unguarded

pytestmark = pytest.mark.django_db(transaction=True)
EXPORT = "/api/v1/audit/export"


@pytest.fixture
def person() -> User:
    User.objects.create(username="eve", password=UNUSABLE, standing=Standing.ADMINISTRATOR)
    return User.objects.create(username="ada", password=UNUSABLE, standing=Standing.ADMINISTRATOR)


def write(person: User, count: int) -> list[AuditEntry]:
    return [record(person, "container.stop", target_name=f"web-{n}", detail="stop") for n in range(count)]


async def export(secret: str, **query: Any) -> list[dict[str, Any]]:
    answer = await AsyncClient().get(EXPORT, query, headers=bearer(secret))
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/x-ndjson; charset=utf-8"
    body = b"".join([piece async for piece in answer.streaming_content])
    return [json.loads(line) for line in body.splitlines()]


def test_an_entry_stands_in_its_place(person: User) -> None:
    first, middle = write(person, 2)
    last = record(person, "container.stop", detail="over", result="ended", seconds=3, follows=first)
    ada: Client = client_with(issue(person)[1])
    said = ada.get(f"/api/v1/audit/{first.seq}").json()
    assert (said["is_whole"], said["follows"], said["origin"], said["sequels"]) == (True, True, None, [last.seq])
    assert (said["hash"], json.loads(said["line"])["hash"]) == (first.hash, first.hash)
    told = ada.get(f"/api/v1/audit/{last.seq}").json()
    assert (told["origin"], told["result"], told["seconds"], told["prev"]) == (first.seq, "ended", 3, middle.hash)
    assert ada.get("/api/v1/audit/0").status_code == 404


def test_an_entry_that_was_altered_says_so(person: User) -> None:
    first, second = write(person, 2)
    with unguarded():
        sql(f"UPDATE {TABLE} SET detail = 'other' WHERE seq = %s", first.seq)
    ada = client_with(issue(person)[1])
    assert ada.get(f"/api/v1/audit/{first.seq}").json()["is_whole"] is False
    assert ada.get(f"/api/v1/audit/{second.seq}").json()["is_whole"] is True


async def test_the_export_is_the_filters_rows_in_the_chains_order(
    person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "EXPORT_BATCH", 3)
    await sync_to_async(write)(person, 10)
    _, secret = await sync_to_async(issue)(person)
    said = await export(secret, verb="container.stop")
    assert [line["target_name"] for line in said] == [f"web-{n}" for n in range(10)]
    digest = said[0].pop("hash")
    assert hashlib.sha256(chain.canonical(said[0])).hexdigest() == digest
    began, ended = [entry async for entry in AuditEntry.objects.filter(verb="audit.see").order_by("seq")]
    assert began.detail == "exported the audit trail as JSON Lines: verb=container.stop"
    assert (ended.refers_to, ended.detail) == (began.seq, "the export ended after 10 entries")
    assert {(each.door, each.token_name, each.actor_id) for each in (began, ended)} == {("api", "ci", person.pk)}


def _demote(person: User) -> None:
    set_standing(person, Standing.VIEWER)


def _revoke(person: User) -> None:
    tokens.revoke(Token.objects.get(owner=person))


@pytest.mark.parametrize(("end", "error"), [(_demote, RightMissing), (_revoke, tokens.Refused)])
async def test_it_breaks_off_with_the_right_and_with_the_token(
    person: User, monkeypatch: pytest.MonkeyPatch, end: Any, error: type[Exception]
) -> None:
    monkeypatch.setattr(entries, "EXPORT_BATCH", 3)
    await sync_to_async(write)(person, 10)
    _, secret = await sync_to_async(issue)(person)
    answer = await AsyncClient().get(EXPORT, headers=bearer(secret))
    pieces = aiter(answer.streaming_content)
    await anext(pieces)
    await sync_to_async(end)(person)
    with pytest.raises(error):
        await anext(pieces)
    ended = await AuditEntry.objects.filter(verb="audit.see").order_by("-seq").afirst()
    assert ended is not None
    assert ended.detail == "the export ended after 3 entries"


def test_a_filter_that_cannot_be_right_is_told(person: User) -> None:
    ada = client_with(issue(person)[1])
    for query in ("since=soon", "outcome=fine", "sort=seq", "limit=5"):
        answer = ada.get(f"{EXPORT}?{query}")
        assert (answer.status_code, list(answer.json()["errors"])) == (422, [query.partition("=")[0]])
    assert not AuditEntry.objects.filter(verb="audit.see").exists()
