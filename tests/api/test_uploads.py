"""Files sent in pieces by a script: each once, where it belongs, and nobody else's."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from controlplane.access.models import User
from controlplane.api.models import Answer
from controlplane.operations.models import AuditEntry
from hosts.models import Host
from images.builds import uploading
from images.builds.models import Build, Upload
from tests.api.conftest import client_with, issue
from tests.security.fleet import Fleet
from tests.support.images import make_tar

UPLOADS = "/api/v1/build-uploads"
BYTES = "application/octet-stream"
JSON = "application/json"


@pytest.fixture
def upload(ada: Client, fleet: Fleet) -> str:
    """The address of one that was begun."""
    answer = ada.post(UPLOADS, {"name": "shop"}, content_type=JSON)
    assert answer.status_code == 201, answer.content
    return f"{UPLOADS}/{answer.json()['id']}"


def send(client: Client, upload: str, offset: int, piece: bytes, **headers: str) -> Any:
    return client.put(f"{upload}?offset={offset}", piece, content_type=BYTES, headers=headers)


def finish(client: Client, upload: str, size: int, **headers: str) -> Any:
    return client.post(f"{upload}/finish", {"size": size}, content_type=JSON, headers=headers)


def test_pieces_make_a_whole_that_is_built(ada: Client, fleet: Fleet, upload: str) -> None:
    content = make_tar({"Dockerfile": b"FROM scratch\n", "other": b"1"})
    assert send(ada, upload, 0, content[:3000]).json()["received"] == 3000
    assert send(ada, upload, 0, content[:3000]).json()["received"] == 3000, "its answer was lost: it is there already"
    ahead = send(ada, upload, 5000, content[5000:])
    assert (ahead.status_code, ahead["Content-Type"]) == (409, "application/problem+json")
    assert (ahead.json()["type"], ahead.json()["received"]) == ("urn:gantry:problem:not-the-next-piece", 3000)
    assert ada.get(upload).json()["received"] == 3000
    early = finish(ada, upload, len(content))
    assert (early.status_code, early.json()["detail"]) == (409, f"Expected {len(content)} bytes, found 3000.")
    assert send(ada, upload, 3000, content[3000:]).json()["is_whole"] is False
    done = finish(ada, upload, len(content)).json()
    assert (done["is_whole"], done["files"], done["dockerfiles"]) == (True, 2, ["Dockerfile"])
    body = {"kind": "upload", "upload": done["id"], "host": fleet.host.pk, "tags": ["shop/web:1"]}
    started = ada.post("/api/v1/builds", body, content_type=JSON)
    assert started.status_code == 202, started.content
    source = Build.objects.get(operation=started.json()["id"]).source
    assert (source["kind"], source["upload"], source["dockerfile_path"]) == ("upload", done["id"], "Dockerfile")


def test_a_dockerfiles_path_is_one_and_nothing_else(ada: Client, fleet: Fleet) -> None:
    body = {"kind": "git", "url": "https://git.example/a.git", "host": fleet.host.pk, "dockerfile_path": '["real"]'}
    answer = ada.post("/api/v1/builds", body, content_type=JSON)
    assert answer.status_code == 422
    assert "Expected the path of a Dockerfile" in answer.json()["errors"]["dockerfile_path"][0]


def test_files_lie_beside_a_typed_dockerfile(ada: Client, fleet: Fleet, upload: str) -> None:
    send(ada, upload, 0, make_tar({"x": b"1"}))
    ident = finish(ada, upload, 10240).json()["id"]
    body = {"dockerfile": "FROM scratch\nCOPY x /x\n", "upload": ident, "host": fleet.host.pk}
    started = ada.post("/api/v1/builds", body, content_type=JSON)
    source = Build.objects.get(operation=started.json()["id"]).source
    assert (source["kind"], source["upload"]) == ("typed", ident)


def test_one_that_is_not_whole_is_not_built(ada: Client, fleet: Fleet, upload: str) -> None:
    body = {"kind": "upload", "upload": upload.rpartition("/")[2], "host": fleet.host.pk}
    answer = ada.post("/api/v1/builds", body, content_type=JSON)
    assert answer.status_code == 422
    assert "Send them again" in answer.json()["errors"]["folder_upload"][0]


def test_the_first_piece_that_does_not_begin_at_nothing_says_so(ada: Client, upload: str) -> None:
    assert send(ada, upload, 7, b"x").json()["received"] == 0


def test_a_key_makes_a_piece_and_an_end_once(ada: Client, upload: str) -> None:
    content = make_tar({"Dockerfile": b"FROM x"})
    first = send(ada, upload, 0, content, **{"Idempotency-Key": "piece"})
    again = send(ada, upload, 0, content, **{"Idempotency-Key": "piece"})
    assert (again.content, again["Idempotency-Replayed"]) == (first.content, "true")
    other = send(ada, upload, 0, content[:-1] + b"x", **{"Idempotency-Key": "piece"})
    assert other.status_code == 422, "the same address, another body"
    before = AuditEntry.objects.count()
    answers = [finish(ada, upload, len(content), **{"Idempotency-Key": "end"}).content for _ in range(2)]
    assert answers[0] == answers[1]
    assert finish(ada, upload, len(content)).status_code == 200, "said twice it is looked at once"
    assert AuditEntry.objects.count() == before + 1
    assert Answer.objects.count() == 2


def test_what_is_refused_is_not_kept_for_its_key(ada: Client, upload: str) -> None:
    assert finish(ada, upload, 5, **{"Idempotency-Key": "end"}).status_code == 409
    assert not Answer.objects.exists()
    send(ada, upload, 0, make_tar({"Dockerfile": b"FROM x"}))
    assert finish(ada, upload, 10240, **{"Idempotency-Key": "end"}).status_code == 200


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=x", "text/plain"])
def test_a_piece_is_bytes(ada: Client, upload: str, content_type: str) -> None:
    answer = ada.put(f"{upload}?offset=0", b"{}", content_type=content_type)
    assert answer.status_code == 415
    assert Upload.objects.get(pk=upload.rpartition("/")[2]).path.stat().st_size == 0


@pytest.mark.parametrize("query", ["", "?offset=-1", "?offset=x", "?offset=1&offset=2", "?offset=0&size=1"])
def test_an_odd_offset_is_refused(ada: Client, upload: str, query: str) -> None:
    assert ada.put(f"{upload}{query}", b"x", content_type=BYTES).status_code == 422


def test_a_piece_is_bounded(ada: Client, upload: str) -> None:
    assert send(ada, upload, 0, bytes(uploading.LARGEST_PIECE + 1)).status_code == 413
    assert send(ada, upload, 0, bytes(uploading.LARGEST_PIECE)).json()["received"] == uploading.LARGEST_PIECE
    assert ada.post("/api/v1/hosts", b"x" * (3 << 20), content_type=BYTES).status_code == 413, "no other body may be"


def test_what_is_no_archive_is_told(ada: Client, upload: str) -> None:
    send(ada, upload, 0, b"no archive at all" * 100)
    answer = finish(ada, upload, 1700)
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")
    assert "tar archive" in answer.json()["detail"]
    assert ada.get(upload).json()["is_whole"] is False


def test_anothers_is_not_there(ada: Client, fleet: Fleet, upload: str) -> None:
    bob = client_with(issue(User.objects.create(username="bob", standing="administrator"))[1])
    assert bob.get(upload).status_code == 404
    assert send(bob, upload, 0, b"x").status_code == 404
    assert finish(bob, upload, 0).status_code == 404
    assert bob.delete(upload).status_code == 404
    send(ada, upload, 0, make_tar({"x": b"1"}))
    ident = finish(ada, upload, 10240).json()["id"]
    body = {"kind": "upload", "upload": ident, "host": Host.objects.get().pk}
    assert bob.post("/api/v1/builds", body, content_type=JSON).status_code == 422


def test_what_is_given_up_goes_and_what_is_whole_stays(ada: Client, upload: str) -> None:
    found = Upload.objects.get(pk=upload.rpartition("/")[2])
    assert ada.delete(upload).status_code == 204
    assert not found.path.exists()
    assert ada.get(upload).status_code == 404
    entry = AuditEntry.objects.latest("seq")
    assert (entry.verb, entry.target_kind, entry.door) == ("image.build", "upload", "api")


def test_a_file_that_is_not_there_is_told(ada: Client, upload: str) -> None:
    Upload.objects.get(pk=upload.rpartition("/")[2]).path.unlink()
    assert ada.get(upload).status_code == 503
    assert send(ada, upload, 0, b"x").status_code == 503
    assert "GANTRY_HOME/uploads" in finish(ada, upload, 0).json()["hint"]
