"""The native engine beside Docker Engine, doing the same: every field of an answer, every event in its order."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.engines import EngineProcess, unique
from tests.support.unixhttp import UnixConnection
from tests.support.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.docker, pytest.mark.registry]

GONE = {
    "inspect": {
        # Docker 23 took kernel memory limits away; our Docker Engine under test is given default ulimits.
        ".HostConfig.KernelMemory",
        ".HostConfig.KernelMemoryTCP",
        ".HostConfig.Ulimits[].Name",
        ".HostConfig.Ulimits[].Hard",
        ".HostConfig.Ulimits[].Soft",
    },
    "image": {".Container", ".VirtualSize"},  # gone since API 1.45 and 1.44
    "images": {"[].VirtualSize"},
    "df": {".Images[].VirtualSize"},
    "info": {".KernelMemory"},
}
"""What Docker Engine 20.10 says that API 1.47 does not."""
ASKED = {
    "inspect": "/containers/{name}/json?size=1",
    "list": "/containers/json?size=1",
    "top": "/containers/{name}/top",
    "stats": "/containers/{name}/stats?stream=false",
    "image": "/images/{image}/json",
    "images": "/images/json",
    "history": "/images/{image}/history",
    "network": "/networks/{name}",
    "networks": "/networks",
    "volume": "/volumes/{name}",
    "volumes": "/volumes",
    "df": "/system/df",
    "info": "/info",
    "version": "/version",
}
TWICE = {("volume", "create"), ("container", "pause"), ("container", "unpause")}
Life = tuple[dict[str, Any], list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def lives(
    docker_engine: EngineProcess, native_engine: EngineProcess, busybox_loaded: Callable[[EngineProcess], str]
) -> dict[str, Life]:
    """By kind of engine: its answers about a container, and the events of the container's life."""
    return {engine.kind: live(engine, busybox_loaded(engine)) for engine in (docker_engine, native_engine)}


def live(engine: EngineProcess, image: str) -> Life:
    """Make a network, a volume and a container with everything; ask; let it live and go."""
    name, begun = unique("like"), time.time()
    engine.expect("POST", "/networks/create", {"Name": name})
    engine.expect("POST", "/volumes/create", {"Name": name})
    engine.run(
        image,
        "sleep",
        "1000",
        name=name,
        ExposedPorts={"80/tcp": {}},
        Healthcheck={"Test": ["CMD", "true"], "Interval": 1_000_000_000},
        HostConfig={
            "PortBindings": {"80/tcp": [{"HostPort": ""}]},
            "Binds": [f"{name}:/data"],
            "NetworkMode": name,
            "Memory": 64 << 20,
        },
    )
    eventually(lambda: engine.expect("GET", f"/containers/{name}/json")["State"]["Health"]["Status"] == "healthy")
    answers = {
        what: of_ours(engine.expect("GET", path.format(name=name, image=image)), (name, image))
        for what, path in ASKED.items()
    }
    for method, path, query in (
        ("POST", f"/containers/{name}/pause", {}),
        ("POST", f"/containers/{name}/unpause", {}),
        ("POST", f"/containers/{name}/rename", {"name": f"{name}-new"}),
        ("POST", f"/containers/{name}-new/restart", {"t": 0}),
        ("POST", f"/containers/{name}-new/stop", {"t": 0}),
        ("DELETE", f"/containers/{name}-new", {"v": 1}),
        ("DELETE", f"/networks/{name}", {}),
        ("DELETE", f"/volumes/{name}", {}),
    ):
        engine.expect(method, path, None, **query)
    return answers, [seen(event) for event in told(engine, name, begun)]


def told(engine: EngineProcess, name: str, begun: float) -> list[dict[str, Any]]:
    """The events of the life of `name`, to its volume's end. The stream is not asked to end by a moment: the machine's
    clock may be set while we look.
    """
    connection, events = UnixConnection(engine.socket, 20), []
    connection.request("GET", f"/events?since={begun - 600:.6f}")
    with contextlib.closing(connection), connection.getresponse() as response:
        while not events or (events[-1]["Type"], events[-1]["Action"]) != ("volume", "destroy"):
            line = response.readline()
            assert line, f"the stream ended after {events}"
            events += [json.loads(line)] if name.encode() in line else []
    return events


def of_ours(found: Any, words: tuple[str, ...]) -> Any:
    """An answer without what other tests have left on the engine: of a list that has any, the items that tell of what
    was made here. Which field an item has depends on what it is of: labels, tags, a parent.
    """
    if isinstance(found, dict):
        return {key: of_ours(value, words) if isinstance(value, list) else value for key, value in found.items()}
    if not isinstance(found, list):
        return found
    chosen = ([item for item in found if word in json.dumps(item)] for word in words)
    return next(filter(None, chosen), found)


def seen(event: dict[str, Any]) -> tuple[Any, ...]:
    """What of an event must be alike: its kind, its action, the names of its attributes (`execDuration` is newer)."""
    action = event["Action"].partition(":")[0]
    return event["Type"], action, *sorted(set(event["Actor"]["Attributes"]) - {"execDuration", "execID"})


def fields(found: Any, at: str = "") -> Iterator[str]:
    """The paths of all fields; keys that are names or ids are one."""
    if isinstance(found, dict):
        for key, value in found.items():
            where = f"{at}.*" if is_a_name(key, at) else f"{at}.{key}"
            yield where
            yield from fields(value, where)
    elif isinstance(found, list):
        for value in found[:1]:
            yield from fields(value, f"{at}[]")


def is_a_name(key: str, at: str) -> bool:
    return at.endswith((".Networks", ".Containers", ".Runtimes", ".Options", ".Details", ".IndexConfigs"))


@pytest.mark.parametrize("what", ASKED)
def test_an_answer_has_every_field_of_dockers(lives: dict[str, Life], what: str) -> None:
    missing = set(fields(lives["docker"][0][what])) - set(fields(lives["native"][0][what]))
    gone = tuple(GONE.get(what, ()))
    assert not {field for field in missing if not field.startswith(gone)}


def test_a_life_is_told_as_docker_tells_it(lives: dict[str, Life]) -> None:
    # Health checks come when they come. Docker 20.10 tells of some things twice: of a volume's making when it is first
    # used, and of a pause and its end when containerd's own word of them comes late.
    native, docker = ([event for event in lives[kind][1] if not unsure(event)] for kind in ("native", "docker"))
    assert native == [event for n, event in enumerate(docker) if event[:2] not in TWICE or event not in docker[:n]]


def unsure(event: tuple[Any, ...]) -> bool:
    return str(event[1]).startswith(("exec", "health"))
