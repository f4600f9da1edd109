"""Files sent in pieces: nothing written twice, nothing taken for whole that is not, nobody else's touched."""

from __future__ import annotations

import json
import tarfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from controlplane.access.models import User
from controlplane.lib.errors import InvalidArgument
from images.builds import tasks, uploading
from images.builds.asked import Options, Source
from images.builds.context import dockerfile_in_tar, pack
from images.builds.models import Definition, Upload
from tests.images.working import make_host
from tests.support.images import make_tar

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada(administrator: User) -> Client:
    client = Client()
    client.force_login(administrator)
    return client


def begin(ada: Client) -> str:
    answer = ada.post("/builds/uploads/", json.dumps({"name": "x", "kind": "tree"}), "application/json")
    assert answer.status_code == 201
    return str(answer.json()["url"])


def put(ada: Client, url: str, offset: int, piece: bytes) -> Any:
    return ada.put(f"{url}?offset={offset}", piece, "application/octet-stream")


def finish(ada: Client, url: str, size: int) -> Any:
    return ada.post(f"{url}finish/", json.dumps({"size": size}), "application/json")


def test_pieces_make_one_file(ada: Client) -> None:
    content, url = make_tar({"Dockerfile": b"FROM x", "other": b"1"}), begin(ada)
    assert put(ada, url, 0, content[:3000]).json() == {"received": 3000}
    twice = put(ada, url, 0, content[:3000])
    assert (twice.status_code, twice.json()) == (200, {"received": 3000}), "its answer was lost: it is there already"
    ahead = put(ada, url, 5000, content[5000:])
    assert (ahead.status_code, ahead.json()) == (409, {"received": 3000})
    early = finish(ada, url, len(content))
    assert (early.status_code, early.json()["message"]) == (409, f"Expected {len(content)} bytes, found 3000.")
    assert put(ada, url, 3000, content[3000:]).json() == {"received": len(content)}
    done = finish(ada, url, len(content))
    assert done.json() == {"files": 2, "size": len(content), "dockerfiles": ["Dockerfile"], "message": ""}
    upload = Upload.objects.get()
    assert upload.path.read_bytes() == content
    assert upload.path.stat().st_mode & 0o077 == 0
    assert put(ada, url, len(content), b"more").status_code == 409
    assert upload.path.read_bytes() == content


@pytest.mark.parametrize(
    "content", [b"no archive at all" * 100, b"\x1f\x8b broken gzip", make_tar({"a": b"1" * 5000})[:700]]
)
def test_what_is_no_archive_is_told(ada: Client, content: bytes) -> None:
    url = begin(ada)
    put(ada, url, 0, content)
    answer = finish(ada, url, len(content))
    assert answer.status_code == 400
    assert "tar archive" in answer.json()["message"]
    assert not Upload.objects.exclude(finished_at=None).exists()


def bomb(kind: bytes, size: int, times: int = 1) -> bytes:
    """Headers that say something of the next, again and again."""
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return (info.tobuf(tarfile.GNU_FORMAT) + bytes(size + -size % 512)) * times + bytes(1024)


@pytest.mark.parametrize(
    "content",
    [
        bomb(tarfile.GNUTYPE_LONGNAME, 2 << 20),
        bomb(tarfile.XHDTYPE, 2 << 20),
        bomb(tarfile.GNUTYPE_LONGNAME, 10, times=3000),
    ],
    ids=["a name of megabytes", "attributes of megabytes", "names of names"],
)
def test_an_archive_whose_headers_are_a_bomb_is_refused(ada: Client, content: bytes) -> None:
    url = begin(ada)
    for at in range(0, len(content), 1 << 20):
        put(ada, url, at, content[at : at + (1 << 20)])
    assert finish(ada, url, len(content)).status_code == 400


def test_of_two_dockerfiles_the_last_is_told(ada: Client, tmp_path: Path) -> None:
    path = tmp_path / "twice.tar"
    path.write_bytes(make_tar({"Dockerfile": b"FROM first"})[:1024] + make_tar({"Dockerfile": b"FROM last"}))
    assert dockerfile_in_tar(path, "Dockerfile") == "FROM last"


@pytest.mark.parametrize("rule", ["*a*a*a*a*c", "**/**/**/**/x", "\n".join(str(n) for n in range(1001))])
def test_rules_that_would_take_hours_are_refused(tmp_path: Path, rule: str) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / ".dockerignore").write_text(rule)
    (folder / ("a" * 250)).touch()
    with pytest.raises(InvalidArgument, match="at most"):
        pack(folder, tmp_path / "context.tar", "Dockerfile", 1 << 30)


@pytest.mark.parametrize("offset", ["", "x", "-1", "²", "9" * 100])
def test_an_odd_offset_is_refused(ada: Client, offset: str) -> None:
    url = begin(ada)
    assert ada.put(f"{url}?offset={offset}", b"x", "application/octet-stream").status_code in (400, 409)


def test_a_piece_is_bounded(ada: Client) -> None:
    answer = put(ada, begin(ada), 0, bytes(uploading.LARGEST_PIECE + 1))
    assert answer.status_code == 400


def test_anothers_upload_is_not_there(ada: Client, viewer: User) -> None:
    url = begin(ada)
    other = Client()
    other.force_login(User.objects.create_user("bob", password="x", standing="administrator"))
    assert put(other, url, 0, b"x").status_code == 404
    assert finish(other, url, 0).status_code == 404
    ident = Upload.objects.get().pk
    Upload.objects.update(finished_at=timezone.now())
    host = make_host("edge-1")
    form = {"kind": "typed", "dockerfile": "FROM x", "upload": ident, "where": f"host:{host.pk}"}
    answer = other.post("/builds/new/", form)
    assert answer.status_code == 422
    assert "Send them again" in answer.content.decode()
    other.force_login(viewer)
    assert put(other, url, 0, b"x").status_code == 403
    assert other.delete(url).status_code == 403


def test_what_is_given_up_goes(ada: Client) -> None:
    url = begin(ada)
    path = Upload.objects.get().path
    assert path.exists()
    assert ada.delete(url).status_code == 204
    assert not path.exists()
    assert not Upload.objects.exists()


def test_old_files_are_swept_unless_a_definition_needs_them(administrator: User) -> None:
    content = make_tar({"Dockerfile": b"FROM x"})
    old, needed, fresh, unfinished = [uploading.begin(administrator, name) for name in "abcd"]
    for upload in (old, needed, fresh):
        uploading.append(upload, 0, content)
        uploading.finish(upload, len(content))
    source = Source("upload", upload=needed.pk)
    Definition.objects.create(name="d", slug="d", source=source.as_json(), options=Options().as_json())
    Upload.objects.filter(pk__in=[old.pk, needed.pk, unfinished.pk]).update(used_at=timezone.now() - timedelta(days=8))
    tasks.sweep()
    assert set(Upload.objects.values_list("pk", flat=True)) == {needed.pk, fresh.pk}
    assert [each.path.exists() for each in (old, needed, fresh, unfinished)] == [False, True, True, False]
