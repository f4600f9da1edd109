"""The mirror: true while the host answers, unknown when it does not, right again when it is back."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from containers.models import Container, ContainerState
from hosts.models import Host, HostState
from images.models import ImageTag
from tests.fakes.engine import LyingEngine, garbage, garbage_json, huge_label, silent, wrong_shape
from tests.hosts.watching import following, host_at
from tests.support.engines import Dockerd, EngineProcess, unique
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.root,
    pytest.mark.usefixtures("redis_server"),
]


@pytest.fixture(params=["docker_engine", pytest.param("podman_engine", marks=pytest.mark.podman)])
def engine(request: pytest.FixtureRequest) -> EngineProcess:
    found: EngineProcess = request.getfixturevalue(request.param)
    return found


def connected(host: Host) -> bool:
    return Host.objects.get(pk=host.pk).state == HostState.CONNECTED


def row(name: str) -> Container | None:
    return Container.objects.select_related("host").filter(name=name).first()


def test_it_follows_what_somebody_does_with_the_docker_cli(
    engine: EngineProcess, busybox_loaded: Callable[[EngineProcess], str]
) -> None:
    image, name = busybox_loaded(engine), unique()
    host = host_at(engine.socket, unique("host"))
    with following(host):
        eventually(lambda: connected(host), timeout=20)
        engine.run(image, "sleep", "1000", name=name)
        found = eventually(lambda: (r := row(name)) and r.state == ContainerState.RUNNING and r, what="it runs")
        assert isinstance(found, Container)
        eventually(lambda: (r := row(name)) and r.started_at, what="its times are known")
        assert (found.host_id, found.image_ref) == (host.pk, image)

        engine.cli("pause", name)
        eventually(lambda: (r := row(name)) and r.state == ContainerState.PAUSED, what="it is paused")
        engine.cli("unpause", name)
        engine.cli("stop", "-t", "0", name)
        stopped = eventually(lambda: (r := row(name)) and r.state == ContainerState.EXITED and r, what="it stopped")
        assert isinstance(stopped, Container)
        eventually(lambda: (r := row(name)) and r.exit_code == 137, what="its exit code is known")

        engine.cli("rename", name, f"{name}-new")
        eventually(lambda: row(f"{name}-new"), what="it has its new name")
        engine.cli("rm", f"{name}-new")
        eventually(lambda: not row(f"{name}-new"), what="it is gone")


def test_it_follows_images(engine: EngineProcess, busybox_loaded: Callable[[EngineProcess], str]) -> None:
    image, tag = busybox_loaded(engine), f"localhost/{unique()}:9"
    host = host_at(engine.socket, unique("host"))
    with following(host):
        eventually(lambda: connected(host), timeout=20)
        assert ImageTag.objects.filter(host=host, reference=image).exists()
        engine.cli("tag", image, tag)
        made = eventually(lambda: ImageTag.objects.filter(host=host, reference=tag).first(), what="the tag is there")
        assert made is not None
        assert (made.repository, made.tag) == (tag[:-2], "9")
        engine.cli("rmi", tag)
        eventually(lambda: not ImageTag.objects.filter(host=host, reference=tag).exists(), what="the tag is gone")


def test_what_happened_while_nobody_watched_is_found(
    docker_engine: EngineProcess, busybox_loaded: Callable[[EngineProcess], str]
) -> None:
    image, gone, born = busybox_loaded(docker_engine), unique(), unique()
    host = host_at(docker_engine.socket, unique("host"))
    docker_engine.run(image, "sleep", "1000", name=gone)
    with following(host):
        eventually(lambda: row(gone), timeout=20)
    docker_engine.cli("rm", "-f", gone)
    docker_engine.run(image, "sleep", "1000", name=born)
    with following(host):
        eventually(lambda: row(born) and not row(gone), timeout=20)
    docker_engine.cli("rm", "-f", born)


def test_a_host_that_dies_is_unknown_and_comes_back(busybox_archive: object) -> None:
    with Dockerd() as engine:
        host = host_at(engine.socket, unique("host"))
        with following(host):
            eventually(lambda: connected(host), timeout=20)
            engine.kill()
            lost = eventually(lambda: not connected(host) and Host.objects.get(pk=host.pk), timeout=20)
            assert isinstance(lost, Host)
            assert lost.state == HostState.UNREACHABLE
            assert lost.state_reason
            engine.start()
            eventually(lambda: connected(host), timeout=30)


@pytest.mark.parametrize("lie", [silent, garbage, garbage_json, wrong_shape], ids=lambda lie: lie.__name__)
def test_a_lying_host_is_unreachable_and_harms_no_other(lie: object, docker_engine: EngineProcess) -> None:
    with LyingEngine(lie) as liar:  # type: ignore[arg-type]
        bad, good = host_at(liar.socket, unique("liar")), host_at(docker_engine.socket, unique("host"))
        Host.objects.filter(pk=bad.pk).update(state=HostState.CONNECTED)
        with following(bad), following(good):
            eventually(lambda: connected(good), timeout=10)
            eventually(lambda: not connected(bad), timeout=25)
            assert Host.objects.get(pk=bad.pk).state_reason
            assert connected(good)


def test_a_two_gigabyte_label_is_not_read(docker_engine: EngineProcess) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with LyingEngine(huge_label, about="/containers/json", truth=docker_engine.socket) as liar:
        host = host_at(liar.socket, unique("liar"))
        Host.objects.filter(pk=host.pk).update(state=HostState.CONNECTED)
        with following(host):
            eventually(lambda: not connected(host), timeout=30)
    assert not Container.objects.filter(host=host).exists()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200 * 1024, f"grew by {grown} KiB"


def test_a_machine_without_an_engine_still_says_how_it_is() -> None:
    async def measured(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = json.dumps({"os": "Debian GNU/Linux 12", "cpus": 4, "load": [1.0, 0.5, 0.1]}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
        writer.write(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()

    with LyingEngine(measured) as agent:
        host = host_at(Path("/nowhere.sock"), unique("bare"))
        host.agent_socket.unlink(missing_ok=True)
        os.symlink(agent.socket, host.agent_socket)
        with following(host):
            eventually(lambda: Host.objects.get(pk=host.pk).metrics, timeout=10)
    host.refresh_from_db()
    assert (host.state, host.cpus, host.metrics["load"]) == (HostState.UNREACHABLE, 4, [1.0, 0.5, 0.1])
