"""What flows: logs, events, pulls, exec and attach, on every engine."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from controlplane.lib.references import parse
from hosts.engine import STDERR, STDOUT, Engine, EngineError, HijackedStream, demultiplex, raise_for_message, segment
from tests.support.engines import EngineProcess, unique
from tests.support.images import TestImage, busybox, digest
from tests.support.registry import Registry, SlowRegistry
from tests.support.waiting import eventually_async

Started = Callable[..., str]


@pytest.fixture
def started(process: EngineProcess, image: str) -> Any:
    """Starts a container with these words as its command, and further fields of the create request."""
    made: list[str] = []

    def start(*command: str, **body: Any) -> str:
        made.append(process.run(image, *command, **body))
        return made[-1]

    yield start
    for container in made:
        process.request("DELETE", f"/containers/{container}", force="true")


@contextlib.asynccontextmanager
async def running_exec(
    engine: Engine, container: str, *command: str, tty: bool = False
) -> AsyncIterator[HijackedStream]:
    """An exec with everything attached; raw when it has a terminal, else in frames."""
    body = {"Cmd": command, "AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "Tty": tty}
    made = await engine.post(f"/containers/{container}/exec", body)
    async with await engine.hijack("POST", f"/exec/{made['Id']}/start", {"Detach": False, "Tty": tty}) as stream:
        yield stream


async def everything(stream: HijackedStream) -> dict[int, bytes]:
    """What comes on each of the two outputs until the end."""
    found = {STDOUT: b"", STDERR: b""}
    async for number, piece in demultiplex(stream):
        found[number] += piece
    return found


async def until(stream: HijackedStream, text: bytes) -> bytes:
    """Read until the text has come."""
    found = b""
    while text not in found:
        piece = await stream.read()
        assert piece, f"the stream ended after {found!r}"
        found += piece
    return found


async def test_a_log_tells_its_two_streams_apart(engine: Engine, started: Started) -> None:
    container = started("sh", "-c", "echo out; echo err >&2; echo out again")
    await engine.post(f"/containers/{container}/wait", timeout=20)
    found = {STDOUT: b"", STDERR: b""}
    async with engine.stream("GET", f"/containers/{container}/logs?stdout=true&stderr=true") as response:
        async for number, piece in demultiplex(response.content):
            found[number] += piece
    assert found == {STDOUT: b"out\nout again\n", STDERR: b"err\n"}


async def test_a_burst_of_a_log_is_followed_line_by_line(engine: Engine, started: Started) -> None:
    # Podman 4.3 loses lines of a log that is followed while its container ends, also for the docker CLI.
    container = started("sh", "-c", "for i in $(seq 1 20000); do echo line $i; done; sleep 1000")
    lines = b""
    path = f"/containers/{container}/logs?stdout=true&follow=true"
    # Podman sends the headers with the first output.
    async with engine.stream("GET", path, timeout=None) as response:
        async for _, piece in demultiplex(response.content):
            lines += piece
            if lines.endswith(b"line 20000\n"):
                break
    assert lines.splitlines() == [b"line %d" % number for number in range(1, 20001)]


async def test_following_a_log_ends_with_the_container(engine: Engine, started: Started) -> None:
    container = started("sh", "-c", "echo begun; sleep 1000")
    path = f"/containers/{container}/logs?stdout=true&follow=true"
    async with engine.stream("GET", path, timeout=None) as response:
        pieces = demultiplex(response.content)
        assert await anext(pieces) == (STDOUT, b"begun\n")
        await engine.post(f"/containers/{container}/kill")
        assert [piece async for piece in pieces] == []


async def test_an_exec_reads_on_after_its_input_has_ended(engine: Engine, started: Started) -> None:
    container = started("sleep", "1000")
    async with running_exec(engine, container, "sh", "-c", "cat; echo done >&2") as stream:
        await stream.write(b"hello\n")
        await stream.write_eof()
        assert await everything(stream) == {STDOUT: b"hello\n", STDERR: b"done\n"}


async def test_a_megabyte_goes_through_an_exec_and_back(engine: Engine, started: Started) -> None:
    container = started("sleep", "1000")
    sent = bytes(range(256)) * 4096
    async with running_exec(engine, container, "cat") as stream:

        async def send() -> None:
            for at in range(0, len(sent), 65536):
                await stream.write(sent[at : at + 65536])
            await stream.write_eof()

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            received = group.create_task(everything(stream))
    assert received.result()[STDOUT] == sent


async def test_a_terminal_echoes_and_is_resized(engine: Engine, started: Started) -> None:
    container = started("sleep", "1000")
    body = {"Cmd": ["sh"], "AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "Tty": True}
    made = await engine.post(f"/containers/{container}/exec", body)
    start = {"Detach": False, "Tty": True}
    async with await engine.hijack("POST", f"/exec/{made['Id']}/start", start) as stream:
        await stream.write(b"echo $((40 + 2))\n")
        await until(stream, b"42\r\n")
        await engine.post(f"/exec/{made['Id']}/resize", h=40, w=120)
        await stream.write(b"stty size\n")
        await until(stream, b"40 120\r\n")
        await stream.write(b"exit 7\n")
        while await stream.read():
            pass

    async def ended() -> bool:
        return (await engine.get(f"/exec/{made['Id']}/json"))["ExitCode"] == 7

    await eventually_async(ended)


async def test_attach_carries_input_and_output(engine: Engine, image: str, process: EngineProcess) -> None:
    body = {"Image": image, "Cmd": ["cat"], "OpenStdin": True, "StdinOnce": True, "AttachStdin": True}
    name = unique("attach")
    await engine.post("/containers/create", body, name=name)
    try:
        query = {"stream": True, "stdin": True, "stdout": True, "stderr": True}
        async with await engine.hijack("POST", f"/containers/{name}/attach", None, **query) as stream:
            await engine.post(f"/containers/{name}/start")
            await stream.write(b"hello\n")
            await stream.write_eof()
            assert (await everything(stream))[STDOUT] == b"hello\n"
    finally:
        process.request("DELETE", f"/containers/{name}", force="true")


async def test_a_hijack_of_nothing_is_an_error_of_the_engine(engine: Engine) -> None:
    with pytest.raises(EngineError) as caught:
        await engine.hijack("POST", "/containers/no-such/attach", None, stream=True, stdout=True)
    assert caught.value.status == 404


async def test_events_tell_the_life_of_a_container(engine: Engine, image: str, process: EngineProcess) -> None:
    name = unique("life")
    seen: list[str] = []
    began = int(time.time())  # the create may be over before the engine listens to who asks

    async def follow() -> None:
        async for event in engine.messages("GET", "/events", since=began, filters={"type": ["container"]}):
            if event["Actor"]["Attributes"].get("name") == name:
                assert event["Actor"]["ID"]
                assert event["timeNano"] > 0
                seen.append(event["Action"])

    follower = asyncio.create_task(follow())
    container = await asyncio.to_thread(process.run, image, "sleep", "1000", name=name)
    await engine.post(f"/containers/{container}/kill")
    await engine.post(f"/containers/{container}/wait", timeout=20)
    await engine.delete(f"/containers/{container}", force=True)
    end = "remove" if process.kind == "podman" else "destroy"
    await eventually_async(lambda: end in seen)
    follower.cancel()
    wanted = ["create", "start", "die", end]
    assert [action for action in seen if action in wanted] == wanted


async def test_a_pull_tells_the_progress_of_its_layers(
    engine: Engine, registry: Registry, busybox_archive: TestImage
) -> None:
    image = busybox(layers=3, layer_size=200_000)
    reference = registry.push(image, f"gantry/{unique('pull')}:1")
    repository, _, tag = reference.rpartition(":")
    layers, states = set(), set()
    async for message in engine.messages("POST", "/images/create", fromImage=repository, tag=tag):
        raise_for_message(message)
        if message.get("progressDetail") is not None and message.get("id"):
            layers.add(message["id"])
            states.add(message["status"])
    assert len(layers) >= 5
    assert "Download complete" in states
    assert (await engine.get(f"/images/{reference}/json"))["Id"] == image.id
    await engine.delete(f"/images/{reference}")


async def test_a_pull_by_digest_gets_that_image(engine: Engine, registry: Registry) -> None:
    image = busybox(extra=b"by digest")
    name = registry.push(image, f"gantry/{unique('digest')}:1")
    reference = parse(f"{name}@{digest(image.manifest)}")
    query = {"fromImage": reference.repository_familiar, "tag": reference.digest}
    async for message in engine.messages("POST", "/images/create", **query):
        raise_for_message(message)
    found = await engine.get(f"/images/{segment(reference.lookup)}/json")
    assert found["Id"] == image.id
    assert reference.lookup in found["RepoDigests"]
    await engine.delete(f"/images/{image.id}", force=True)


async def test_a_pull_of_nothing_is_an_error_of_the_engine(engine: Engine, registry: Registry) -> None:
    async def pull() -> None:
        query = {"fromImage": registry.reference("gantry/none"), "tag": "1"}
        async for message in engine.messages("POST", "/images/create", **query):
            raise_for_message(message)

    with pytest.raises(EngineError, match="manifest unknown"):
        await pull()


async def test_cancelling_a_pull_stops_it_on_the_host(engine: Engine, registry: Registry) -> None:
    image = busybox(layers=4, layer_size=2_000_000)
    name = f"gantry/{unique('slow')}"
    registry.push(image, f"{name}:1")
    with SlowRegistry(registry, bytes_per_second=100_000) as slow:

        async def pull() -> None:
            query = {"fromImage": slow.reference(name), "tag": "1"}
            async for message in engine.messages("POST", "/images/create", **query):
                raise_for_message(message)

        pulling = asyncio.create_task(pull())
        await eventually_async(lambda: slow.bytes_sent > 200_000, what="the pull is on its way")
        pulling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pulling
        await eventually_async(lambda: slow.connections == 0, what="the engine lets the registry go")
        assert slow.bytes_sent < 6_000_000
    with pytest.raises(EngineError) as caught:
        await engine.get(f"/images/{slow.reference(name)}:1/json")
    assert caught.value.status == 404


async def test_closing_a_log_closes_its_reader_on_the_host(
    engine: Engine, process: EngineProcess, started: Started
) -> None:
    container = started("sh", "-c", "while :; do echo tick; usleep 10000; done")
    await eventually_async(lambda: open_connections(process) == 0)
    path = f"/containers/{container}/logs?stdout=true&follow=true"
    async with engine.stream("GET", path, timeout=None) as response:
        assert await response.content.read(8)
        assert open_connections(process) == 1
    await eventually_async(lambda: open_connections(process) == 0)


def open_connections(process: EngineProcess) -> int:
    """Connections the engine holds on its socket: lines of /proc/net/unix with its path, but the listener."""
    with open("/proc/net/unix") as table:
        return sum(line.rstrip().endswith(str(process.socket)) for line in table) - 1
