"""Terminals that the agent holds: found shell, resize, replay, take-over, and how each ends."""

import asyncio
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self

import aiohttp
import pytest
from gantry_agent.shells import Started
from gantry_agent.terminal import Terminal

from tests.support.engines import Dockerd, EngineProcess, unique
from tests.support.images import busybox
from tests.support.tunnel import AgentHost, Tunnel
from tests.support.waiting import eventually, eventually_async

pytestmark = [pytest.mark.root, pytest.mark.docker]


@pytest.fixture(scope="module")
def tunnel() -> Iterator[Tunnel]:
    with Tunnel() as tunnel:
        yield tunnel


@pytest.fixture(scope="module", params=["docker", pytest.param("podman", marks=pytest.mark.podman)])
def engine(request: pytest.FixtureRequest) -> EngineProcess:
    found: EngineProcess = request.getfixturevalue(f"{request.param}_engine")
    return found


@pytest.fixture(scope="module")
def host(tunnel: Tunnel, engine: EngineProcess) -> Iterator[AgentHost]:
    host = tunnel.enrol(engine.socket, "1" if engine.kind == "docker" else "2")
    host.start()
    yield host
    host.kill()


@pytest.fixture
def container(engine: EngineProcess, busybox_loaded: Callable[[EngineProcess], str]) -> Iterator[str]:
    image, name = busybox_loaded(engine), unique()
    engine.run(image, "sleep", "600", name=name)
    yield name
    engine.request("DELETE", f"/containers/{name}", force="true")


@pytest.fixture
async def api(host: AgentHost) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(path=str(host.agent))
    async with aiohttp.ClientSession("http://agent", connector=connector) as session:
        yield session


class Screen:
    """An attacher: what came is in `seen`, control messages in `said`."""

    def __init__(self, api: aiohttp.ClientSession, ident: str) -> None:
        self.api, self.ident = api, ident
        self.seen = b""
        self.said: list[dict[str, Any]] = []
        self.code: int | None = None

    async def attach(self, offset: int = 0) -> Self:
        self.ws = await self.api.ws_connect(f"/gantry/terminals/{self.ident}/attach?from={offset}")
        self.task = asyncio.create_task(self._read())
        await eventually_async(lambda: self.said)
        return self

    async def _read(self) -> None:
        async for message in self.ws:
            if message.type is aiohttp.WSMsgType.BINARY:
                self.seen += message.data
            else:
                self.said.append(json.loads(message.data))
        self.code = self.ws.close_code

    async def type(self, keys: bytes) -> None:
        await self.ws.send_bytes(keys)

    async def expect(self, text: bytes) -> None:
        await eventually_async(lambda: text in self.seen, what=f"{text!r}")
        self.seen = self.seen[self.seen.index(text) + len(text) :]

    async def ended(self) -> dict[str, Any]:
        await eventually_async(lambda: self.said[-1]["type"] == "exit", what="exit")
        return self.said[-1]

    async def leave(self) -> None:
        await self.ws.close()
        await self.task


async def open_terminal(api: aiohttp.ClientSession, container: str, **order: Any) -> str:
    ident = str(uuid.uuid4())
    order = {"id": ident, "container": container, "command": None, **order}
    async with api.post("/gantry/terminals", json=order) as answer:
        assert answer.status == 201, await answer.text()
    return ident


async def refused(api: aiohttp.ClientSession, container: str, /, **order: Any) -> tuple[int, str]:
    order = {"id": str(uuid.uuid4()), "container": container, "command": None, **order}
    async with api.post("/gantry/terminals", json=order) as answer:
        return answer.status, (await answer.json())["message"]


async def test_it_finds_a_shell_and_resizes_it(api: aiohttp.ClientSession, container: str) -> None:
    screen = await Screen(api, await open_terminal(api, container, columns=91, rows=33)).attach()
    await screen.type(b"stty size; echo $TERM\r")
    await screen.expect(b"33 91")
    await screen.expect(b"xterm-256color")
    await screen.ws.send_json({"type": "resize", "columns": 70, "rows": 20})
    await screen.type(b"sleep 0.2; stty size\r")
    await screen.expect(b"20 70")
    await screen.leave()


async def test_ctrl_p_reaches_the_shell_at_once(api: aiohttp.ClientSession, container: str) -> None:
    """The engine's default detach keys would hold it back."""
    screen = await Screen(api, await open_terminal(api, container)).attach()
    await screen.type(b"echo fi''rst\r")
    await screen.expect(b"first")
    await screen.expect(b"# ")
    await screen.type(b"\x10")
    await screen.expect(b"echo fi''rst")
    await screen.leave()


async def test_a_returning_browser_finds_the_same_shell_and_its_screen(
    api: aiohttp.ClientSession, container: str
) -> None:
    ident = await open_terminal(api, container)
    first = await Screen(api, ident).attach()
    await first.type(b"word=kept; echo on-screen-$word\r")
    await first.expect(b"on-screen-kept")
    await first.leave()
    second = await Screen(api, ident).attach()
    assert second.said[0]["from"] == 0
    await second.expect(b"on-screen-kept")
    await second.type(b"echo still-$word\r")
    await second.expect(b"still-kept")
    await second.leave()


async def test_a_replay_begins_where_it_is_asked_to(api: aiohttp.ClientSession, container: str) -> None:
    ident = await open_terminal(api, container)
    first = await Screen(api, ident).attach()
    await first.type(b"echo o''ne\r")
    await first.expect(b"one\r\n")
    await first.expect(b"# ")
    await first.leave()
    async with api.get("/gantry/terminals") as answer:
        (held,) = [found for found in await answer.json() if found["id"] == ident]
    second = await Screen(api, ident).attach(held["end"])
    assert second.said[0]["from"] == held["end"]
    await second.type(b"echo t''wo\r")
    await second.expect(b"two")
    assert b"one" not in second.seen
    await second.leave()


async def test_a_second_browser_takes_over(api: aiohttp.ClientSession, container: str) -> None:
    ident = await open_terminal(api, container)
    first = await Screen(api, ident).attach()
    second = await Screen(api, ident).attach()
    await eventually_async(lambda: first.code == 4409)
    await second.type(b"echo mi''ne\r")
    await second.expect(b"mine")
    await second.leave()


class HeldUp:
    """The agent's side of an attacher's WebSocket: lets through what it is allowed to, and hears of no close."""

    def __init__(self, allowed: int) -> None:
        self.allowed = asyncio.Semaphore(allowed)
        self.sent: list[str | bytes] = []

    async def send(self, what: str | bytes) -> None:
        self.sent.append(what)
        await self.allowed.acquire()

    send_str = send_bytes = send

    async def close(self, **_: Any) -> None: ...

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        await asyncio.Event().wait()


async def test_a_browser_that_was_held_up_takes_nothing_from_its_successor() -> None:
    unused: Any = None
    terminal = Terminal("t", {"Id": "c"}, Started("e", 0, ["sh"], unused, unused, b"the screen"), unused)
    old, new = HeldUp(1), HeldUp(0)
    async with asyncio.TaskGroup() as group:
        attached = [group.create_task(terminal.attach(old, 0))]  # type: ignore[arg-type]
        await eventually_async(lambda: len(old.sent) == 2, what="it is held up in its screen")
        attached.append(group.create_task(terminal.attach(new, 0)))  # type: ignore[arg-type]
        await eventually_async(lambda: len(new.sent) == 1, what="the successor is told of its replay")
        old.allowed.release()
        await asyncio.sleep(0.01)  # it looks for more
        new.allowed.release()
        await asyncio.sleep(0.01)
        for task in attached:
            task.cancel()
    assert (old.sent[1:], new.sent[1:]) == ([b"the screen"], [b"the screen"])


async def test_the_shell_outlives_the_tunnel(
    tunnel: Tunnel, host: AgentHost, api: aiohttp.ClientSession, container: str
) -> None:
    """Every connection of the host cut at once, as when the gateway dies."""
    ident = await open_terminal(api, container)
    screen = await Screen(api, ident).attach()
    await screen.type(b"word=alive; echo rea''dy\r")
    await screen.expect(b"ready")
    link = tunnel.gateway.links[host.id]
    tunnel.loop.call_soon_threadsafe(lambda: tunnel.gateway._gone(link, "a test"))
    tunnel.loop.call_soon_threadsafe(link.cut_control)
    await eventually_async(lambda: screen.ws.closed)
    await screen.task
    await eventually_async(
        lambda: host.engine.exists() and host.agent.exists() and tunnel.gateway.links.get(host.id, link) is not link,
        timeout=20,
    )
    again = await Screen(api, ident).attach()
    await again.type(b"echo $word-$word\r")
    await again.expect(b"alive-alive")
    await again.leave()


async def test_an_exit_tells_its_code(api: aiohttp.ClientSession, container: str) -> None:
    screen = await Screen(api, await open_terminal(api, container)).attach()
    await screen.type(b"exit 5\r")
    assert await screen.ended() == {"type": "exit", "code": 5, "reason": "exited"}


async def test_a_stopped_container_is_told_from_an_exit(
    api: aiohttp.ClientSession, engine: EngineProcess, container: str
) -> None:
    screen = await Screen(api, await open_terminal(api, container)).attach()
    await screen.expect(b"# ")
    await asyncio.to_thread(engine.request, "POST", f"/containers/{container}/kill")
    assert (await screen.ended())["reason"] == "container stopped"


async def test_a_restarted_container_counts_as_stopped(
    api: aiohttp.ClientSession, engine: EngineProcess, container: str
) -> None:
    screen = await Screen(api, await open_terminal(api, container)).attach()
    await screen.expect(b"# ")
    await asyncio.to_thread(engine.request, "POST", f"/containers/{container}/restart", t=0)
    assert (await screen.ended())["reason"] == "container stopped"


async def test_a_command_that_ends_at_once_still_shows_its_output(api: aiohttp.ClientSession, container: str) -> None:
    ident = await open_terminal(api, container, command=["sh", "-c", "echo gone; exit 3"])
    screen = await Screen(api, ident).attach()
    assert (await screen.ended())["code"] == 3
    assert b"gone" in screen.seen


async def test_a_slow_reader_slows_its_own_terminal_and_misses_nothing(
    api: aiohttp.ClientSession, container: str
) -> None:
    ident = await open_terminal(api, container, command=["sh", "-c", "seq 1 200000; echo all-out; sleep 60"])
    screen = await Screen(api, ident).attach()
    await screen.expect(b"all-out")
    await screen.leave()
    async with api.get("/gantry/terminals") as answer:
        (held,) = [found for found in await answer.json() if found["id"] == ident]
    assert held["end"] > 1_300_000
    assert held["end"] - held["start"] <= 600_000


async def test_a_command_or_user_that_is_missing_is_said(api: aiohttp.ClientSession, container: str) -> None:
    status, message = await refused(api, container, command=["no-such-command"])
    assert (status, "no-such-command" in message) == (400, True)
    status, message = await refused(api, container, user="nobody-here")
    assert status >= 400
    assert "nobody-here" in message


async def test_a_container_that_is_not_there_or_not_running_is_said(
    api: aiohttp.ClientSession, engine: EngineProcess, container: str
) -> None:
    assert (await refused(api, "no-such-container"))[0] == 404
    await asyncio.to_thread(engine.request, "POST", f"/containers/{container}/kill")
    await eventually_async(lambda: not engine.request("GET", f"/containers/{container}/json")[1]["State"]["Running"])
    status, message = await refused(api, container)
    assert (status, "not running" in message) == (409, True)


@pytest.mark.parametrize(
    "order",
    [{"id": "../x"}, {"command": "sh"}, {"columns": 0}, {"rows": 10**6}, {"container": ""}, {"env": [1]}],
)
async def test_a_wrong_order_is_refused(api: aiohttp.ClientSession, container: str, order: dict[str, Any]) -> None:
    assert (await refused(api, container, **order))[0] == 400


async def test_deleting_ends_the_shell(api: aiohttp.ClientSession, engine: EngineProcess, container: str) -> None:
    ident = await open_terminal(api, container, env=["MARKED=yes"])
    screen = await Screen(api, ident).attach()
    await screen.expect(b"# ")
    assert shells(engine, container) == 1
    async with api.delete(f"/gantry/terminals/{ident}") as answer:
        assert answer.status == 204
    assert (await screen.ended())["reason"] == "exited"
    await eventually_async(lambda: shells(engine, container) == 0, what="the shell is gone")
    async with api.get(f"/gantry/terminals/{ident}/attach") as answer:
        assert answer.status == 404


def shells(engine: EngineProcess, container: str) -> int:
    """Processes in the container beside its first."""
    found = engine.expect("GET", f"/containers/{container}/top")
    return len(found["Processes"]) - 1


async def test_a_container_without_a_shell_is_said(api: aiohttp.ClientSession, engine: EngineProcess) -> None:
    """An image that holds one program, which is no shell."""
    image, name = f"gantry/{unique()}:1", unique()
    engine.load(shell_less().archive(image))
    engine.run(image, "600", name=name)
    status, message = await refused(api, name)
    assert (status, "no shell" in message) == (400, True)
    engine.request("DELETE", f"/containers/{name}", force="true")


def shell_less() -> Any:
    """Busybox under the name of its `sleep` alone: it has no other applet by name, and no sh."""
    import io
    import shutil
    import tarfile

    from tests.support.images import TestImage

    program = shutil.which("busybox")
    assert program
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        archive.add(program, "sleep")
    return TestImage((layer.getvalue(),), {"Entrypoint": ["/sleep"], "Env": ["PATH=/"]})


async def test_an_engine_that_dies_is_told_from_an_exit(tunnel: Tunnel) -> None:
    with Dockerd() as engine:
        image = "gantry/busybox:1"
        engine.load(busybox().archive(image))
        engine.run(image, "sleep", "600", name="one")
        host = tunnel.enrol(engine.socket, "9")
        host.start()
        connector = aiohttp.UnixConnector(path=str(host.agent))
        async with aiohttp.ClientSession("http://agent", connector=connector) as api:
            screen = await Screen(api, await open_terminal(api, "one")).attach()
            await screen.expect(b"# ")
            await asyncio.to_thread(engine.kill)
            assert await screen.ended() == {"type": "exit", "code": None, "reason": "engine lost"}
        host.kill()


def test_the_agents_death_is_survived_by_the_container(host: AgentHost, engine: EngineProcess, container: str) -> None:
    assert host.process
    os.kill(host.process.pid, signal.SIGKILL)
    host.process.wait()
    host.start()
    eventually(lambda: engine.request("GET", f"/containers/{container}/json")[1]["State"]["Running"])
