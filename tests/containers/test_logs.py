"""Logs through the whole chain: engine, agent, gateway, web, WebSocket. What the page makes of them: tests/browser."""

import hashlib
import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from hosts.engine import Demultiplexer
from tests.support.engines import EngineProcess, unique
from tests.support.stage import Stage
from tests.support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.redis_server]

MEGABYTE = 1024 * 1024
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(stage: Stage, docker_engine: EngineProcess, busybox_image: str) -> Iterator[Run]:
    """Run a shell script in a container: `run("echo a")` → (its row's key, its engine id)."""
    made: list[str] = []

    def start(script: str, **body: Any) -> tuple[int, str]:
        name = unique("log")
        engine_id = docker_engine.run(busybox_image, "sh", "-c", script, name=name, **body)
        made.append(engine_id)
        return stage.add_container(engine_id, name), engine_id

    yield start
    for engine_id in made:
        docker_engine.request("DELETE", f"/containers/{engine_id}", force="true")


class Reader:
    """A log as a page reads it: confirms what it gets, keeps the bytes and what it is told.

    `user`: "admin", "viewer", or the value of a session's cookie.
    """

    def __init__(self, stage: Stage, pk: int, *, user: str = "admin", origin: str = "", **query: Any) -> None:
        cookie = stage.cookie(user) if user in ("admin", "viewer") else user
        self.stack = ExitStack()
        self.socket = self.stack.enter_context(
            connect(
                f"{stage.url.replace('http', 'ws', 1)}/ws/containers/{pk}/logs?{urlencode(query)}",
                origin=origin or stage.url,  # type: ignore[arg-type]
                additional_headers={"Cookie": f"gantry_session={cookie}"},
                compression=None,
                open_timeout=30,
                max_size=4 * MEGABYTE,
            )
        )
        self.bytes = b""
        self.count = 0
        self.keeps = True
        self.confirms = True
        self.told: list[dict[str, Any]] = []
        self.code: int | None = None

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def read(self, timeout: float = 20.0) -> bool:
        """One message; False when the socket has closed."""
        try:
            message = self.socket.recv(timeout)
        except ConnectionClosed as closed:
            self.code = closed.rcvd.code if closed.rcvd else 1006
            return False
        if isinstance(message, str):
            self.told.append(json.loads(message))
        else:
            self.bytes += message if self.keeps else b""
            self.count += len(message)
            if self.confirms:
                self.socket.send(json.dumps({"ack": self.count}))
        return True

    def until(self, condition: Callable[[], Any]) -> None:
        while not condition():
            assert self.read(), f"closed with {self.code}: {self.told}"

    def to_the_end(self) -> dict[str, Any]:
        """Everything until the socket closes; the last thing told."""
        while self.read():
            pass
        return self.told[-1]

    @property
    def lines(self) -> list[tuple[int, str]]:
        """(stream, line without its time), of framed logs."""
        return [
            (stream, line.split(" ", 1)[1])
            for stream, data in Demultiplexer().feed(self.bytes)
            for line in data.decode().splitlines()
        ]


def test_both_streams_arrive_with_times(stage: Stage, run: Run) -> None:
    pk, _ = run("echo one; echo two >&2; echo three")
    with Reader(stage, pk) as log:
        ended = log.to_the_end()
    assert (log.told[0]["type"], log.told[0]["tty"]) == ("opened", False)
    assert sorted(log.lines) == [(1, "one"), (1, "three"), (2, "two")]
    assert (ended["type"], ended["running"], ended["exit_code"]) == ("ended", False, 0)
    assert log.bytes[8:12] == b"2026" or log.bytes[8:10] == b"20"


def test_a_line_arrives_the_moment_it_is_written(stage: Stage, run: Run) -> None:
    pk, engine_id = run("mkfifo /tmp/pipe; echo ready; read -r line < /tmp/pipe; echo got $line; sleep 100")
    with Reader(stage, pk) as log:
        log.until(lambda: b"ready" in log.bytes)
        stage.engine.cli("exec", engine_id, "sh", "-c", "echo it > /tmp/pipe")
        log.until(lambda: b"got it" in log.bytes)


def test_one_stream_alone(stage: Stage, run: Run) -> None:
    pk, _ = run("echo one; echo two >&2")
    with Reader(stage, pk, stdout=0) as log:
        log.to_the_end()
    assert log.lines == [(2, "two")]


def test_the_newest_lines_only(stage: Stage, run: Run) -> None:
    pk, _ = run("for i in 1 2 3 4 5; do echo $i; done")
    with Reader(stage, pk, tail=2) as log:
        log.to_the_end()
    assert [line for _, line in log.lines] == ["4", "5"]


def test_a_container_with_a_terminal_has_no_frames(stage: Stage, run: Run) -> None:
    pk, _ = run("echo plain; echo also >&2", Tty=True)
    with Reader(stage, pk) as log:
        log.to_the_end()
    assert (log.told[0]["type"], log.told[0]["tty"]) == ("opened", True)
    assert [line.split(b" ", 1)[1] for line in log.bytes.splitlines()] == [b"plain", b"also"]


def test_an_exit_code_is_told(stage: Stage, run: Run) -> None:
    pk, _ = run("echo bye; exit 3")
    with Reader(stage, pk) as log:
        ended = log.to_the_end()
    assert (ended["state"], ended["exit_code"], ended["finished_at"][:2]) == ("exited", 3, "20")


def test_a_removed_container_is_told(stage: Stage, run: Run) -> None:
    pk, engine_id = run("echo here; sleep 1000")
    with Reader(stage, pk) as log:
        log.until(lambda: b"here" in log.bytes)
        stage.engine.request("DELETE", f"/containers/{engine_id}", force="true")
        last = log.to_the_end()
    assert last["type"] in ("gone", "ended")
    with Reader(stage, pk) as log:
        assert log.to_the_end() == {"type": "gone"}


def test_a_log_driver_that_keeps_nothing_is_explained(stage: Stage, run: Run) -> None:
    pk, _ = run("echo a", HostConfig={"LogConfig": {"Type": "none"}})
    with Reader(stage, pk) as log:
        last = log.to_the_end()
    assert last["type"] == "refused"
    assert "log" in last["message"].lower()


@pytest.mark.parametrize("query", [{"tail": "-1"}, {"since": "x"}, {"stdout": "0", "stderr": "0"}])
def test_a_bad_question_is_refused_with_the_reason(stage: Stage, run: Run, query: dict[str, str]) -> None:
    pk, _ = run("echo a")
    with Reader(stage, pk, **query) as log:
        assert log.to_the_end()["message"].startswith("Expected")
    assert log.code == 4400


@pytest.mark.parametrize("answer", ['{"ack": 999999999999}', '{"ack": -1}', '{"ack": "1"}', "[]", "no", "{}"])
def test_a_confirmation_that_cannot_be_ends_the_stream(stage: Stage, run: Run, answer: str) -> None:
    pk, _ = run("echo a; sleep 1000")
    with Reader(stage, pk) as log:
        log.until(lambda: log.bytes)
        log.socket.send(answer)
        log.to_the_end()
    assert log.code == 4400


def test_who_may_not(stage: Stage, run: Run) -> None:
    pk, _ = run("echo a")
    with Reader(stage, pk, user="nobody") as log:
        log.read()
        assert log.code == 4401
    with Reader(stage, 999_999) as log:
        log.read()
        assert log.code == 4404
    with Reader(stage, pk, user="viewer") as log:
        log.to_the_end()
    assert log.lines == [(1, "a")]


def test_another_site_cannot_read(stage: Stage, run: Run) -> None:
    pk, _ = run("echo a")
    with pytest.raises(Exception, match="403"), Reader(stage, pk, origin="http://evil.example"):
        pass


def test_signing_out_ends_it_within_ten_seconds(stage: Stage, run: Run) -> None:
    pk, _ = run("echo a; sleep 1000")
    key = stage.fresh_cookie("viewer")
    with Reader(stage, pk, user=key) as log:
        log.until(lambda: log.bytes)
        stage.django(f"from django.contrib.sessions.models import Session; Session.objects.filter(pk={key!r}).delete()")
        assert not log.read(timeout=10)
        assert log.code == 4401


def open_readers(engine: EngineProcess, engine_id: str) -> int:
    """How often the engine holds the container's log file open, besides for writing."""
    assert engine.process
    found = 0
    folder = f"/proc/{engine.process.pid}/fd"
    for number in os.listdir(folder):
        with suppress(OSError):
            target = os.readlink(f"{folder}/{number}")
            found += target.endswith((f"{engine_id}-json.log", f"{engine_id}/userdata/ctr.log"))
    return found


def test_closing_the_page_closes_the_reader_on_the_host(stage: Stage, run: Run) -> None:
    pk, engine_id = run("echo a; sleep 1000")
    alone = open_readers(stage.engine, engine_id)
    with ExitStack() as stack:
        logs = [stack.enter_context(Reader(stage, pk)) for _ in range(5)]
        for log in logs:
            log.until(lambda log=log: log.bytes)  # type: ignore[misc]
        assert open_readers(stage.engine, engine_id) >= alone + 5
    eventually(lambda: open_readers(stage.engine, engine_id) == alone, what="every reader has gone")


def test_a_page_that_vanishes_closes_the_reader_too(stage: Stage, run: Run) -> None:
    pk, engine_id = run("yes")
    alone = open_readers(stage.engine, engine_id)
    log = Reader(stage, pk)
    log.until(lambda: log.bytes)
    assert open_readers(stage.engine, engine_id) > alone
    log.socket.socket.shutdown(socket.SHUT_RDWR)
    with suppress(Exception):
        log.stack.close()
    eventually(lambda: open_readers(stage.engine, engine_id) == alone, what="the reader has gone")


def test_a_stalled_page_grows_nothing_and_holds_up_nobody(stage: Stage, run: Run) -> None:
    """An endless log to a page that reads but confirms nothing, one that does not even read, and one that does."""
    pk, _ = run("yes 0123456789012345678901234567890123456789012345678901234567890123456789")
    with Reader(stage, pk, tail=0) as silent, Reader(stage, pk, tail=0), Reader(stage, pk, tail=0) as quick:
        silent.confirms = quick.keeps = False
        before = stage.web.memory
        quick.until(lambda: quick.count > 10 * MEGABYTE)
        silent.until(lambda: silent.count >= MEGABYTE)
        with suppress(TimeoutError):
            while silent.read(timeout=1):
                pass
        assert silent.count < 2 * MEGABYTE
        assert stage.web.memory - before < 50 * MEGABYTE
        silent.confirms = True
        silent.socket.send(json.dumps({"ack": silent.count}))
        at = silent.count
        silent.until(lambda: silent.count > at + MEGABYTE)


def test_a_lost_host_is_named_and_the_log_resumes_at_a_moment(stage: Stage, run: Run) -> None:
    pk, _ = run("i=0; while :; do i=$((i+1)); echo $i; usleep 20000; done")
    with Reader(stage, pk) as log:
        log.until(lambda: len(log.lines) > 20)
        stage.agent.kill()
        try:
            lost = log.to_the_end()
            assert lost["type"] == "lost"
            assert lost["message"]
        finally:
            stage.agent.start()
    stamp = Demultiplexer().feed(log.bytes)[0][1].splitlines()[-1].split()[0].decode()
    moment = f"{int(time.mktime(time.strptime(stamp[:19], '%Y-%m-%dT%H:%M:%S'))) - time.timezone}.{stamp[20:29]}"
    with Reader(stage, pk, since=moment, tail="all") as again:
        again.until(lambda: again.lines)
    assert again.lines[0] == log.lines[-1]


def test_it_goes_on_while_redis_is_away(stage: Stage, run: Run) -> None:
    pk, _ = run("while :; do echo tick; usleep 50000; done")
    with Reader(stage, pk) as log:
        log.until(lambda: log.bytes)
        stage.redis.kill()
        try:
            at = log.count
            log.until(lambda: log.count > at + 2000)
        finally:
            stage.redis.start()


# --- Download


@contextmanager
def download(stage: Stage, pk: int, **query: Any) -> Iterator[http.client.HTTPResponse]:
    address = urlsplit(stage.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
    cookie = stage.cookie("viewer")
    path = f"/containers/{pk}/logs/download/?{urlencode(query)}"
    with closing(connection):
        connection.request("GET", path, headers={"Cookie": f"gantry_session={cookie}"})
        with connection.getresponse() as answer:
            yield answer


def finished(stage: Stage, engine_id: str) -> None:
    eventually(
        lambda: not stage.engine.expect("GET", f"/containers/{engine_id}/json")["State"]["Running"],
        timeout=60,
        what="the container ended",
    )


def test_a_download_is_the_whole_log(stage: Stage, run: Run) -> None:
    pk, engine_id = run("for i in $(seq 1 3000); do echo line $i; done; echo last >&2")
    finished(stage, engine_id)
    with download(stage, pk) as answer:
        lines = answer.read().decode().splitlines()
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
    assert sorted(lines) == sorted([f"line {i}" for i in range(1, 3001)] + ["last"])


def test_a_download_honours_since_streams_and_times(stage: Stage, run: Run) -> None:
    pk, engine_id = run("echo old; echo err >&2; sleep 2; echo new")
    finished(stage, engine_id)
    with download(stage, pk, timestamps=1, stderr=0) as answer:
        stamped = answer.read().decode().splitlines()
    assert [line.split(" ", 1)[1] for line in stamped] == ["old", "new"]
    stamp = stamped[1].split()[0]
    moment = int(time.mktime(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S"))) - time.timezone
    with download(stage, pk, since=moment) as answer:
        assert answer.read() == b"new\n"


def test_a_line_of_fifty_megabytes_passes_in_constant_memory(stage: Stage, run: Run) -> None:
    size = 50 * 1000 * 1000
    pk, engine_id = run(f"head -c {size} /dev/zero | tr '\\0' x; echo")
    finished(stage, engine_id)
    before = stage.web.memory
    digest, count, most = hashlib.sha256(), 0, 0
    with download(stage, pk) as answer:
        while data := answer.read(MEGABYTE):
            digest.update(data)
            count += len(data)
            most = max(most, stage.web.memory)
    assert count == size + 1
    assert digest.hexdigest() == hashlib.sha256(b"x" * size + b"\n").hexdigest()
    assert most - before < 50 * MEGABYTE
    with Reader(stage, pk, tail="all") as log:
        log.keeps = False
        log.to_the_end()
    assert log.count > size
    assert stage.web.memory - before < 50 * MEGABYTE


def test_a_download_of_what_is_gone_is_a_clear_error(stage: Stage, run: Run) -> None:
    pk, engine_id = run("echo a")
    stage.engine.request("DELETE", f"/containers/{engine_id}", force="true")
    with download(stage, pk) as answer:
        assert answer.status == 404
        assert "Content-Disposition" not in answer.headers
    with download(stage, pk, since="x") as answer:
        assert answer.status == 400
