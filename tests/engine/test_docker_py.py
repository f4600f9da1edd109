"""docker-py, the other client people have, on the native engine's socket."""

import contextlib
import functools
import gc
import io
import tarfile
import threading
from collections.abc import Iterator
from typing import Any

import docker
import pytest
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound
from docker.types import Healthcheck, Mount

from tests.conftest import need
from tests.support.engines import Native, unique
from tests.support.images import TestImage
from tests.support.registry import Registry
from tests.support.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.registry]

IMAGE = "gantry/busybox:1"


@pytest.fixture(scope="module")
def client(busybox_archive: TestImage) -> Iterator[Any]:
    """A client of an engine of this file's own, which has an image."""
    need(Native.why_not())
    with Native() as engine:
        engine.load(busybox_archive.archive(IMAGE))
        client = docker.DockerClient(base_url=f"unix://{engine.socket}", timeout=30)
        yield client
        client.close()


@pytest.fixture
def sleeper(client: Any) -> Iterator[Any]:
    """A running container."""
    container = client.containers.run(IMAGE, ["sleep", "1000"], name=unique("py"), detach=True)
    yield container
    container.remove(force=True, v=True)


def test_it_is_alive_and_says_what_it_is(client: Any) -> None:
    assert client.ping()
    assert client.version()["ApiVersion"] == "1.47"
    assert client.info()["OSType"] == "linux"
    assert client.df()["Images"]


def test_run_answers_the_output_and_raises_with_the_errors(client: Any) -> None:
    assert client.containers.run(IMAGE, ["echo", "hello"], remove=True) == b"hello\n"
    with pytest.raises(ContainerError) as caught:
        client.containers.run(IMAGE, ["sh", "-c", "echo wrong >&2; exit 3"], remove=True)
    assert caught.value.exit_status == 3
    assert b"wrong" in caught.value.stderr
    with pytest.raises(ImageNotFound):
        client.images.get("gantry/none:1")


def test_a_container_with_everything(client: Any) -> None:
    name = unique("py")
    container = client.containers.run(
        IMAGE,
        ["sleep", "1000"],
        name=name,
        detach=True,
        environment={"A": "b"},
        labels={"mark": name},
        ports={"80/tcp": None},
        mem_limit="64m",
        nano_cpus=500_000_000,
        mounts=[Mount("/data", name, type="volume"), Mount("/scratch", None, type="tmpfs", tmpfs_size=1 << 20)],
        restart_policy={"Name": "on-failure", "MaximumRetryCount": 1},
        healthcheck=Healthcheck(test=["CMD", "true"], interval=200_000_000),
        cap_drop=["ALL"],
        read_only=True,
        hostname="web",
    )
    try:
        assert client.containers.list(filters={"label": f"mark={name}"})[0].id == container.id
        container.reload()
        assert container.status == "running"
        assert container.ports["80/tcp"][0]["HostPort"].isdigit()
        assert container.attrs["HostConfig"]["Memory"] == 64 << 20
        assert {mount["Destination"] for mount in container.attrs["Mounts"]} >= {"/data"}
        eventually(lambda: client.containers.get(name).health == "healthy")
    finally:
        container.remove(force=True, v=True)
        client.volumes.get(name).remove()


def test_its_life(client: Any, sleeper: Any) -> None:
    for step, status in (
        (sleeper.pause, "paused"),
        (sleeper.unpause, "running"),
        (lambda: sleeper.restart(timeout=0), "running"),
        (lambda: sleeper.stop(timeout=0), "exited"),
        (sleeper.start, "running"),
        (sleeper.kill, "exited"),
    ):
        step()
        eventually(functools.partial(has_status, client, sleeper, status))
    assert sleeper.wait()["StatusCode"] == 137
    sleeper.rename(f"{sleeper.name}-new")
    sleeper.update(mem_limit="64m", memswap_limit="64m")
    assert client.containers.get(sleeper.id).attrs["HostConfig"]["Memory"] == 64 << 20
    with pytest.raises(NotFound):
        client.containers.get("no-such")


def has_status(client: Any, container: Any, status: str) -> bool:
    return bool(client.containers.get(container.id).status == status)


def test_waiting_for_its_end(client: Any, sleeper: Any) -> None:
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(sleeper.wait(condition="next-exit")))
    waiting.start()

    def ended_and_told() -> bool:
        sleeper.restart(timeout=0)  # each is a next exit: the wait may have come after the one before
        return bool(found)

    eventually(ended_and_told, timeout=20)
    waiting.join(20)
    assert found[0]["StatusCode"] == 137


def test_exec_with_its_code_streams_and_socket(client: Any, sleeper: Any) -> None:
    assert sleeper.exec_run(["sh", "-c", "echo out; echo err >&2; exit 4"], demux=True) == (4, (b"out\n", b"err\n"))
    assert b"".join(sleeper.exec_run(["echo", "streamed"], stream=True).output) == b"streamed\n"
    assert sleeper.exec_run("id -u", user="1000").output == b"1000\n"
    made = client.api.exec_create(sleeper.id, ["cat"], stdin=True)
    stream = client.api.exec_start(made["Id"], socket=True)
    stream._sock.sendall(b"through\n")
    assert b"through" in stream.read(16)
    stream._sock.close()
    stream.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # docker-py leaves a log's socket open
def test_logs_attach_top_stats_and_diff(client: Any) -> None:
    script = "echo out; echo err >&2; touch /made; sleep 1000"
    container = client.containers.run(IMAGE, ["sh", "-c", script], name=unique("py"), detach=True)
    try:
        eventually(lambda: container.logs() in (b"out\nerr\n", b"err\nout\n"))
        assert container.logs(stderr=False) == b"out\n"
        assert container.logs(stdout=False, tail=2) == b"err\n"
        assert container.top()["Titles"]
        assert container.stats(stream=False)["memory_stats"]
        assert {"Path": "/made", "Kind": 1} in container.diff()
        follow = container.logs(stream=True, follow=True)
        assert {next(follow), next(follow)} == {b"out\n", b"err\n"}
        container.kill()
        assert b"".join(follow) == b""
        del follow
        gc.collect()
    finally:
        container.remove(force=True)


def test_files_in_and_out(sleeper: Any) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("file")
        entry.size = 6
        tar.addfile(entry, io.BytesIO(b"copied"))
    assert sleeper.put_archive("/tmp", buffer.getvalue())
    assert sleeper.exec_run(["cat", "/tmp/file"]).output == b"copied"
    pieces, state = sleeper.get_archive("/tmp/file")
    assert state["size"] == 6
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        assert tar.getnames() == ["file"]
    with pytest.raises(NotFound):
        sleeper.get_archive("/no-such")


def test_images_committed_tagged_saved_loaded_and_removed(client: Any, sleeper: Any) -> None:
    name = f"gantry/{unique('py')}"
    image = sleeper.commit(repository=name, tag="1", changes="ENV A=b")
    assert "A=b" in image.attrs["Config"]["Env"]
    assert image.tag(name, "2")
    saved = b"".join(client.images.get(f"{name}:2").save(named=f"{name}:2"))
    client.images.remove(f"{name}:1")
    client.images.remove(f"{name}:2")
    assert client.images.load(saved)[0].tags == [f"{name}:2"]
    assert client.images.get(f"{name}:2").history()
    client.images.remove(f"{name}:2")
    assert client.images.list(name=name) == []


def test_push_and_pull(client: Any, registry: Registry) -> None:
    name = registry.reference(f"gantry/{unique('py')}")
    client.images.get(IMAGE).tag(name, "1")
    assert "digest" in client.images.push(name, "1")
    client.images.remove(f"{name}:1")
    pulled = client.images.pull(name, "1")
    assert f"{name}:1" in pulled.tags
    assert client.images.get_registry_data(f"{name}:1").has_platform("linux")
    client.images.remove(f"{name}:1")
    with pytest.raises(APIError):
        client.images.pull(registry.reference("gantry/none"), "1")


def test_networks_and_volumes(client: Any, sleeper: Any) -> None:
    network = client.networks.create(unique("py"), labels={"a": "b"})
    try:
        network.connect(sleeper, aliases=["web"])
        network.reload()
        assert sleeper.id in network.attrs["Containers"]

        def answers() -> bool:
            ping = ["ping", "-c", "1", "-W", "5", "web"]
            with contextlib.suppress(ContainerError):  # names are read anew whenever one comes
                return b"1 packets received" in client.containers.run(IMAGE, ping, remove=True, network=network.name)
            return False

        eventually(answers, timeout=20)
        with pytest.raises(APIError):
            network.remove()
        network.disconnect(sleeper)
    finally:
        network.remove()
    volume = client.volumes.create(unique("py"), labels={"a": "b"})
    assert volume in client.volumes.list(filters={"label": "a=b"})
    volume.remove()
    assert client.volumes.prune()["SpaceReclaimed"] >= 0
    assert "NetworksDeleted" in client.networks.prune()


def test_events_are_followed(client: Any) -> None:
    name = unique("py")
    events = client.events(decode=True, filters={"container": name})
    client.containers.run(IMAGE, ["true"], name=name, remove=True)
    seen = []
    for event in events:
        seen.append(event["Action"])
        if event["Action"] == "destroy":
            break
    events.close()
    assert [action for action in seen if action in ("create", "start", "die", "destroy")] == [
        "create",
        "start",
        "die",
        "destroy",
    ]


@pytest.mark.parametrize("asked", ["swarm", "services", "nodes", "plugins"])
def test_what_it_has_not_is_an_api_error(client: Any, asked: str) -> None:
    with pytest.raises(APIError) as caught:
        client.swarm.reload() if asked == "swarm" else getattr(client, asked).list()
    assert caught.value.status_code == 501
