"""Attach, exec, logs, stats and health checks of the native engine, over its socket as clients use it."""

import asyncio
import json
import os
import pty
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hosts.engine import STDERR, STDOUT, Engine, demultiplex
from tests.support.engines import EngineProcess, Native, unique
from tests.support.images import TestImage
from tests.support.waiting import eventually, eventually_async

pytestmark = pytest.mark.root

ALONE = {"HostConfig": {"NetworkMode": "none"}}
UNTIL_TOLD = "while ! test -e /told; do usleep 20000; done"
ALL = {"stream": True, "stdout": True, "stderr": True}


@pytest.fixture(scope="module")
def image(native_engine: EngineProcess, busybox_archive: TestImage) -> str:
    native_engine.load(busybox_archive.archive("gantry/busybox:1"))
    return "gantry/busybox:1"


@pytest.fixture
async def engine(native_engine: EngineProcess):
    async with Engine(native_engine.socket) as engine:
        yield engine


@pytest.fixture
def create(native_engine: EngineProcess, image: str) -> Iterator[Callable[..., str]]:
    """Creates containers without a network; they are removed after the test."""
    made: list[str] = []

    def do(*command: str, starts: bool = True, **body: Any) -> str:
        body = {"Image": image, "Cmd": list(command), **ALONE, **body}
        made.append(native_engine.expect("POST", "/containers/create", body, name=unique())["Id"])
        if starts:
            native_engine.expect("POST", f"/containers/{made[-1]}/start")
        return made[-1]

    yield do
    for container in made:
        native_engine.request("DELETE", f"/containers/{container}", force="true", v="true")


async def everything(stream: Any) -> dict[int, bytes]:
    found = {STDOUT: b"", STDERR: b""}
    async for number, piece in demultiplex(stream):
        found[number] += piece
    return found


async def logs(engine: Engine, container: str, **query: Any) -> dict[int, bytes]:
    words = "&".join(f"{name}={value}" for name, value in {"stdout": 1, "stderr": 1, **query}.items())
    async with engine.stream("GET", f"/containers/{container}/logs?{words}", timeout=20) as response:
        return await everything(response.content)


async def ended(engine: Engine, container: str) -> int:
    return (await engine.post(f"/containers/{container}/wait", timeout=20))["StatusCode"]


async def run(engine: Engine, container: str, *command: str, **body: Any) -> tuple[dict[int, bytes], int]:
    """An exec's output and exit code, which is there as soon as the output has ended."""
    body = {"Cmd": command, "AttachStdout": True, "AttachStderr": True, **body}
    made = await engine.post(f"/containers/{container}/exec", body)
    async with await engine.hijack("POST", f"/exec/{made['Id']}/start", {"Detach": False, "Tty": False}) as stream:
        output = await everything(stream)
    found = await engine.get(f"/exec/{made['Id']}/json")
    assert found["Running"] is False
    return output, found["ExitCode"]


class TestAttach:
    async def test_output_is_what_was_written_to_the_byte(self, engine, create):
        container = create("sh", "-c", r"printf 'a\0b\r\n\n\377'; printf 'no end' >&2", starts=False)
        async with await engine.hijack("POST", f"/containers/{container}/attach", None, **ALL) as stream:
            await engine.post(f"/containers/{container}/start")
            found = await everything(stream)
        assert found == {STDOUT: b"a\0b\r\n\n\xff", STDERR: b"no end"}

    async def test_what_was_and_what_comes_join_without_a_gap(self, engine, create):
        script = "i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done"
        container = create("sh", "-c", script)
        async with await engine.hijack("POST", f"/containers/{container}/attach", None, logs=True, **ALL) as stream:
            found = await asyncio.wait_for(everything(stream), 20)
        assert found[STDOUT].split() == [b"%d" % number for number in range(3000)]

    async def test_a_client_that_does_not_read_holds_nobody_up(self, engine, create):
        container = create("sh", "-c", "read x; head -c 30000000 /dev/zero | tr '\\0' x; echo done >&2", OpenStdin=True)
        query = {**ALL, "stdin": True}
        async with await engine.hijack("POST", f"/containers/{container}/attach", None, **query) as stalled:
            async with await engine.hijack("POST", f"/containers/{container}/attach", None, **query) as other:
                await other.write(b"go\n")
                found = await asyncio.wait_for(everything(other), 60)
            assert found[STDERR] == b"done\n"
            assert len(found[STDOUT]) == 30_000_000
            assert await ended(engine, container) == 0
            assert len((await everything(stalled))[STDOUT]) == 30_000_000, "it may read at leisure"

    async def test_a_slow_client_gets_all_of_what_is_rotated_and_removed_meanwhile(self, engine, create, native_engine):
        host = {
            "NetworkMode": "none",
            "AutoRemove": True,
            "LogConfig": {"Type": "", "Config": {"max-size": "100k", "max-file": "2"}},
        }
        script = "i=0; while [ $i -lt 9 ]; do seq 1 20000; sleep 0.4; i=$((i+1)); done"
        container = create("sh", "-c", script, starts=False, HostConfig=host)
        async with await engine.hijack("POST", f"/containers/{container}/attach", None, **ALL) as stream:
            await engine.post(f"/containers/{container}/start")

            def is_gone() -> bool:
                return native_engine.request("GET", f"/containers/{container}/json")[0] == 404

            await eventually_async(lambda: asyncio.to_thread(is_gone), timeout=30, what="it has ended, unread")
            found = await asyncio.wait_for(everything(stream), 20)
        assert found[STDOUT] == b"".join(b"%d\n" % number for number in range(1, 20001)) * 9

    async def test_input_ends_for_the_process_only_with_the_once_attached_client(self, engine, create):
        container = create("sh", "-c", "cat; echo over", starts=False, OpenStdin=True, StdinOnce=True)
        query = {**ALL, "stdin": True}
        async with await engine.hijack("POST", f"/containers/{container}/attach", None, **query) as stream:
            await engine.post(f"/containers/{container}/start")
            await stream.write(b"x" * 200_000 + b"\n")
            await stream.write_eof()
            found = await asyncio.wait_for(everything(stream), 20)
        assert found[STDOUT] == b"x" * 200_000 + b"\nover\n"

    async def test_input_stays_open_for_the_next_client(self, engine, create):
        container = create("sh", "-c", "read a; read b; echo $a$b", OpenStdin=True)
        query = {"stream": True, "stdin": True}
        async with await engine.hijack("POST", f"/containers/{container}/attach", None, **query) as stream:
            await stream.write(b"one\n")
            await stream.write_eof()
        async with await engine.hijack("POST", f"/containers/{container}/attach", None, **query) as stream:
            await stream.write(b"two\n")
            assert await ended(engine, container) == 0
        assert (await logs(engine, container))[STDOUT] == b"onetwo\n"

    async def test_a_websocket_carries_both_ways(self, native_engine, create):
        container = create("sh", "-c", "read a; echo got $a; echo err >&2", OpenStdin=True)
        path = f"http://engine/v1.47/containers/{container}/attach/ws?stream=1&stdin=1&stdout=1&stderr=1"
        connector = aiohttp.UnixConnector(str(native_engine.socket))
        async with aiohttp.ClientSession(connector=connector) as session, session.ws_connect(path) as socket:
            await socket.send_bytes(b"this\n")
            found = b"".join([message.data async for message in socket])
        assert found == b"got this\nerr\n"

    async def test_one_cannot_attach_to_what_is_paused_or_not_there(self, native_engine, create):
        container = create("sleep", "1000")
        native_engine.expect("POST", f"/containers/{container}/pause")
        assert native_engine.request("POST", f"/containers/{container}/attach", stream=1, stdout=1)[0] == 409
        assert native_engine.request("POST", "/containers/no-such/attach", stream=1, stdout=1)[0] == 404


class TestExec:
    async def test_streams_are_kept_apart_and_the_code_is_the_commands(self, engine, create):
        container = create("sleep", "1000")
        output, code = await run(engine, container, "sh", "-c", "echo out; echo err >&2; exit 7")
        assert (output, code) == ({STDOUT: b"out\n", STDERR: b"err\n"}, 7)

    async def test_env_user_and_folder_are_its_own(self, engine, create):
        container = create("sleep", "1000")
        script = "echo $A $(id -u) $(pwd)"
        more = {"Env": ["A=b"], "User": "nobody", "WorkingDir": "/tmp"}
        output, code = await run(engine, container, "sh", "-c", script, **more)
        assert (output[STDOUT], code) == (b"b 65534 /tmp\n", 0)

    @pytest.mark.parametrize(("command", "code"), [("/no/such", 126), ("/etc/passwd", 126)])
    async def test_what_cannot_be_run_says_so_where_output_goes(self, engine, create, command, code):
        container = create("sleep", "1000")
        output, found = await run(engine, container, command)
        assert found == code
        assert b"exec failed" in output[STDOUT]

    async def test_all_of_a_large_output_arrives_though_the_reader_is_slow(self, engine, create):
        container = create("sleep", "1000")
        body = {"Cmd": ["sh", "-c", "head -c 20000000 /dev/zero"], "AttachStdout": True}
        made = await engine.post(f"/containers/{container}/exec", body)
        count = 0
        async with await engine.hijack("POST", f"/exec/{made['Id']}/start", {"Detach": False}) as stream:
            async for _, piece in demultiplex(stream):
                count += len(piece)
                await asyncio.sleep(0)
        assert count == 20_000_000

    async def test_detached_it_answers_at_once_and_is_known_until_its_end(self, native_engine, engine, create):
        container = create("sleep", "1000")
        made = await engine.post(f"/containers/{container}/exec", {"Cmd": ["sh", "-c", f"{UNTIL_TOLD}; exit 3"]})
        native_engine.expect("POST", f"/exec/{made['Id']}/start", {"Detach": True})
        found = await engine.get(f"/exec/{made['Id']}/json")
        assert found["Running"] is True
        assert found["Pid"] > 0
        assert made["Id"] in (await engine.get(f"/containers/{container}/json"))["ExecIDs"]
        await run(engine, container, "touch", "/told")

        async def code():
            return (await engine.get(f"/exec/{made['Id']}/json"))["ExitCode"] == 3

        await eventually_async(code)
        status, answer = native_engine.request("POST", f"/exec/{made['Id']}/start", {"Detach": True})
        assert status == 409
        assert "has already run" in answer["message"]

    async def test_only_a_running_container_takes_one(self, native_engine, create):
        stopped = create("true", starts=False)
        status, answer = native_engine.request("POST", f"/containers/{stopped}/exec", {"Cmd": ["true"]})
        assert (status, "is not running" in answer["message"]) == (409, True)
        running = create("sleep", "1000")
        assert native_engine.request("POST", f"/containers/{running}/exec", {"Cmd": []})[0] == 400
        assert native_engine.request("POST", "/exec/none/start", {})[0] == 404
        native_engine.expect("POST", f"/containers/{running}/pause")
        status, answer = native_engine.request("POST", f"/containers/{running}/exec", {"Cmd": ["true"]})
        assert (status, "is paused" in answer["message"]) == (409, True)

    async def test_it_dies_with_its_container(self, engine, create):
        container = create("sleep", "1000")
        body = {"Cmd": ["sleep", "1000"], "AttachStdout": True}
        made = await engine.post(f"/containers/{container}/exec", body)

        async def runs():
            return (await engine.get(f"/exec/{made['Id']}/json"))["Pid"]

        async with await engine.hijack("POST", f"/exec/{made['Id']}/start", {"Detach": False}) as stream:
            await eventually_async(runs)
            await engine.post(f"/containers/{container}/kill")
            assert await asyncio.wait_for(stream.read(), 10) == b""


class TestLogs:
    async def test_lines_by_number_and_time(self, engine, create):
        container = create("sh", "-c", f"echo a; echo b >&2; {UNTIL_TOLD}; echo c; printf d")

        async def begun():
            return await logs(engine, container) == {STDOUT: b"a\n", STDERR: b"b\n"}

        await eventually_async(begun)  # what is printed at one time may be logged in either order, and as one
        await run(engine, container, "touch", "/told")
        assert await ended(engine, container) == 0
        assert await logs(engine, container) == {STDOUT: b"a\nc\nd", STDERR: b"b\n"}
        assert await logs(engine, container, tail=2) == {STDOUT: b"c\nd", STDERR: b""}
        assert await logs(engine, container, stdout=0) == {STDOUT: b"", STDERR: b"b\n"}
        timed = (await logs(engine, container, timestamps=1))[STDOUT].splitlines()
        assert [line.split(b" ", 1)[1] for line in timed] == [b"a", b"c", b"d"]
        moment = timed[1].split(b" ")[0].decode()
        seconds = int(time.mktime(time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone)
        assert (await logs(engine, container, since=f"{seconds}.{moment[20:29]}"))[STDOUT] == b"c\nd"
        before = f"{seconds}.{int(moment[20:29]) - 1000:09d}"
        assert (await logs(engine, container, until=before))[STDOUT] == b"a\n"

    async def test_followed_it_begins_where_asked_and_ends_at_death(self, engine, create):
        container = create("sh", "-c", "echo a; echo b; read x; echo c", OpenStdin=True)

        async def is_there():
            return (await logs(engine, container))[STDOUT] == b"a\nb\n"

        await eventually_async(is_there)
        path = f"/containers/{container}/logs?stdout=1&stderr=1&follow=1&tail=1"
        async with engine.stream("GET", path, timeout=20) as response:
            pieces = demultiplex(response.content)
            # What is printed next is printed to one that follows already: else the last line might be that one.
            assert await anext(pieces) == (STDOUT, b"b\n")
            query = {"stream": True, "stdin": True}
            async with await engine.hijack("POST", f"/containers/{container}/attach", None, **query) as stream:
                await stream.write(b"\n")
                assert [piece async for piece in pieces] == [(STDOUT, b"c\n")]

    def test_a_request_for_nothing_is_refused(self, native_engine, create):
        container = create("true")
        status, answer = native_engine.request("GET", f"/containers/{container}/logs")
        assert status == 400
        assert "at least one stream" in answer["message"]

    async def test_rotation_keeps_to_the_size_and_a_follower_misses_nothing(self, engine, create, native_engine):
        host = {"NetworkMode": "none", "LogConfig": {"Type": "", "Config": {"max-size": "200k", "max-file": "2"}}}
        script = "i=0; while [ $i -lt 40000 ]; do echo line $i; i=$((i+1)); done; read x"
        container = create("sh", "-c", script, OpenStdin=True, HostConfig=host)
        found = b""
        path = f"/containers/{container}/logs?stdout=1&follow=1"
        async with engine.stream("GET", path, timeout=None) as response:
            async for _, piece in demultiplex(response.content):
                found += piece
                if found.endswith(b"line 39999\n"):
                    break
        assert found.splitlines() == [b"line %d" % number for number in range(40000)]
        folder = native_engine.root / "containers" / container
        eventually(lambda: list(folder.glob("ctr.log.*")), what="the log is rotated")
        eventually(lambda: len(list(folder.glob("ctr.log*"))) <= 2, what="the last rotation is over")


async def test_stats_tell_what_it_uses(native_engine, engine, create):
    container = create("sh", "-c", "while :; do :; done")
    async with engine.stream("GET", f"/containers/{container}/stats", timeout=None) as response:
        await response.content.readline()
        second = json.loads(await response.content.readline())
    used = second["cpu_stats"]["cpu_usage"]["total_usage"] - second["precpu_stats"]["cpu_usage"]["total_usage"]
    assert used > 100_000_000, "a busy second"
    assert second["memory_stats"]["usage"] > 0
    assert second["pids_stats"]["current"] >= 1
    once = native_engine.expect("GET", f"/containers/{container}/stats", stream="false", **{"one-shot": "true"})
    assert once["precpu_stats"]["cpu_usage"]["total_usage"] == 0
    native_engine.expect("POST", f"/containers/{container}/kill")
    await ended(engine, container)
    stopped = native_engine.expect("GET", f"/containers/{container}/stats", stream="false")
    assert stopped["cpu_stats"]["cpu_usage"]["total_usage"] == 0


async def test_a_health_check_follows_the_container(native_engine, engine, create):
    check = {"Test": ["CMD-SHELL", "cat /tmp/ok"], "Interval": 50_000_000, "Retries": 2, "Timeout": 5_000_000_000}
    container = create("sleep", "1000", Healthcheck=check)

    async def is_(state: str) -> bool:
        return (await engine.get(f"/containers/{container}/json"))["State"]["Health"]["Status"] == state

    await eventually_async(lambda: is_("unhealthy"))
    await run(engine, container, "touch", "/tmp/ok")
    await eventually_async(lambda: is_("healthy"))
    health = (await engine.get(f"/containers/{container}/json"))["State"]["Health"]
    assert health["FailingStreak"] == 0
    assert len(health["Log"]) <= 5


async def test_a_health_check_that_takes_too_long_is_ended(engine, create):
    check = {"Test": ["CMD", "sleep", "1000"], "Interval": 50_000_000, "Retries": 1, "Timeout": 200_000_000}
    container = create("sleep", "1000", Healthcheck=check)

    async def log() -> Any:
        return (await engine.get(f"/containers/{container}/json"))["State"]["Health"]["Log"]

    first = (await eventually_async(log))[0]
    assert first["ExitCode"] == -1
    assert "exceeded timeout" in first["Output"]


class Terminal:
    """A docker CLI in a terminal, as a person types in it."""

    def __init__(self, engine: EngineProcess, *arguments: str) -> None:
        self.end, other = pty.openpty()
        command = ["docker", "-H", f"unix://{engine.socket}", *arguments]
        self.process = subprocess.Popen(command, stdin=other, stdout=other, stderr=other, start_new_session=True)
        os.close(other)
        self.seen = b""

    def type(self, text: bytes) -> None:
        os.write(self.end, text)

    def until(self, text: bytes, timeout: float = 20.0) -> None:
        deadline = time.monotonic() + timeout
        while text not in self.seen:
            ready, _, _ = select.select([self.end], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no {text!r} in {self.seen!r}"
            self.seen += os.read(self.end, 4096)

    def close(self) -> int:
        code = self.process.wait(20)
        os.close(self.end)
        return code


def test_people_type_in_terminals(native_engine: Native, image: str) -> None:
    name = unique()
    terminal = Terminal(native_engine, "run", "-it", "--net=none", "--name", name, image, "sh")
    terminal.type(b"echo $((40+2)); tty\n")
    terminal.until(b"42\r\n")
    terminal.until(b"/dev/pts/0\r\n")
    terminal.type(b"\x10\x11")
    assert terminal.close() == 0, "detached"
    assert native_engine.expect("GET", f"/containers/{name}/json")["State"]["Running"]
    inside = Terminal(native_engine, "exec", "-it", "-e", "A=b", "-w", "/tmp", name, "sh")
    inside.type(b"echo $A-$(pwd)\n")
    inside.until(b"b-/tmp\r\n")
    inside.type(b"exit 5\n")
    assert inside.close() == 5
    again = Terminal(native_engine, "attach", name)
    again.type(b"echo $((50+3))\n")
    again.until(b"53\r\n")
    again.type(b"exit 4\n")
    assert again.close() == 4
    native_engine.expect("DELETE", f"/containers/{name}")


def test_pipes_go_through_the_cli(native_engine: Native, image: str) -> None:
    found = native_engine.cli("run", "-i", "--rm", "--net=none", image, "sh", "-c", "cat; printf end", input=b"a\nb")
    assert found == "a\nbend"


def test_nothing_stays_open_when_clients_go(native_engine: Native, create, image: str) -> None:
    """A follower of a silent container is noticed to have gone, attached or not."""
    container = create("sleep", "1000")
    process = native_engine.process
    assert process
    descriptors = Path(f"/proc/{process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    clients = [
        subprocess.Popen(
            ["docker", "-H", f"unix://{native_engine.socket}", *words, container], stdout=subprocess.DEVNULL
        )
        for words in (["logs", "-f"], ["attach", "--no-stdin"], ["stats"])
    ]
    eventually(lambda: len(list(descriptors.iterdir())) >= before + 3)
    for client in clients:
        client.kill()
        client.wait()
    eventually(lambda: len(list(descriptors.iterdir())) <= before + 1)
