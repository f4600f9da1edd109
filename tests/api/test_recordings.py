"""Recordings: listed as on the page, fetched whole and piece by piece, each reading written down."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.http import Http404
from django.test import AsyncClient, Client
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from containers.models import Container, Ending, Recording
from containers.recordings import actions, files, taking
from containers.recordings.actions import Told
from controlplane.access import tokens
from controlplane.access.models import Grant, Role, Token, User
from controlplane.access.naming import cover_again
from controlplane.api import streams
from controlplane.operations.models import AuditEntry
from tests.api.conftest import bearer, client_with, issue
from tests.recordings.casts import lay_folder, make, read
from tests.security.fleet import Fleet
from tests.security.fleet import make as make_fleet

RECORDINGS = "/api/v1/recordings"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any) -> Path:
    return lay_folder(tmp_path, settings)


def over(actor: User, text: str = "hello", **fields: Any) -> Recording:
    """One that has ended."""
    row = actions.begin(actor, Container.objects.get(), os.urandom(16).hex(), "/bin/sh")
    size = make(row.path, [(0.5, "o", text.encode())])
    actions.end(row, Told(Ending.EXITED, size, 3, at=timezone.now()))
    Recording.objects.filter(pk=row.pk).update(**fields)
    row.refresh_from_db()
    return row


async def joined(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


def test_they_are_listed_and_narrowed_as_on_the_page(ada: Client, fleet: Fleet) -> None:
    Recording.objects.all().delete()
    old = over(fleet.administrator, started_at=timezone.now() - timedelta(days=9), container_name="api")
    live = actions.begin(fleet.viewer, fleet.container, "t" * 32, "/bin/sh")

    def found(query: str) -> list[int]:
        return [row["id"] for row in ada.get(f"{RECORDINGS}?{query}").json()["items"]]

    assert found("") == [live.pk, old.pk]
    assert found("state=live") == [live.pk]
    assert found("who=ada") == found("q=api") == [old.pk]
    assert found(f"container={fleet.container.engine_id}&sort=size") == [live.pk, old.pk]
    assert ada.get(f"{RECORDINGS}?since=x").status_code == 422
    said = ada.get(f"{RECORDINGS}/{old.pk}").json()
    assert (said["state"], said["exit_code"], said["environment"]) == ("exited", 3, "env")
    assert "path" not in said


def test_the_right_to_recordings_suffices(fleet: Fleet, member: User) -> None:
    """For somebody who may not even see the containers."""
    Recording.objects.all().delete()
    row = over(fleet.administrator)
    auditor = client_with(issue(member)[1])
    assert auditor.get(f"{RECORDINGS}/{row.pk}").status_code == 404
    role = Role.objects.create(name="Auditor", slug="auditor", verbs=["recording.see"])
    cover_again(Grant.objects.create(user=member, role=role, every_environment=True))
    assert [each["id"] for each in auditor.get(RECORDINGS).json()["items"]] == [row.pk]
    assert auditor.get(f"{RECORDINGS}/{row.pk}").status_code == 200
    assert auditor.get(f"{RECORDINGS}/{row.pk}/cast").status_code == 200
    refused = auditor.delete(f"{RECORDINGS}/{row.pk}")
    assert (refused.status_code, refused.json()["verb"]) == (403, "recording.remove")


def test_the_cast_comes_whole_and_who_took_it_is_written_down(ada: Client, fleet: Fleet) -> None:
    row = over(fleet.administrator, "x" * 300_000)
    answer: Any = ada.get(f"{RECORDINGS}/{row.pk}/cast")
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/x-asciicast")
    data = async_to_sync(joined)(answer.streaming_content)
    assert len(data) == int(answer["Content-Length"]) == row.size
    assert read(data).output == "x" * 300_000
    entry = AuditEntry.objects.latest("seq")
    assert (entry.verb, entry.target_id, entry.detail) == ("recording.see", str(row.pk), "downloaded")
    assert (entry.door, entry.token_name) == ("api", "ci")


def test_an_open_shell_is_not_read_behind_its_persons_back(ada: Client, fleet: Fleet) -> None:
    live = actions.begin(fleet.viewer, fleet.container, "t" * 32, "/bin/sh")
    before = AuditEntry.objects.filter(verb="recording.see").count()
    answer = ada.get(f"{RECORDINGS}/{live.pk}/cast")
    assert (answer.status_code, answer.json()["detail"]) == (409, "This recording is still being written.")
    assert AuditEntry.objects.filter(verb="recording.see").count() == before


def test_a_file_that_is_gone_is_told(ada: Client, fleet: Fleet) -> None:
    row = over(fleet.administrator)
    files.remove(actions.path_of(row))
    answer = ada.get(f"{RECORDINGS}/{row.pk}/cast")
    assert (answer.status_code, answer.json()["detail"]) == (503, "The file of this recording is not there.")


def test_it_is_removed_with_its_file_but_not_while_it_is_written(
    ada: Client, fleet: Fleet, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    row = over(fleet.administrator)
    with django_capture_on_commit_callbacks(execute=True):
        assert ada.delete(f"{RECORDINGS}/{row.pk}").status_code == 204
    assert not actions.path_of(row).exists()
    assert ada.get(f"{RECORDINGS}/{row.pk}").status_code == 404
    entry = AuditEntry.objects.filter(verb="recording.remove").latest("seq")
    assert (entry.target_id, entry.door) == (str(row.pk), "api")
    live = actions.begin(fleet.administrator, fleet.container, "t" * 32, "/bin/sh")
    assert ada.delete(f"{RECORDINGS}/{live.pk}").status_code == 409
    assert Recording.objects.filter(pk=live.pk).exists()


@pytest.mark.django_db(transaction=True)
async def test_it_breaks_off_when_the_token_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Piece by piece: the rest is not even read."""
    monkeypatch.setattr(streams, "RECHECK_SECONDS", 0.0)
    monkeypatch.setattr(taking, "CHUNK", 1000)
    fleet = await sync_to_async(make_fleet)()
    row = await sync_to_async(over)(fleet.administrator, "x" * 10_000)
    secret = (await sync_to_async(issue)(fleet.administrator))[1]
    answer: Any = await AsyncClient().get(f"{RECORDINGS}/{row.pk}/cast", headers=bearer(secret))
    content = aiter(answer.streaming_content)
    assert len(await anext(content)) == 1000
    await sync_to_async(tokens.revoke)(await Token.objects.aget(owner=fleet.administrator))
    with pytest.raises(Http404, match="the token ended"):
        await anext(content)
