"""Recordings as rows: they begin and end, are swept, pruned, removed, listed, and shown to whom they may be."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from asgiref.sync import async_to_sync
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from containers.consumers.watch import WatchConsumer
from containers.models import Container, Ending, Recording
from containers.recordings import actions, files, recorder
from containers.recordings.actions import Told
from containers.recordings.cast import Event, header
from containers.recordings.files import CastFile
from containers.recordings.keeping import Keeping
from containers.tasks import prune_recordings, sweep_recordings
from containers.terminals import Order
from controlplane.access.models import Standing, User
from controlplane.operations.models import AuditEntry, Outcome
from hosts.models import Environment, Host, HostState
from tests.recordings.casts import make, read
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.django_db

FIRST = header(columns=80, rows=24, started=1000.0, shell="sh", title="t", about={})


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create(username="ada", password="!", standing=Standing.ADMINISTRATOR)


@pytest.fixture
def container(db: None) -> Container:
    environment = Environment.objects.create(name="Lab", slug="lab")
    host = Host.objects.create(name="edge-1", environment=environment, state=HostState.CONNECTED, public_key="k")
    return Container.objects.create(
        host=host, engine_id="c" * 64, name="web", image_ref="shop/web:1", image_id="sha256:a"
    )


@pytest.fixture
def signed_in(client: Client, ada: User) -> Client:
    client.force_login(ada)
    return client


def begun(ada: User, container: Container, terminal: str = "t" * 32) -> tuple[Recording, CastFile]:
    """A live recording, as its terminal has it."""
    row = actions.begin(ada, container, terminal, "/bin/sh")
    file = CastFile.create(actions.path_of(row), FIRST, row.started_at.timestamp(), 0)
    file.append([Event(row.started_at.timestamp() + 2, "o", b"hello")], 5)
    return row, file


def over(ada: User, container: Container, *, days: float = 0, size: int | None = None) -> Recording:
    """One that ended so many days ago. `size`: what its row says."""
    row = actions.begin(ada, container, os.urandom(16).hex(), "/bin/sh")
    found = make(row.path, [(0.5, "o", b"hello")])
    at = timezone.now() - timedelta(days=days)
    Recording.objects.filter(pk=row.pk).update(started_at=at)
    actions.end(row, Told(Ending.EXITED, found if size is None else size, 0, at=at))
    row.refresh_from_db()
    return row


def audit(verb: str) -> list[tuple[str, str]]:
    return list(AuditEntry.objects.filter(verb=verb).order_by("pk").values_list("actor_name", "detail"))


def age(row: Recording, seconds: float) -> None:
    """As if it had been written last so long ago."""
    then = time.time() - seconds
    os.utime(files.mark_of(actions.path_of(row)), (then, then))
    Recording.objects.filter(pk=row.pk).update(started_at=timezone.now() - timedelta(seconds=seconds + 5))


def test_it_keeps_the_names_of_what_goes(folder: Path, ada: User, container: Container) -> None:
    row = over(ada, container)
    container.delete()
    Environment.objects.get(slug="lab").delete()
    container.host.delete()
    ada.delete()
    row.refresh_from_db()
    assert (row.container, row.host, row.environment, row.actor) == (None, None, None, None)
    assert (row.container_name, row.host_name, row.actor_name) == ("web", "edge-1", "ada")
    assert (row.image_ref, row.image_id, row.engine_id) == ("shop/web:1", "sha256:a", "c" * 64)


class TestTheSweep:
    def test_what_is_being_written_is_left_alone(self, folder: Path, ada: User, container: Container) -> None:
        row, file = begun(ada, container)
        age(row, 3600)
        sweep_recordings()
        row.refresh_from_db()
        assert row.is_live
        file.release()

    def test_a_shell_left_a_moment_ago_is_waited_for(self, folder: Path, ada: User, container: Container) -> None:
        row, file = begun(ada, container)
        file.release()
        age(row, 300)
        sweep_recordings()
        row.refresh_from_db()
        assert row.is_live

    @pytest.mark.parametrize("was_left", [True, False])
    def test_what_nobody_came_back_to_is_closed(
        self, folder: Path, ada: User, container: Container, was_left: bool
    ) -> None:
        row, file = begun(ada, container)
        file.release()
        if was_left:
            actions.left(row, timezone.now())
        age(row, 3600)
        sweep_recordings()
        row.refresh_from_db()
        assert (row.is_live, row.ending) == (False, Ending.LEFT if was_left else Ending.CUT)
        cast = actions.path_of(row)
        assert row.size == cast.stat().st_size
        assert read(cast.read_bytes()).output == "hello"
        assert not files.mark_of(cast).exists()

    def test_a_shell_that_was_silent_for_long_is_waited_for_from_its_leaving(
        self, folder: Path, ada: User, container: Container
    ) -> None:
        row, file = begun(ada, container)
        age(row, 3600)
        file.release()
        sweep_recordings()
        row.refresh_from_db()
        assert row.is_live

    def test_a_row_whose_file_never_came_is_closed(self, folder: Path, ada: User, container: Container) -> None:
        row = actions.begin(ada, container, "t" * 32, "/bin/sh")
        sweep_recordings()
        assert Recording.objects.get().is_live, "its file may just be coming"
        Recording.objects.update(started_at=timezone.now() - timedelta(minutes=5))
        sweep_recordings()
        row.refresh_from_db()
        assert (row.is_live, row.ending, row.size) == (False, Ending.CUT, 0)

    def test_a_file_closed_before_its_row_is_whole(self, folder: Path, ada: User, container: Container) -> None:
        row, file = begun(ada, container)
        file.seal()
        Recording.objects.update(started_at=timezone.now() - timedelta(minutes=5))
        sweep_recordings()
        row.refresh_from_db()
        assert (row.is_live, row.size) == (False, actions.path_of(row).stat().st_size)

    def test_the_same_session_may_open_another_shell(self, folder: Path, ada: User, container: Container) -> None:
        row, file = begun(ada, container)
        file.release()
        again = actions.begin(ada, container, "t" * 32, "/bin/bash")
        row.refresh_from_db()
        assert (row.is_live, again.is_live) == (False, True)
        assert actions.find("t" * 32) == again


@pytest.mark.django_db(transaction=True)  # work in threads looks after its connections
class TestItCannotGoOn:
    """A shell is joined whose recording is there, and cannot be written."""

    def join(self, ada: User, container: Container) -> Keeping:
        async def nothing(*_: object, **__: object) -> None:
            return None

        async def join() -> Keeping:
            keeping = Keeping(nothing, nothing, nothing)
            await keeping.wanted(ada, container, "t" * 32, Order(container.engine_id, None, "", 80, 24), 5)
            await keeping.join(5)
            return keeping

        return async_to_sync(join)()

    @pytest.mark.parametrize("can_be_closed", [True, False])
    def test_what_is_there_counts(
        self, folder: Path, ada: User, container: Container, monkeypatch: pytest.MonkeyPatch, can_be_closed: bool
    ) -> None:
        def broken(_: Path) -> NoReturn:
            raise OSError(5, "Input/output error")

        row, file = begun(ada, container)
        file.release()
        monkeypatch.setattr(CastFile, "resume", broken)
        if not can_be_closed:
            monkeypatch.setattr(files, "seal_left", broken)
        assert self.join(ada, container).trouble == "Input/output error"
        row.refresh_from_db()
        assert (row.is_live, row.ending, row.trouble) == (False, Ending.FAILED, "Input/output error")
        assert row.size == actions.path_of(row).stat().st_size > 0
        assert files.mark_of(actions.path_of(row)).exists() != can_be_closed

    def test_one_that_another_will_not_let_go_of_is_closed_after_that(
        self, folder: Path, ada: User, container: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row, file = begun(ada, container)
        monkeypatch.setattr(recorder, "BUSY_SECONDS", 0.1)
        assert "is being written" in self.join(ada, container).trouble
        file.append([Event(row.started_at.timestamp() + 3, "o", b" more")], 10)
        file.release()
        age(row, 3600)
        sweep_recordings()
        row.refresh_from_db()
        cast = actions.path_of(row)
        assert (row.is_live, row.size) == (False, cast.stat().st_size)
        assert read(cast.read_bytes()).output == "hello more"
        assert not files.mark_of(cast).exists()


@pytest.mark.django_db(transaction=True)
def test_a_watcher_is_closed_when_the_database_does_not_answer(folder: Path, ada: User, container: Container) -> None:
    def broken(*_: object) -> NoReturn:
        raise OperationalError("the database is away")

    row, file = begun(ada, container)
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def watch() -> None:
        consumer = WatchConsumer()
        consumer.scope, consumer.recording, consumer.base_send = {"user": ada}, row, send
        await consumer.opened()
        await eventually_async(lambda: sent)
        await consumer.closed()

    with connection.execute_wrapper(broken):
        async_to_sync(watch)()
    assert [message.get("code") for message in sent] == [1011]
    assert files.watchers(file.cast) == []
    file.release()


def test_an_end_is_written_once(folder: Path, ada: User, container: Container) -> None:
    row, file = begun(ada, container)
    file.seal()
    assert actions.end(row, Told(Ending.EXITED, 7, 3))
    assert not actions.end(row, Told(Ending.CUT, 9))
    row.refresh_from_db()
    assert (row.ending, row.size, row.exit_code) == (Ending.EXITED, 7, 3)


class TestRetention:
    def test_the_old_go_with_their_files_and_it_is_written_down(
        self,
        folder: Path,
        ada: User,
        container: Container,
        settings: Any,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        settings.RECORDINGS_DAYS = 30
        old, young = over(ada, container, days=31), over(ada, container, days=29)
        live, file = begun(ada, container)
        Recording.objects.filter(pk=live.pk).update(started_at=timezone.now() - timedelta(days=99))
        with django_capture_on_commit_callbacks(execute=True):
            prune_recordings()
        assert set(Recording.objects.all()) == {young, live}
        assert not actions.path_of(old).exists()
        assert actions.path_of(young).exists()
        assert audit("recording.remove") == [("Gantry", "removed: older than 30 days")]
        entry = AuditEntry.objects.get(verb="recording.remove")
        assert (entry.target_id, entry.target_name, entry.host_name) == (str(old.pk), str(old), "edge-1")
        file.release()

    def test_the_oldest_go_until_the_rest_fits(
        self, folder: Path, ada: User, container: Container, settings: Any
    ) -> None:
        settings.RECORDINGS_BYTES = 250
        rows = [over(ada, container, days=days, size=100) for days in (1, 4, 2, 3)]
        prune_recordings()
        assert set(Recording.objects.all()) == {rows[0], rows[2]}
        assert len(audit("recording.remove")) == 2
        prune_recordings()
        assert Recording.objects.count() == 2

    def test_files_without_a_row_go_after_a_day(self, folder: Path, ada: User, container: Container) -> None:
        kept = over(ada, container)
        month = actions.path_of(kept).parent
        lost, fresh = month / "lost.cast", month / "fresh.cast"
        for path in (lost, fresh, folder / "2020-01/old.cast"):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(FIRST)
        for path in (lost, folder / "2020-01/old.cast", actions.path_of(kept)):
            os.utime(path, (1, 1))
        prune_recordings()
        assert fresh.exists()
        assert actions.path_of(kept).exists()
        assert not lost.exists()
        assert not (folder / "2020-01").exists()


class TestRemoving:
    def test_it_goes_with_its_file_and_who_did_it_stays(
        self,
        folder: Path,
        ada: User,
        container: Container,
        signed_in: Client,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        row = over(ada, container)
        with django_capture_on_commit_callbacks(execute=True):
            answer = signed_in.post(f"/recordings/{row.pk}/remove/", follow=True)
        assert "was removed" in answer.content.decode()
        assert not Recording.objects.exists()
        assert not actions.path_of(row).exists()
        assert audit("recording.remove") == [("ada", f"removed ({row.size} bytes)")]

    def test_not_while_it_is_written(self, folder: Path, ada: User, container: Container, signed_in: Client) -> None:
        row, file = begun(ada, container)
        assert signed_in.post(f"/recordings/{row.pk}/remove/").status_code == 409
        assert Recording.objects.exists()
        file.release()

    def test_it_is_asked_about_first(self, folder: Path, ada: User, container: Container, signed_in: Client) -> None:
        row = over(ada, container)
        page = signed_in.get(f"/recordings/{row.pk}/").content.decode()
        assert 'data-confirm="Remove this recording?"' in page
        assert signed_in.get(f"/recordings/{row.pk}/remove/").status_code == 405


class TestWhoSees:
    def test_not_even_ones_own_without_the_right(
        self, folder: Path, ada: User, container: Container, client: Client
    ) -> None:
        row = over(ada, container)
        User.objects.filter(pk=ada.pk).update(standing=Standing.VIEWER)
        client.force_login(User.objects.get(pk=ada.pk))
        for path in ("", "watch/", "cast/", "download/"):
            answer = client.get(f"/recordings/{row.pk}/{path}")
            assert answer.status_code == 403
            assert "recording.see" in answer.content.decode()
            entry = AuditEntry.objects.latest("pk")
            assert (entry.verb, entry.outcome) == ("recording.see", Outcome.REFUSED)
        assert "recordings" not in client.get("/").content.decode()
        assert "Recorded terminals" not in client.get(f"/containers/{container.pk}/").content.decode()

    def test_a_container_shows_its_recordings_even_as_another_row(
        self, folder: Path, ada: User, container: Container, signed_in: Client
    ) -> None:
        row = over(ada, container)
        container.delete()
        again = Container.objects.create(host=container.host, engine_id="c" * 64, name="web", image_ref="shop/web:1")
        shown = signed_in.get(f"/containers/{again.pk}/").content.decode()
        assert f"/recordings/{row.pk}/" in shown
        other = Container.objects.create(host=container.host, engine_id="d" * 64, name="db", image_ref="db:1")
        assert f"/recordings/{row.pk}/" not in signed_in.get(f"/containers/{other.pk}/").content.decode()


class TestTheList:
    def rows(self, client: Client, query: str = "") -> list[int]:
        return [row.pk for row in client.get(f"/recordings/?{query}").context["listing"].rows]

    def test_live_ones_first_then_the_newest(
        self, folder: Path, ada: User, container: Container, signed_in: Client
    ) -> None:
        old, new = over(ada, container, days=2), over(ada, container, days=1)
        live, file = begun(ada, container)
        Recording.objects.filter(pk=live.pk).update(started_at=timezone.now() - timedelta(days=9))
        assert self.rows(signed_in) == [live.pk, new.pk, old.pk]
        assert self.rows(signed_in, "state=live") == [live.pk]
        assert self.rows(signed_in, "state=exited") == [new.pk, old.pk]
        file.release()

    def test_it_is_searched_by_who_container_host_shell_and_time(
        self, folder: Path, ada: User, container: Container, signed_in: Client
    ) -> None:
        bob = User.objects.create(username="bob", password="!", standing=Standing.VIEWER)
        other = Container.objects.create(host=container.host, engine_id="d" * 64, name="db", image_ref="pg:1")
        one, two = over(ada, container, days=10), over(bob, other, days=3)
        Recording.objects.filter(pk=two.pk).update(shell="psql -U root")
        assert self.rows(signed_in, "q=psql") == [two.pk]
        assert self.rows(signed_in, "q=ada edge") == [one.pk]
        assert self.rows(signed_in, "q=shop/web") == [one.pk]
        assert self.rows(signed_in, "who=bob") == [two.pk]
        assert self.rows(signed_in, f"container={'c' * 64}") == [one.pk]
        assert set(self.rows(signed_in, f"host={container.host.pk}")) == {one.pk, two.pk}
        day = (timezone.now() - timedelta(days=5)).date()
        assert self.rows(signed_in, f"since={day}") == [two.pk]
        assert self.rows(signed_in, f"until={day}") == [one.pk]
        assert self.rows(signed_in, f"until={(timezone.now() - timedelta(days=3)).date()}") == [two.pk, one.pk]

    @pytest.mark.usefixtures("clocks_aside")
    def test_as_many_queries_for_many_rows(
        self,
        folder: Path,
        ada: User,
        container: Container,
        signed_in: Client,
        django_assert_max_num_queries: DjangoAssertNumQueries,
    ) -> None:
        for _ in range(20):
            over(ada, container)
        signed_in.get("/recordings/")  # the first request of a session notes the browser
        with django_assert_max_num_queries(9):
            signed_in.get("/recordings/")


def test_a_replay_and_a_download_are_written_down(
    folder: Path, ada: User, container: Container, signed_in: Client
) -> None:
    row = over(ada, container)
    taken = _take(signed_in, f"/recordings/{row.pk}/cast/")
    assert read(taken).output == "hello"
    assert _take(signed_in, f"/recordings/{row.pk}/download/") == taken
    assert audit("recording.see") == [("ada", "replayed"), ("ada", "downloaded")]
    entry = AuditEntry.objects.latest("pk")
    assert (entry.target_kind, entry.target_id, entry.target_name) == ("recording", str(row.pk), str(row))


@pytest.mark.parametrize("what", ["cast", "download"])
def test_an_open_shell_is_watched_live_or_not_at_all(
    folder: Path, ada: User, container: Container, signed_in: Client, what: str
) -> None:
    """Whoever is in it sees who watches; a look at the file would tell nobody."""
    row = actions.begin(ada, container, "t" * 32, "/bin/sh")
    assert signed_in.get(f"/recordings/{row.pk}/{what}/").status_code == 409
    assert audit("recording.see") == []
    assert signed_in.get(f"/recordings/{row.pk}/")["Location"] == f"/recordings/{row.pk}/watch/"


def _take(client: Client, path: str) -> bytes:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"
    if path.endswith("download/"):
        assert answer["Content-Disposition"].endswith('.cast"')
    data = async_to_sync(_joined)(answer.streaming_content)  # type: ignore[attr-defined]
    assert len(data) == int(answer["Content-Length"])
    return data


async def _joined(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


def test_a_file_that_is_gone_is_told_in_plain_words(
    folder: Path, ada: User, container: Container, signed_in: Client
) -> None:
    row = over(ada, container)
    files.remove(actions.path_of(row))
    answer = signed_in.get(f"/recordings/{row.pk}/cast/")
    assert answer.status_code == 503
    assert "The file of this recording is not there." in answer.content.decode()


def test_the_settings_say_what_they_expect(monkeypatch: pytest.MonkeyPatch) -> None:
    from controlplane.lib.home import whole_number

    monkeypatch.setenv("GANTRY_RECORDINGS_DAYS", "7")
    assert whole_number("GANTRY_RECORDINGS_DAYS", 90, least=1) == 7
    for text in ("0", "-1", "seven", "1e3", "9" * 30):
        monkeypatch.setenv("GANTRY_RECORDINGS_DAYS", text)
        with pytest.raises(ValueError, match="expected a whole number of at least 1"):
            whole_number("GANTRY_RECORDINGS_DAYS", 90, least=1)
