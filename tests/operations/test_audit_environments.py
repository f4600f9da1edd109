"""The trail of one environment: who holds `audit.see` there alone sees what was about it, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from containers.models import Container, Recording
from controlplane.access import tokens
from controlplane.access.decide import allows, visible
from controlplane.access.models import Grant, Role, Standing, User
from controlplane.access.tokens import Wanted
from controlplane.lib.errors import RightMissing
from controlplane.operations import actions, chain, refusals
from controlplane.operations.audit import about, record
from controlplane.operations.models import AuditCursor, AuditEntry, Operation, Outcome
from controlplane.operations.runner import _audit_refusal
from controlplane.operations.verify import verify
from hosts.models import Environment, Host
from images.builds.models import Build
from images.models import Image
from tests.operations.conftest import request
from tests.operations.trail import TABLE, sql, unguarded

pytestmark = pytest.mark.django_db
NOBODY = AnonymousUser()


@dataclass
class Two:
    """An auditor of Staging alone; a host in each of two environments and one in none."""

    auditor: User
    staging: Environment
    live: Environment
    near: Host
    far: Host
    nowhere: Host

    @property
    def client(self) -> Client:
        client = Client(raise_request_exception=True)
        client.force_login(self.auditor)
        return client


@pytest.fixture
def two(db: None) -> Two:
    auditor = User.objects.create(username="aud", password="!", standing=Standing.MEMBER)
    staging, live = (
        Environment.objects.get_or_create(slug=name.lower(), defaults={"name": name})[0]
        for name in ("Staging", "Production")
    )
    role = Role.objects.create(name="Auditor", slug="auditor", verbs=["audit.see"])
    grant = Grant.objects.create(user=auditor, role=role, repositories=["**"], tags=["*"])
    grant.environments.set([staging])
    near, far, nowhere = (
        Host.objects.create(name=name, environment=environment)
        for name, environment in (("near", staging), ("far", live), ("nowhere", None))
    )
    return Two(auditor, staging, live, near, far, nowhere)


def three(two: Two) -> list[int]:
    """An entry about each host, and one about none; their numbers."""
    about_hosts = [record(NOBODY, "host.manage", **about(host)) for host in (two.near, two.far, two.nowhere)]
    return [entry.seq for entry in (*about_hosts, record(NOBODY, "access.manage", detail="nothing of a host"))]


def test_the_list_has_what_is_about_the_environment(two: Two) -> None:
    near, *_ = three(two)
    answer = two.client.get("/operations/audit/")
    assert [entry.seq for entry in answer.context["listing"].rows] == [near]
    text = answer.content.decode()
    assert "You see what was done in your environments" in text
    assert "far" not in [entry.host_name for entry in answer.context["listing"].rows]


def test_search_and_every_filter_stay_inside(two: Two) -> None:
    near, *_ = three(two)
    for query in ("q=host", "q=far", "environment=Production", "host=far", "verb=access.manage", "before=99&size=25"):
        rows = two.client.get(f"/operations/audit/?{query}").context["listing"].rows
        assert {entry.seq for entry in rows} <= {near}, query


def test_one_entry_its_neighbours_are_those_that_are_seen(two: Two) -> None:
    first, far, *_, last = three(two)
    second = record(NOBODY, "host.manage", **about(two.near))
    answer = two.client.get(f"/operations/audit/{first}/")
    assert (answer.context["before"], answer.context["after"]) == (None, second)
    answer = two.client.get(second.get_absolute_url())
    assert answer.context["before"].seq == first
    assert answer.context["is_whole"]
    assert answer.context["follows"], f"it follows {last}, which is not seen"
    assert two.client.get(f"/operations/audit/{far}/").status_code == 404
    assert two.client.get(f"/operations/audit/{far + 99}/").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_the_export_has_no_other(two: Two) -> None:
    near, *_ = three(two)

    async def export() -> list[dict[str, Any]]:
        client = AsyncClient()
        await client.aforce_login(two.auditor)
        answer = await client.get("/operations/audit/export/")
        return [json.loads(line) async for piece in answer.streaming_content for line in piece.decode().splitlines()]

    (line,) = async_to_sync(export)()
    assert (line["seq"], line["environment_id"], line["version"]) == (near, two.staging.pk, 2)


@pytest.mark.usefixtures("redis_server")
def test_the_api_has_no_other(two: Two) -> None:
    near, *_ = three(two)
    _, secret = tokens.issue(two.auditor, two.auditor, Wanted("ci", timezone.now() + timedelta(hours=1)))
    answer = Client(headers={"Authorization": f"Bearer {secret}"}).get("/api/v1/audit")
    assert [(row["seq"], row["environment"]) for row in answer.json()["items"]] == [(near, "Staging")]


def test_everything_is_for_who_holds_it_everywhere(two: Two, administrator: User) -> None:
    written = three(two)
    AuditCursor.objects.create(name="syslog", trouble="logs.example refuses")
    client = Client()
    client.force_login(administrator)
    answer = client.get("/operations/audit/")
    assert [entry.seq for entry in answer.context["listing"].rows] == written[::-1]
    assert "logs.example" in answer.content.decode()
    assert "logs.example" not in two.client.get("/operations/audit/").content.decode()


@pytest.mark.usefixtures("clocks_aside")
def test_the_same_queries_for_many(two: Two) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert two.client.get("/operations/audit/").status_code == 200
        return len(captured)

    three(two)
    few = queries()
    for _ in range(40):
        three(two)
    assert queries() == few


def test_one_and_all_decide_alike(two: Two, administrator: User, viewer: User) -> None:
    three(two)
    rows = AuditEntry.objects.all()
    for actor in (two.auditor, administrator, viewer):
        assert set(visible(actor, "audit.see", rows)) == {row for row in rows if allows(actor, "audit.see", row)}


# --- What is about an environment ---


def _container(two: Two) -> dict[str, Any]:
    return about(Container.objects.create(host=two.near, engine_id="c", name="c", image_ref="i", state="running"))


def _recording(two: Two) -> dict[str, Any]:
    """Kept where it was made, although the host has gone elsewhere."""
    _container(two)
    container = Container.objects.get()
    made = Recording.objects.create(
        container=container, engine_id="c", container_name="c", image_ref="i", host=two.far, host_name="near",
        environment=two.staging, actor_name="ada", terminal="t", shell="sh", path="p",
    )  # fmt: skip
    return about(made)


def _operation(two: Two) -> dict[str, Any]:
    return about(Operation.objects.create(kind="container.stop", title="t", host=two.near, host_name="near"))


def _build(two: Two) -> dict[str, Any]:
    operation = Operation.objects.create(kind="image.build", title="t", host=two.near)
    return about(Build.objects.create(operation=operation))


ABOUT: dict[str, Callable[[Two], dict[str, Any]]] = {
    "host": lambda two: about(two.near),
    "environment": lambda two: about(two.staging),
    "container": _container,
    "image": lambda two: about(Image.objects.create(host=two.near, engine_id="sha256:1")),
    "recording": _recording,
    "operation": _operation,
    "build": _build,
}


@pytest.mark.parametrize("kind", ABOUT)
def test_an_entry_knows_the_environment_it_is_about(two: Two, kind: str) -> None:
    said = ABOUT[kind](two)
    entry = record(NOBODY, "x.y", **said)
    assert (entry.target_kind, entry.environment, entry.environment_row) == (kind, "Staging", two.staging)
    assert entry.host_name == ("" if kind == "environment" else "near")


def test_what_one_was_refused_there_is_seen_there(two: Two, viewer: User) -> None:
    refusals.note(viewer, RightMissing("host.manage", two.near), "POST /hosts/1/")
    entry = AuditEntry.objects.get()
    assert (entry.outcome, entry.environment_row) == (Outcome.REFUSED, two.staging)


def test_an_operation_its_refusal_cancelling_and_end_are(two: Two, administrator: User) -> None:
    operation = actions.start(administrator, request(host=two.near))
    _audit_refusal(operation, RightMissing("container.start"))
    actions.cancel(administrator, operation)
    verbs = ["container.start", "container.start", "operation.cancel", "operation.ended"]
    rows = AuditEntry.objects.order_by("seq")
    assert [(row.verb, row.environment_row_id) for row in rows] == [(verb, two.staging.pk) for verb in verbs]


def test_an_end_is_where_its_beginning_was(two: Two) -> None:
    began = record(NOBODY, "container.exec", **about(two.near))
    ended = record(NOBODY, "container.exec", follows=began)
    assert (ended.environment, ended.environment_row_id) == ("Staging", two.staging.pk)


# --- The chain ---


def test_entries_from_before_fit_and_are_of_no_environment(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "VERSION", 1)
    old = AuditEntry(actor_name="ada", verb="host.manage", environment="Staging")
    chain.append([old])
    monkeypatch.undo()
    three(two)
    assert verify([]).findings == ()
    assert old not in visible(two.auditor, "audit.see", AuditEntry.objects.all())
    with unguarded():
        sql(f"UPDATE {TABLE} SET environment_row_id = %s WHERE seq = 1", two.staging.pk)
    (finding,) = verify([]).findings
    assert (finding.kind, finding.seq) == ("altered", 1), "nobody is let in by a column that is not hashed"


def test_an_entry_stays_when_its_environment_is_removed(two: Two) -> None:
    entry = record(NOBODY, "host.manage", **about(two.near))
    two.staging.delete()
    assert AuditEntry.objects.get(pk=entry.pk).environment_row_id == entry.environment_row_id
    assert verify([]).findings == ()
