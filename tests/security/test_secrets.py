"""Secrets: sealed in the database, shown to nobody who has not asked for them by name, and never in a log."""

from __future__ import annotations

import json
import logging
import sqlite3
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from containers import inspecting
from containers.inspecting import MASK, inspect_container
from controlplane.access.models import Invitation
from controlplane.lib.errors import Internal
from controlplane.lib.seal import seal, unseal
from controlplane.operations.models import AuditEntry, Operation, Outcome
from hosts.engine import EngineProtocolError
from hosts.models import EnrolmentToken
from tests.security.fleet import Fleet

SECRET = "s3cr3t-Pa55"
FORM = {
    "image": "registry.example/shop/web:1",
    "name": "web-9",
    "environment": f"DB_PASSWORD={SECRET}\nTZ=UTC",
    "command": f"serve --token {SECRET}",
    "registry_user": "ann",
    "registry_password": SECRET,
}


def whole_database() -> str:
    """Everything that is stored, as SQL."""
    assert isinstance(connection.connection, sqlite3.Connection)
    return "\n".join(connection.connection.iterdump())


@pytest.fixture
def run(administrator: Client, fleet: Fleet, caplog: pytest.LogCaptureFixture) -> Operation:
    """The operation of a run with secrets in all of its fields."""
    caplog.set_level(logging.DEBUG)
    administrator.post("/containers/run/", FORM | {"host": str(fleet.host.pk)})
    return Operation.objects.get(kind="container.run")


def test_what_is_typed_into_the_run_form_is_stored_sealed(run: Operation, caplog: pytest.LogCaptureFixture) -> None:
    assert json.loads(unseal(run.params["body"]))["Env"] == [f"DB_PASSWORD={SECRET}", "TZ=UTC"]
    assert json.loads(unseal(run.params["login"])) == {"username": "ann", "password": SECRET}
    assert SECRET not in json.dumps(run.params)
    assert SECRET not in whole_database()
    assert SECRET not in caplog.text


def test_nobody_reads_it_on_any_page(run: Operation, administrator: Client, viewer: Client) -> None:
    pages = [f"/operations/{run.pk}/", "/operations/", "/", "/operations/audit/", "/containers/", "/hosts/"]
    pages += [f"/hosts/{run.host_id}/", "/images/pull/", "/containers/run/"]
    for client in (administrator, viewer):
        for path in pages:
            text = client.get(path).content.decode()
            assert SECRET not in text, path
            assert run.params["body"] not in text, path
            assert run.params["login"] not in text, path


def test_a_retry_keeps_it_sealed(run: Operation, administrator: Client, viewer: Client) -> None:
    Operation.objects.filter(pk=run.pk).update(state="failed")
    assert viewer.post(f"/operations/{run.pk}/retry/").status_code == 403
    assert administrator.post(f"/operations/{run.pk}/retry/").status_code == 302
    assert Operation.objects.get(retry_of=run).params == run.params
    assert SECRET not in whole_database()


def test_a_registrys_password_of_a_pull_is_stored_sealed(administrator: Client, fleet: Fleet) -> None:
    form = {"reference": "shop/web:1", "hosts": str(fleet.host.pk), "registry_user": "ann"}
    administrator.post("/images/pull/", form | {"registry_password": SECRET})
    assert json.loads(unseal(Operation.objects.get(kind="image.pull").params["login"]))["password"] == SECRET
    assert SECRET not in whole_database()


def test_a_form_with_secrets_is_kept_by_no_cache(administrator: Client, fleet: Fleet) -> None:
    for path in ("/containers/run/", "/images/pull/"):
        answer = administrator.post(path, FORM | {"host": "", "reference": "", "image": ""})
        assert answer.status_code == 422
        assert answer["Cache-Control"] == "no-store"


def test_a_sealed_value_is_read_with_its_own_key_alone(settings: Any) -> None:
    sealed = seal(SECRET)
    assert SECRET not in sealed
    assert seal(SECRET) != sealed, "two of the same do not look the same"
    settings.SECRET_KEY = "another key altogether"
    with pytest.raises(Internal, match="sealed with another secret key") as refused:
        unseal(sealed)
    assert "secret_key" in refused.value.hint


@pytest.mark.parametrize("broken", ["", "x", "gAAAA", "\xff"])
def test_a_changed_value_is_not_read(broken: str) -> None:
    sealed = seal(SECRET)
    other = "C" if sealed[20] == "B" else "B"
    for text in (broken, sealed[:-4], sealed[:20] + other + sealed[21:]):
        with pytest.raises(Internal):
            unseal(text)


def test_the_key_is_for_us_alone() -> None:
    path = settings.GANTRY_HOME / "secret_key"
    assert path.stat().st_mode & 0o077 == 0
    assert settings.GANTRY_HOME.stat().st_mode & 0o077 == 0
    assert len(settings.SECRET_KEY) >= 50


ANSWERS: list[Any] = [
    {"Id": "c", "Config": {"Env": [f"PASSWORD={SECRET}", "TZ=UTC"], "Cmd": ["x"]}},
    {"Config": {"Env": f"PASSWORD={SECRET}"}},
    {"Config": {"Env": {"PASSWORD": SECRET}}},
    {"Config": [f"PASSWORD={SECRET}"]},
    {"Config": SECRET},
    {"Config": {"Env": [[SECRET]]}},
    {"Config": {"Env": [SECRET]}},
    {"Config": None},
    {"Config": {"Env": None}},
    {},
]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the fleet's host answer an inspect so."""

    def say(answer: Any) -> None:
        async def fetched(container: object) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return json.loads(json.dumps(answer))

        monkeypatch.setattr(inspecting, "_fetch", fetched)

    return say


@pytest.mark.parametrize("answer", ANSWERS[:1] + ANSWERS[1:6] + ANSWERS[7:])
def test_no_value_of_the_environment_is_shown_unasked(
    administrator: Client, viewer: Client, fleet: Fleet, answers: Any, answer: Any
) -> None:
    """Also not when a host answers in a shape that no engine has."""
    answers(answer)
    path = f"/containers/{fleet.container.pk}/inspect/"
    for client in (administrator, viewer):
        for target in ("environment", "inspection", "other"):
            shown = client.get(path, headers={"HX-Request": "true", "HX-Target": target})
            assert shown.status_code == 200
            assert SECRET not in shown.content.decode()


def test_to_reveal_takes_the_right_and_is_written_down(
    administrator: Client, viewer: Client, fleet: Fleet, answers: Any
) -> None:
    answers(ANSWERS[0])
    path = f"/containers/{fleet.container.pk}/reveal/"
    assert administrator.get(path).status_code == 405, "no link, no picture, no prefetch reveals anything"
    refused = viewer.post(path)
    assert refused.status_code == 403
    assert SECRET not in refused.content.decode()
    before = AuditEntry.objects.count()
    shown = administrator.post(path)
    assert SECRET in shown.content.decode()
    assert shown["Cache-Control"] == "no-store"
    entry = AuditEntry.objects.latest("pk")
    assert (AuditEntry.objects.count(), entry.verb, entry.outcome) == (before + 1, "container.secrets", Outcome.ALLOWED)
    assert SECRET not in whole_database()


def test_a_host_that_answers_no_object_is_told(fleet: Fleet, answers: Any) -> None:
    answers(EngineProtocolError("Expected an object."))
    assert inspect_container(fleet.container, reveal=True).error


def test_the_mask_tells_no_length(fleet: Fleet, answers: Any) -> None:
    answers({"Config": {"Env": ["A=1", "B=" + "x" * 500, "C="]}})
    assert {value for _, value in inspect_container(fleet.container, reveal=False).environment} == {MASK}


def test_of_one_time_tokens_only_the_hash_is_kept(fleet: Fleet) -> None:
    _, invitation = Invitation.issue("viewer", created_by=fleet.administrator)
    _, enrolment = EnrolmentToken.issue(fleet.host, fleet.administrator)
    stored = whole_database()
    assert invitation not in stored
    assert enrolment not in stored
