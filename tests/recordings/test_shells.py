"""Shells in real containers, recorded by the real web process, and watched while they are open."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from containers.recordings import files, recorder
from tests.recordings.casts import Read, read
from tests.recordings.watching import Watch
from tests.support.engines import EngineProcess, unique
from tests.support.shell import Shell
from tests.support.stage import Stage
from tests.support.waiting import eventually, free_port

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.redis_server]


@pytest.fixture
def container(stage: Stage, docker_engine: EngineProcess, busybox_image: str) -> Iterator[int]:
    """The row of a running container."""
    name = unique("rec")
    engine_id = docker_engine.run(busybox_image, "top", name=name)
    yield stage.add_container(engine_id, name)
    docker_engine.request("DELETE", f"/containers/{engine_id}", force="true")


@pytest.fixture
def configured(stage: Stage) -> Iterator[Callable[..., None]]:
    """Restarts the web process with settings; takes them back at the end."""

    def configure(**settings: str) -> None:
        stage.home.settings = settings
        stage.web.stop()
        stage.web.start()

    yield configure
    configure()


def rows(stage: Stage) -> list[dict[str, Any]]:
    """Every recording, oldest first."""
    with contextlib.closing(sqlite3.connect(stage.home.path / "gantry.sqlite3")) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("SELECT * FROM containers_recording ORDER BY id")]


def latest(stage: Stage) -> dict[str, Any]:
    return rows(stage)[-1]


def cast_of(stage: Stage, row: dict[str, Any]) -> Path:
    return stage.home.path / "recordings" / row["path"]


def so_far(stage: Stage, row: dict[str, Any]) -> Read:
    path = cast_of(stage, row)
    return read(files.read(path, 0, files.complete_size(path)))


def ended(stage: Stage) -> dict[str, Any]:
    """The latest recording, once it is over."""
    return eventually(lambda: (row := latest(stage))["is_live"] == 0 and row, what="the recording is closed")


def details(stage: Stage, verb: str) -> list[str]:
    return [detail for found, detail in stage.audit() if found == verb]


def test_a_shell_is_recorded_from_its_first_line_to_its_last(stage: Stage, container: int) -> None:
    with Shell(stage, container, columns=91, rows=33) as shell:
        shell.until("# ")
        assert shell.until_told("recording")["on"] is True
        assert latest(stage)["is_live"] == 1
        shell.type("printf '\\303'; sleep 0.4; printf '\\244\\n'\n")
        shell.until("ä")
        shell.say("resize", columns=120, rows=40)
        shell.type("stty size; exit 7\n")
        shell.until("40 120")
        shell.until_told("exit")
    row = ended(stage)
    assert (row["ending"], row["exit_code"], row["actor_name"], row["host_name"]) == ("exited", 7, "admin", "host-1")
    path = cast_of(stage, row)
    assert row["size"] == path.stat().st_size
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    found = read(path.read_bytes())
    assert (found.header["width"], found.header["height"]) == (91, 33)
    assert found.header["env"]["SHELL"] == row["shell"]
    assert found.header["gantry"]["person"] == "admin"
    assert found.of("r") == ["120x40"]
    assert found.output == shell.output.decode(), "what was seen is what is kept"
    assert "ä" in found.output


def test_keys_are_not_recorded_so_that_passwords_are_not(stage: Stage, container: int) -> None:
    with Shell(stage, container) as shell:
        shell.type("stty -echo; echo re''ady; read secret; stty echo; echo th''anks\n")
        shell.until("ready")
        shell.type("swordfish\n")
        shell.until("thanks")
        shell.type("exit\n")
        shell.until_told("exit")
    found = read(cast_of(stage, ended(stage)).read_bytes())
    assert "swordfish" not in found.output
    assert found.of("i") == []


def test_keys_are_recorded_where_the_settings_say_so(
    stage: Stage, container: int, configured: Callable[..., None]
) -> None:
    configured(GANTRY_RECORDINGS_INPUT="1")
    with Shell(stage, container) as shell:
        shell.type("echo ty''ped\n")
        shell.until("typed\r\n")
        shell.say("end")
        shell.until_closed()
    row = ended(stage)
    assert row["ending"] == "closed"
    assert "".join(read(cast_of(stage, row).read_bytes()).of("i")) == "echo ty''ped\n"


def test_after_a_drop_the_same_recording_goes_on(stage: Stage, container: int) -> None:
    before = len(rows(stage))
    shell = Shell(stage, container)
    shell.type("(until test -e /told; do sleep 0.1; done; echo while-''away) & echo fi''rst\n")
    shell.until("first\r\n")
    shell.stack.close()
    eventually(lambda: latest(stage)["left_at"], what="it is known that nobody is in it")
    tell(stage)
    with Shell(stage, container, session=shell.session, **{"from": shell.end}) as again:
        again.until("while-away")
        assert latest(stage)["left_at"] is None
        with Shell(stage, container, session=shell.session, **{"from": 0}) as taken:
            taken.until("while-away")
            taken.type("echo se''cond; exit\n")
            taken.until_told("exit")
    assert len(rows(stage)) == before + 1
    assert read(cast_of(stage, ended(stage)).read_bytes()).output == taken.output.decode()


def tell(stage: Stage) -> None:
    """Let go on what waits for the file /told in the container of the latest recording."""
    stage.engine.cli("exec", latest(stage)["container_name"], "touch", "/told")


def silent_for_long(stage: Stage) -> dict[str, Any]:
    """The latest recording, as if nothing had been written for an hour."""
    row = latest(stage)
    long_ago = time.time() - 3600
    os.utime(files.mark_of(cast_of(stage, row)), (long_ago, long_ago))
    back = f"Recording.objects.filter(pk={row['id']}).update(started_at='2026-01-01T00:00Z')"
    stage.django(f"from containers.models import Recording; {back}")
    return row


class TestAShellThatNobodyIsIn:
    SWEEP = "from containers.tasks import sweep_recordings as s; s()"

    def leave(self, stage: Stage, shell: Shell) -> None:
        shell.stack.close()
        eventually(lambda: latest(stage)["left_at"], what="it is known that nobody is in it")

    def test_one_that_was_silent_for_long_goes_on_in_its_recording(self, stage: Stage, container: int) -> None:
        before = len(rows(stage))
        shell = Shell(stage, container)
        shell.until("# ")
        eventually(lambda: "# " in so_far(stage, latest(stage)).output)
        silent_for_long(stage)
        self.leave(stage, shell)
        stage.django(self.SWEEP)
        with Shell(stage, container, session=shell.session, **{"from": shell.end}) as again:
            assert again.until_told("recording")["on"] is True
            again.type("exit\n")
            again.until_told("exit")
        assert len(rows(stage)) == before + 1
        assert ended(stage)["ending"] == "exited"

    def test_one_that_runs_on_after_its_recording_was_closed_gets_another(self, stage: Stage, container: int) -> None:
        shell = Shell(stage, container)
        shell.until("# ")
        self.leave(stage, shell)
        silent_for_long(stage)
        stage.django(self.SWEEP)
        first = ended(stage)
        assert first["ending"] == "left"
        with Shell(stage, container, session=shell.session, **{"from": shell.end}) as again:
            assert again.until_told("recording")["on"] is True
            again.type("echo ag''ain; exit\n")
            again.until_told("exit")
        second = ended(stage)
        assert (second["id"] > first["id"], second["terminal"]) == (True, first["terminal"])
        assert read(cast_of(stage, second).read_bytes()).output == again.output.decode()

    def test_one_that_has_ended_gets_no_other(
        self, stage: Stage, container: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its browser went before it knew of the end, and is told when it returns."""
        before = len(rows(stage))
        with Shell(stage, container) as shell:
            monkeypatch.setattr(shell, "answer", lambda *_, **__: None)
            shell.type("exit\n")
            shell.until_told("exit")
        with Shell(stage, container, session=shell.session, **{"from": 0}) as again:
            again.until_told("exit")
            assert again.until_told("recording")["on"] is False
        assert len(rows(stage)) == before + 1


def test_a_shell_whose_end_did_not_reach_its_host_is_still_recorded(stage: Stage, container: int) -> None:
    with Shell(stage, container) as shell:
        shell.until("# ")
        socket = stage.agent.agent
        away = socket.rename(socket.with_suffix(".away"))
        try:
            shell.say("end")
            shell.type("echo st''ill\n")
            shell.until("still\r\n")
        finally:
            away.rename(socket)
        assert latest(stage)["is_live"] == 1
        shell.say("end")
        shell.until_closed()
    row = ended(stage)
    assert row["ending"] == "closed"
    assert "still\r\n" in read(cast_of(stage, row).read_bytes()).output


def test_a_connection_that_stands_still_in_a_flood_hands_over_the_recording(stage: Stage, container: int) -> None:
    before = len(rows(stage))
    with Shell(stage, container) as shell:
        shell.until("# ")
        shell.acknowledges = False
        shell.type("yes flooding\n")
        with contextlib.suppress(TimeoutError):
            while shell.read(timeout=1.0):
                pass
        with Shell(stage, container, session=shell.session, **{"from": shell.end}) as again:
            assert again.until_told("recording")["on"] is True
            again.type("\x03")
            again.type("echo do''ne; exit\n")
            again.until_told("exit")
        assert shell.until_closed() == 4409
    assert len(rows(stage)) == before + 1
    row = ended(stage)
    assert row["ending"] == "exited"
    assert "done\r\n" in read(cast_of(stage, row).read_bytes()).output


class TestTheWebProcessIsKilled:
    def test_what_was_shown_a_second_ago_is_kept_and_the_rest_comes_with_the_return(
        self, stage: Stage, container: int
    ) -> None:
        before = len(rows(stage))
        shell = Shell(stage, container)
        shell.type("A=alive; echo rea''dy-$A\n")
        shell.until("ready-alive\r\n")
        assert recorder.FLUSH_SECONDS < 1.0
        eventually(lambda: "ready-alive\r\n" in so_far(stage, latest(stage)).output)
        shell.type("for i in $(seq 2000); do echo line-$i; done\n")
        shell.until("line-2000")
        stage.web.kill()
        row = latest(stage)
        assert "ready-alive" in so_far(stage, row).output
        stage.web.start()
        with Shell(stage, container, session=shell.session, **{"from": shell.end}) as again:
            again.type("echo sti''ll-$A; exit\n")
            again.until_told("exit")
            assert again.start == shell.end, "the browser gets only what it has not"
        assert len(rows(stage)) == before + 1
        assert read(cast_of(stage, ended(stage)).read_bytes()).output == (shell.output + again.output).decode()

    def test_one_that_nobody_comes_back_to_is_closed_by_the_sweep(self, stage: Stage, container: int) -> None:
        shell = Shell(stage, container)
        shell.type("echo la''st\n")
        shell.until("last\r\n")
        last = "last\r\n/ # "  # the shell writes its prompt apart from what the command wrote
        eventually(lambda: last in so_far(stage, latest(stage)).output)
        stage.web.kill()
        stage.web.start()
        row = latest(stage)
        mark = files.mark_of(cast_of(stage, row))
        sweep = "from containers.tasks import sweep_recordings as s; s()"
        stage.django(sweep)
        assert latest(stage)["is_live"] == 1
        long_ago = time.time() - 3600
        os.utime(mark, (long_ago, long_ago))
        back = f"Recording.objects.filter(pk={row['id']}).update(started_at='2026-01-01T00:00Z')"
        stage.django(f"from containers.models import Recording; {back}; {sweep}")
        row = latest(stage)
        assert (row["is_live"], row["ending"]) == (0, "cut")
        assert last in read(cast_of(stage, row).read_bytes()).output
        assert not mark.exists()


class TestWhenItCannotBeRecorded:
    def test_the_shell_goes_on_and_its_person_and_the_trail_are_told(
        self, stage: Stage, container: int, configured: Callable[..., None]
    ) -> None:
        configured(GANTRY_RECORDINGS_RESERVE=str(10**17))
        with Shell(stage, container) as shell:
            told = shell.until_told("recording")
            assert told["on"] is False
            assert "disk" in told["why"]
            shell.type("echo st''ill\n")
            shell.until("still\r\n")
            shell.say("end")
            shell.until_closed()
        assert latest(stage)["ending"] == "failed"
        assert any(detail.startswith("not recorded: the disk") for detail in details(stage, "container.exec"))

    def test_the_shell_is_refused_where_the_settings_say_so(
        self, stage: Stage, container: int, configured: Callable[..., None]
    ) -> None:
        configured(GANTRY_RECORDINGS_RESERVE=str(10**17), GANTRY_RECORDINGS_REQUIRED="1")
        held = len(stage.terminals())
        with Shell(stage, container) as shell:
            assert shell.until_closed() == 4422
            assert "cannot be recorded" in shell.told[-1]["message"]
        eventually(lambda: len(stage.terminals()) <= held, what="no shell is left on the host")

    def test_a_flood_ends_its_recording_and_not_the_shell(
        self, stage: Stage, container: int, configured: Callable[..., None]
    ) -> None:
        configured(GANTRY_RECORDINGS_MOST="300000")
        with Shell(stage, container) as shell:
            shell.type("yes flooding | head -n 100000; echo do''ne\n")
            shell.until("done\r\n", timeout=60)
            while [told["on"] for told in shell.told if told["type"] == "recording"][-1]:
                assert shell.read()
            shell.type("echo st''ill\n")
            shell.until("still\r\n")
            shell.say("end")
            shell.until_closed()
        row = ended(stage)
        assert row["ending"] == "full"
        assert cast_of(stage, row).stat().st_size < 310_000
        assert "limit" in read(cast_of(stage, row).read_bytes()).of("m")[-1]
        assert any("not recorded any more" in detail for detail in details(stage, "container.exec"))

    def test_where_it_must_be_recorded_a_flood_ends_the_shell(
        self, stage: Stage, container: int, configured: Callable[..., None]
    ) -> None:
        configured(GANTRY_RECORDINGS_MOST="300000", GANTRY_RECORDINGS_REQUIRED="1")
        held = len(stage.terminals())
        with Shell(stage, container) as shell:
            shell.type("yes flooding\n")
            assert shell.until_closed() == 4422
            assert "could not be recorded any more" in shell.told[-1]["message"]
        eventually(lambda: len(stage.terminals()) <= held, what="the shell is gone from its host")


class TestWatching:
    def test_the_screen_so_far_then_what_comes_and_the_person_sees_it(self, stage: Stage, container: int) -> None:
        with Shell(stage, container) as shell:
            shell.type("echo bef''ore\n")
            shell.until("before\r\n")
            with Watch(stage, latest(stage)["id"]) as watch:
                watch.until("before\r\n")
                watch.until_told("here", here=True)
                assert shell.until_told("watchers")["names"] == ["other"]
                shell.type("echo af''ter\n")
                watch.until("after\r\n")
            shell.told.clear()
            assert shell.until_told("watchers")["names"] == []
            shell.say("end")
            shell.until_closed()
        eventually(lambda: details(stage, "recording.see")[-2:] == ["watches live", "stopped watching"])

    def test_it_ends_with_the_shell(self, stage: Stage, container: int) -> None:
        with Shell(stage, container) as shell:
            shell.until("# ")
            with Watch(stage, latest(stage)["id"]) as watch:
                watch.until("# ")
                shell.type("exit 3\n")
                shell.until_told("exit")
                assert watch.until_told("ended")["state"] == "exited"
                assert watch.until_closed() == 1000
                assert watch.cast.output == shell.output.decode()

    def test_it_ends_with_a_shell_that_was_left(self, stage: Stage, container: int) -> None:
        """Nobody of ours is there when it ends: the watch itself asks the host."""
        shell = Shell(stage, container)
        shell.type("echo wai''ts; exec sh -c 'until test -e /told; do sleep 0.1; done'\n")
        shell.until("waits\r\n")
        with Watch(stage, latest(stage)["id"]) as watch:
            watch.until_told("here", here=True)
            shell.stack.close()
            watch.until_told("here", here=False)
            tell(stage)
            assert watch.until_told("ended")["state"] == "left"

    def test_through_another_web_process(self, stage: Stage, container: int) -> None:
        port = free_port()
        with stage.another_web(port), Shell(stage, container) as shell:
            shell.type("echo bef''ore\n")
            shell.until("before\r\n")
            with Watch(stage, latest(stage)["id"], url=f"http://127.0.0.1:{port}") as watch:
                watch.until("before\r\n")
                assert shell.until_told("watchers")["names"] == ["other"]
                shell.type("echo af''ter\n")
                watch.until("after\r\n")
            shell.say("end")

    def test_a_shell_moves_to_another_web_process_with_its_recording(self, stage: Stage, container: int) -> None:
        before = len(rows(stage))
        port = free_port()
        with stage.another_web(port), Shell(stage, container) as shell:
            shell.type("A=kept; echo fi''rst\n")
            shell.until("first\r\n")
            url = f"http://127.0.0.1:{port}"
            with Shell(stage, container, url=url, session=shell.session, **{"from": shell.end}) as again:
                assert shell.until_closed() == 4409
                again.type("echo se''cond-$A; exit\n")
                again.until_told("exit")
        assert len(rows(stage)) == before + 1
        found = read(cast_of(stage, ended(stage)).read_bytes()).output
        assert found.count("first\r\n") == found.count("second-kept\r\n") == 1

    def test_who_may_not(self, stage: Stage, container: int) -> None:
        with Shell(stage, container) as shell:
            shell.until("# ")
            for user, code in (("viewer", 4403), ("", 4401)):
                with Watch(stage, latest(stage)["id"], user=user) as watch:
                    assert watch.until_closed() == code
                    assert watch.data == b""
            with Watch(stage, 987654) as watch:
                assert watch.until_closed() == 4404
            shell.say("end")

    def test_it_ends_within_ten_seconds_of_the_right(self, stage: Stage, container: int) -> None:
        revoke = (
            "from controlplane.access.models import User; User.objects.filter(username='other').update(standing={!r})"
        )
        with Shell(stage, container) as shell:
            shell.until("# ")
            with Watch(stage, latest(stage)["id"]) as watch:
                watch.until("# ")
                stage.django(revoke.format("viewer"))
                started = time.monotonic()
                try:
                    assert watch.until_closed() == 4403
                    assert time.monotonic() - started < 10
                finally:
                    stage.django(revoke.format("administrator"))
            shell.say("end")

    def test_a_watcher_who_reads_nothing_delays_nobody(self, stage: Stage, container: int) -> None:
        with Shell(stage, container) as shell:
            shell.until("# ")
            with Watch(stage, latest(stage)["id"]) as watch:
                watch.confirms = False
                watch.until("# ")
                shell.type("yes flooding | head -c 8000000; echo do''ne\n")
                shell.until("done\r\n", timeout=60)
                assert len(shell.output) > 8_000_000
                eventually(lambda: so_far(stage, latest(stage)).output.rpartition("done\r\n")[1], timeout=20)
                with contextlib.suppress(TimeoutError):
                    while watch.step(timeout=1.0):
                        pass
                assert len(watch.data) < 2 * 1024 * 1024, "the window, not the flood"
            shell.say("end")
