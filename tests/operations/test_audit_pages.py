"""The trail's pages: search, paging by key, one entry, the export."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext

from controlplane.access.models import Standing, User
from controlplane.lib import origin
from controlplane.lib.errors import RightMissing
from controlplane.operations import chain
from controlplane.operations import entries as trail
from controlplane.operations.audit import record
from controlplane.operations.models import AuditEntry, Outcome
from hosts.models import Environment
from tests.operations.trail import entries

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada(administrator: User) -> Client:
    client = Client()
    client.force_login(administrator)
    return client


def rows(client: Client, **query: Any) -> list[int]:
    answer = client.get(f"/operations/audit/?{urlencode(query)}")
    assert answer.status_code == 200
    return [entry.seq for entry in answer.context["listing"].rows]


def test_pages_by_key_go_down_and_up_again(ada: Client) -> None:
    entries(60)
    first = ada.get("/operations/audit/?size=25").context["listing"]
    assert [entry.seq for entry in first.rows] == list(range(60, 35, -1))
    assert (first.newer, first.older) == (None, 36)
    assert rows(ada, size=25, before=36) == list(range(35, 10, -1))
    last = ada.get("/operations/audit/?size=25&before=11").context["listing"]
    assert [entry.seq for entry in last.rows] == list(range(10, 0, -1))
    assert (last.newer, last.older) == (10, None)
    assert rows(ada, size=25, after=10) == list(range(35, 10, -1))
    assert rows(ada, size=25, after=50) == list(range(60, 35, -1)), "near the top: the whole first page"
    assert rows(ada, before=1) == []


@pytest.mark.usefixtures("clocks_aside")
def test_a_page_takes_the_same_queries_for_many(ada: Client) -> None:
    def queries(path: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert ada.get(path).status_code == 200
        return len(captured)

    entries(3)
    queries("/operations/audit/")  # the first request of a session notes the browser
    few = queries("/operations/audit/")
    entries(300)
    assert queries("/operations/audit/?before=200&verb=container.stop&q=number") == few


@pytest.fixture
def different(administrator: User, viewer: User) -> dict[str, int]:
    """Entries that differ in everything one can search by; {name: seq}."""
    with origin.entered(door="socket", ip="192.0.2.1"):
        shell = record(
            viewer,
            "container.exec",
            target_kind="container",
            target_id="c0ffee",
            target_name="shop-web-1",
            host_name="edge-1",
            environment=Environment.objects.get_or_create(slug="staging", defaults={"name": "Staging"})[0],
            detail="opened a shell",
        )
    with origin.entered(door="api", ip="2001:db8::7", token_id=3, token_name="ci robot"):
        push = record(administrator, "image.push", target_kind="image", target_name="shop/web:1", host_name="edge-2")
    with origin.entered(door="page"):
        refused = record(viewer, "host.manage", outcome=Outcome.REFUSED, target_name="edge-1")
    return {"shell": shell.seq, "push": push.seq, "refused": refused.seq}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"who": "vi"}, ["shell", "refused"]),
        ({"who": "robot"}, ["push"]),
        ({"verb": "container."}, ["shell"]),
        ({"verb": "image.push"}, ["push"]),
        ({"target": "c0ffee"}, ["shell"]),
        ({"target": "SHOP"}, ["shell", "push"]),
        ({"host": "edge-1"}, ["shell"]),
        ({"environment": "Staging"}, ["shell"]),
        ({"outcome": "refused"}, ["refused"]),
        ({"door": "api"}, ["push"]),
        ({"q": "opened a"}, ["shell"]),
        ({"q": "2001:db8"}, ["push"]),
        ({"q": "edge-1", "outcome": "allowed"}, ["shell"]),
        ({"since": "2100-01-01T00:00"}, []),
        ({"until": "2100-01-01T00:00"}, ["shell", "push", "refused"]),
        ({"outcome": "nonsense"}, ["shell", "push", "refused"]),
        ({"q": "100%"}, []),
    ],
)
def test_it_is_searched(ada: Client, different: dict[str, int], query: dict[str, str], expected: list[str]) -> None:
    assert rows(ada, **query) == sorted((different[name] for name in expected), reverse=True)


def test_one_entry_with_its_hashes_and_neighbours(ada: Client) -> None:
    first, middle, last = entries(3)
    end = record(AnonymousUser(), "operation.ended", follows=middle, result="failed", seconds=75)
    answer = ada.get(middle.get_absolute_url())
    text = answer.content.decode()
    for expected in (
        middle.hash,
        middle.prev,
        first.get_absolute_url(),
        last.get_absolute_url(),
        end.get_absolute_url(),
    ):
        assert expected in text
    assert (answer.context["is_whole"], answer.context["follows"]) == (True, True)
    assert ada.get(first.get_absolute_url()).context["follows"], "the first follows nothing"
    assert "1 min 15 s" in ada.get(end.get_absolute_url()).content.decode()
    assert middle.get_absolute_url() in ada.get(end.get_absolute_url()).content.decode()
    assert ada.get("/operations/audit/99/").status_code == 404


def test_who_may_not_sees_none_of_it(viewer: User) -> None:
    (entry,) = entries(1)
    client = Client()
    client.force_login(viewer)
    for path in ("/operations/audit/", entry.get_absolute_url(), "/operations/audit/99/", "/operations/audit/export/"):
        answer = client.get(path)
        assert answer.status_code == 403
        assert "audit.see" in answer.content.decode()


async def export(user: User, **query: Any) -> list[dict[str, Any]]:
    client = AsyncClient()
    await client.aforce_login(user)
    answer = await client.get(f"/operations/audit/export/?{urlencode(query)}")
    assert answer.status_code == 200
    assert answer["Content-Disposition"].startswith('attachment; filename="audit-')
    body = b"".join([piece async for piece in answer.streaming_content])
    return [json.loads(line) for line in body.decode().splitlines()]


@pytest.mark.django_db(transaction=True)
async def test_the_export_is_the_filters_rows_in_the_chains_order(
    administrator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail, "EXPORT_BATCH", 3)
    await sync_to_async(entries)(10)
    await sync_to_async(record)(administrator, "image.push", detail="a\nb \u2028 =1+1")
    said = await export(administrator, verb="container.stop")
    assert [line["seq"] for line in said] == list(range(1, 11))
    (push,) = await export(administrator, verb="image.push")
    assert push["detail"] == "a\\nb \\u2028 =1+1", "one entry, one line"
    kept = await AuditEntry.objects.aget(seq=push["seq"])
    digest = push.pop("hash")
    assert hashlib.sha256(chain.canonical(push)).hexdigest() == digest == kept.hash


@pytest.mark.django_db(transaction=True)
async def test_an_export_is_itself_written_down(administrator: User) -> None:
    await export(administrator, verb="image.push", since="2026-01-01T00:00")
    began, ended = [entry async for entry in AuditEntry.objects.order_by("seq")]
    assert (began.verb, began.actor_id, began.door) == ("audit.see", administrator.pk, "page")
    assert began.detail.startswith("exported the audit trail as JSON Lines: verb=image.push, since=2026-01-01")
    assert (ended.refers_to, ended.result, ended.detail) == (began.seq, "ended", "the export ended after 0 entries")
    assert ended.seconds is not None
    assert ended.door == "page"


@pytest.mark.django_db(transaction=True)
async def test_an_export_breaks_off_when_the_right_ends(administrator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail, "EXPORT_BATCH", 3)
    await sync_to_async(entries)(10)
    client = AsyncClient()
    await client.aforce_login(administrator)
    answer = await client.get("/operations/audit/export/")
    pieces = aiter(answer.streaming_content)
    await anext(pieces)
    await User.objects.filter(pk=administrator.pk).aupdate(standing=Standing.VIEWER)
    with pytest.raises(RightMissing):
        await anext(pieces)
    ended = await AuditEntry.objects.order_by("-seq").afirst()
    assert ended.detail == "the export ended after 3 entries"


def test_times_are_read_as_utc(ada: Client) -> None:
    (entry,) = entries(1)
    now = datetime.now(UTC)
    assert rows(ada, since=f"{now.year}-01-01T00:00") == [entry.seq]
    assert rows(ada, until=f"{now.year}-01-01T00:00") == []
