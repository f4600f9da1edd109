"""What another site sends, and what comes by a wrong name, is refused and written down; a flood of it costs little."""

from __future__ import annotations

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from controlplane.access.models import User
from controlplane.asgi import application
from controlplane.operations import foreign, refusals
from controlplane.operations.foreign import STEP, Burst
from controlplane.operations.models import AuditEntry, Outcome, RefusalCount
from controlplane.operations.refusals import MOST_A_MINUTE
from controlplane.operations.verify import verify
from tests.security.browser import Socket
from tests.security.fleet import Fleet

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _a_minute_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """That does not end before the test does."""
    monkeypatch.setattr(foreign, "burst", Burst())
    monkeypatch.setattr(refusals, "this_minute", lambda: 30_000_000)


def written() -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(outcome=Outcome.REFUSED).order_by("seq"))


def test_a_form_from_another_site_is_written_down(fleet: Fleet) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(fleet.administrator)
    answer = client.post("/people/invite/", {"standing": "viewer"}, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    (entry,) = written()
    assert (entry.verb, entry.actor, entry.door, entry.ip) == (
        "access.form",
        fleet.administrator,
        "page",
        "127.0.0.1",
    )
    assert entry.detail.startswith("POST /people/invite/: ")
    assert "http://evil.example" in entry.detail
    assert "evil.example" not in answer.content.decode()


def test_a_form_without_the_token_is_too_whoever_sends_it(fleet: Fleet) -> None:
    assert Client(enforce_csrf_checks=True).post("/login/", {"username": "ada"}).status_code == 403
    (entry,) = written()
    assert (entry.verb, entry.actor, entry.actor_name) == ("access.form", None, "anonymous")
    assert "CSRF cookie" in entry.detail


@pytest.mark.parametrize(("path", "door"), [("/login/", "page"), ("/api/v1/hosts", "api"), ("/agent/enrol", "agent")])
def test_a_wrong_name_is_written_down(client: Client, path: str, door: str) -> None:
    assert client.get(path, headers={"Host": "evil.example"}).status_code == 400
    (entry,) = written()
    assert (entry.verb, entry.door, entry.ip, entry.actor) == ("access.host", door, "127.0.0.1", None)
    assert entry.detail == f"GET {path}: asked as “evil.example”"


def test_what_they_sent_stays_one_short_line(client: Client) -> None:
    client.get("/login/", headers={"Host": "a\r\nb\x1b[2J" + "x" * 5000})
    (entry,) = written()
    assert entry.detail.isprintable()
    assert len(entry.detail) < 400


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("host", "origin"), [("127.0.0.1:8420", "http://evil.example"), ("evil.example", "http://evil.example")]
)
def test_a_handshake_of_another_site_is_written_down(host: str, origin: str) -> None:
    async def knock() -> tuple[bool, int | None]:
        headers = [(b"host", host.encode()), (b"origin", origin.encode())]
        return await Socket(application, "/ws/containers/1/terminal", headers).connect()

    assert async_to_sync(knock)() == (False, 4403)
    (entry,) = written()
    assert (entry.verb, entry.door, entry.ip) == ("access.cross-site", "socket", "127.0.0.1")
    assert entry.detail == f"WebSocket /ws/containers/1/terminal: from “{origin}”, asked as “{host}”"


def test_a_flood_leaves_a_few_entries_and_a_number(client: Client, viewer: Client) -> None:
    count = MOST_A_MINUTE + 2 * STEP + 5
    for _ in range(count):
        assert client.get("/login/", headers={"Host": "evil.example"}).status_code == 400
    assert len(written()) == MOST_A_MINUTE
    assert RefusalCount.objects.get().count == MOST_A_MINUTE + 2 * STEP
    RefusalCount.objects.update(minute=1)
    refusals.sum_up()
    (entry,) = AuditEntry.objects.filter(verb="access.refused")
    assert entry.detail.startswith(f"{2 * STEP} more refusals within the same minute, the last: access.host GET")
    assert viewer.get("/people/").status_code == 403
    assert AuditEntry.objects.latest("seq").verb == "access.manage", "it hides no other refusal"
    assert verify([]).findings == ()


def test_most_of_a_flood_never_reaches_the_database(client: Client) -> None:
    for _ in range(MOST_A_MINUTE):
        client.get("/login/", headers={"Host": "evil.example"})
    with CaptureQueriesContext(connection) as captured:
        for _ in range(STEP - 1):
            client.get("/login/", headers={"Host": "evil.example"})
    assert len(captured) == 0


def test_each_person_and_kind_is_counted_apart() -> None:
    burst = Burst()
    ada, bob = User(pk=1), User(pk=2)
    told = [burst.share("access.form", ada.pk) for _ in range(MOST_A_MINUTE + STEP)]
    assert told == [1] * MOST_A_MINUTE + [0] * (STEP - 1) + [STEP]
    assert burst.share("access.form", bob.pk) == burst.share("access.host", None) == 1


def test_another_minute_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    burst = Burst()
    for _ in range(MOST_A_MINUTE + 1):
        burst.share("access.host", None)
    monkeypatch.setattr(refusals, "this_minute", lambda: 30_000_001)
    assert burst.share("access.host", None) == 1
