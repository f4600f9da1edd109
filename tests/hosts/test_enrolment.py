"""A token is traded for a host's key: once, in time, and only over a line nobody can listen on."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client, RequestFactory
from django.utils import timezone
from gantry_agent import keys

from controlplane.access.models import Standing, User
from controlplane.operations.models import AuditEntry
from controlplane.supervisor.tls import ensure_certificate
from hosts.enrolment import pasted_line
from hosts.models import EnrolmentToken, Host

pytestmark = pytest.mark.django_db


@pytest.fixture
def host() -> Host:
    return Host.objects.create(name="db-1")


@pytest.fixture
def token(host: Host) -> str:
    return EnrolmentToken.issue(host)[1]


def public_key() -> str:
    return keys.public_text(keys.generate())


def enrol(client: Client, token: str, key: str = "", **more: object) -> tuple[int, dict[str, str]]:
    said = {"token": token, "public_key": key or public_key(), "hostname": "box", "agent_version": "0.1.0"}
    secure = bool(more.pop("secure", False))
    answer = client.post("/agent/enrol", json.dumps(said), "application/json", secure=secure, **more)  # type: ignore[arg-type]
    return answer.status_code, answer.json()


def test_a_token_lets_one_machine_in(client: Client, host: Host, token: str) -> None:
    key = public_key()
    status, answer = enrol(client, token, key)
    assert status == 200
    assert (answer["host"], answer["name"]) == (host.pk, "db-1")
    assert answer["gateways"][0].startswith("ws://testserver:")
    host.refresh_from_db()
    assert host.public_key == key
    row = EnrolmentToken.objects.get()
    assert row.used_at
    assert row.used_from == "127.0.0.1"
    entry = AuditEntry.objects.get(verb="host.enrol")
    assert (entry.outcome, entry.actor, entry.actor_name) == ("allowed", None, "bearer of Gantry's token")


def test_the_trail_names_who_made_the_token(client: Client, host: Host, token: str) -> None:
    maker = User.objects.create_user("ada", password="a long enough word", standing=Standing.ADMINISTRATOR)
    EnrolmentToken.objects.update(created_by=maker)
    enrol(client, token)
    assert AuditEntry.objects.get(verb="host.enrol").actor_name == f"bearer of {maker.display}'s token"


def test_a_second_use_is_refused_and_recorded(client: Client, host: Host, token: str) -> None:
    enrol(client, token)
    first = Host.objects.get().public_key
    status, answer = enrol(client, token)
    assert status == 410
    assert "used already" in answer["message"]
    assert answer["hint"]
    assert Host.objects.get().public_key == first
    row = EnrolmentToken.objects.get()
    assert row.refused_at
    assert row.refused_from == "127.0.0.1"


def test_an_expired_token_is_refused_and_recorded(client: Client, token: str) -> None:
    EnrolmentToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    status, answer = enrol(client, token)
    assert status == 403
    assert "expired" in answer["message"]
    assert EnrolmentToken.objects.get().refused_at


def test_an_unknown_token_is_refused(client: Client, host: Host) -> None:
    assert enrol(client, "gje_guessed")[0] == 403
    assert Host.objects.get().public_key == ""


def test_a_new_token_ends_the_older_open_one(client: Client, host: Host, token: str) -> None:
    EnrolmentToken.issue(host)
    assert enrol(client, token)[0] == 403


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b"[" * 10_000, b'{"token":"t","public_key":"AAAA"}'])
def test_garbage_is_refused_in_words(client: Client, body: bytes) -> None:
    answer = client.post("/agent/enrol", body, "application/json")
    assert answer.status_code == 400
    assert answer.json()["hint"]


def test_a_huge_body_is_refused(client: Client) -> None:
    assert client.post("/agent/enrol", b"x" * 100_000, "application/json").status_code == 413


def test_another_machine_without_tls_is_refused_with_the_reason(client: Client, token: str) -> None:
    status, answer = enrol(client, token, REMOTE_ADDR="10.1.2.3")
    assert status == 403
    assert "TLS" in answer["message"]
    assert "--tls" in answer["hint"]
    assert EnrolmentToken.objects.get().is_open, "the token is not spent by that"
    assert client.get("/agent/install.sh", REMOTE_ADDR="10.1.2.3").status_code == 403
    assert enrol(client, token, REMOTE_ADDR="10.1.2.3", secure=True)[0] == 200


def test_the_line_pins_a_self_made_certificate(
    settings: pytest.FixtureRequest, rf: RequestFactory, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    ensure_certificate(certificate, key)
    settings.TLS_CERT, settings.TLS = str(certificate), True  # type: ignore[attr-defined]
    line = pasted_line(rf.get("/", secure=True, headers={"host": "testserver:8420"}), "gje_x")
    assert "getpeercert" in line
    assert "\n" not in line
    assert line.endswith("sh -s -- gje_x")


def test_the_line_trusts_an_authority_for_a_real_certificate(
    settings: pytest.FixtureRequest, rf: RequestFactory
) -> None:
    settings.PUBLIC_URL = "https://gantry.example/base"  # type: ignore[attr-defined]
    line = pasted_line(rf.get("/"), "gje_x")
    assert "_create_unverified_context" not in line
    assert "gantry.example" in line
    assert "/base/agent/install.sh" in line


def test_agents_pages_ask_for_no_session_and_leak_nothing(client: Client, token: str) -> None:
    answer = client.get("/agent/install.sh")
    assert answer.status_code == 200
    assert token not in answer.content.decode()
    assert client.get("/agent/wheels/../../gantry.sqlite3").status_code == 404
    assert client.get("/agent/wheels/%2e%2e/secret_key").status_code == 404
    assert client.get("/agent/wheels/status.json").status_code == 404
