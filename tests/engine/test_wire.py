"""A request whose fields have other types than the API gives them is refused; it is never the engine's failure."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import need
from tests.support.engines import EngineProcess, Native, unique
from tests.support.images import TestImage

pytestmark = pytest.mark.root

IMAGE = "gantry/wire:1"
ODD: tuple[Any, ...] = (1, -1, 1.5, 10**30, True, "x", "\0", "x" * 100_000, [], [1], [[]], {"a": 1}, {"": ""})
# fmt: off
CONFIG = (
    "Env", "Cmd", "Entrypoint", "Labels", "ExposedPorts", "Volumes", "Healthcheck", "StopSignal", "StopTimeout", "User",
    "WorkingDir", "Tty", "Hostname", "Shell", "HostConfig", "NetworkingConfig", "MacAddress", "OnBuild", "Image",
)
HOST = (
    "Binds", "Mounts", "PortBindings", "RestartPolicy", "Memory", "NanoCpus", "CapAdd", "Devices", "Ulimits", "Tmpfs",
    "Sysctls", "LogConfig", "NetworkMode", "Dns", "ExtraHosts", "SecurityOpt", "PidsLimit", "VolumesFrom", "Links",
    "BlkioWeightDevice", "BlkioDeviceReadBps", "GroupAdd", "StorageOpt", "MaskedPaths", "ReadonlyPaths", "IpcMode",
    "DeviceCgroupRules", "PidMode", "ShmSize", "CpusetCpus", "MemorySwappiness", "Init", "Annotations", "OomScoreAdj",
    "ConsoleSize", "CgroupParent", "Runtime",
)
UPDATE = ("Memory", "RestartPolicy", "CpuShares", "PidsLimit", "BlkioWeight", "CpusetCpus")
# fmt: on
OWN_FAULT = "the engine failed"


@pytest.fixture(scope="module")
def engine(busybox_archive: TestImage) -> Iterator[EngineProcess]:
    """An engine of this file's own, which has an image."""
    need(Native.why_not())
    with Native() as engine:
        engine.load(busybox_archive.archive(IMAGE))
        yield engine


def try_to_run(engine: EngineProcess, body: dict[str, Any]) -> None:
    """Create, start and remove; whatever the answers are, none may be the engine's own failure."""
    status, made = engine.request("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["true"], **body})
    assert OWN_FAULT not in str(made)
    if status != 201:
        assert 400 <= status < 500
        return
    path = f"/containers/{made['Id']}"
    for method, asked in (("POST", f"{path}/start"), ("GET", f"{path}/json"), ("GET", "/containers/json?all=true")):
        assert OWN_FAULT not in str(engine.request(method, asked)[1])
    assert engine.request("DELETE", path, force="true", v="true")[0] == 204


@pytest.mark.parametrize("field", CONFIG)
def test_a_field_of_any_type_is_no_failure(engine: EngineProcess, field: str) -> None:
    for odd in ODD:
        try_to_run(engine, {field: odd})


@pytest.mark.parametrize("field", HOST)
def test_a_field_of_the_host_config_of_any_type_is_no_failure(engine: EngineProcess, field: str) -> None:
    for odd in ODD:
        try_to_run(engine, {"HostConfig": {field: odd}})


@pytest.mark.parametrize("field", UPDATE)
def test_an_update_of_any_type_is_no_failure(engine: EngineProcess, field: str) -> None:
    container = engine.run(IMAGE, "sleep", "1000")
    for odd in ODD:
        assert OWN_FAULT not in str(engine.request("POST", f"/containers/{container}/update", {field: odd})[1])
    engine.request("DELETE", f"/containers/{container}", force="true")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"HostConfig": {"Binds": "a:/b"}}, "HostConfig.Binds must be a list"),
        ({"HostConfig": {"Ulimits": [{"Name": 1}]}}, "HostConfig.Ulimits[0].Name must be a string"),
        ({"Labels": {"a": 1}}, "Labels['a'] must be a string"),
        ({"HostConfig": {"CgroupParent": "x" * 20_000}}, "longer than"),
    ],
)
def test_the_answer_names_the_field(engine: EngineProcess, body: dict[str, Any], words: str) -> None:
    status, answer = engine.request("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["true"], **body})
    assert status == 400
    assert words in answer["message"]


NETWORK = ("Name", "Driver", "Scope", "ConfigFrom", "IPAM", "Internal", "EnableIPv4", "Options", "Labels", "ConfigOnly")


@pytest.mark.parametrize("field", NETWORK)
def test_a_network_of_any_type_is_no_failure(engine: EngineProcess, field: str) -> None:
    for odd in (*ODD, {"Network": 1}, {"Config": 1}, {"Config": [1]}, {"Config": [{"Subnet": 1}]}, {"Options": 1}):
        status, answer = engine.request("POST", "/networks/create", {"Name": unique("wire"), field: odd})
        assert OWN_FAULT not in str(answer)
        assert status == 201 or 400 <= status < 500 or status == 501, (odd, answer)
        if status == 201:
            engine.expect("DELETE", f"/networks/{answer['Id']}")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ([], "EndpointConfig must be an object"),
        ({"IPAMConfig": "10.0.0.1"}, "EndpointConfig.IPAMConfig must be an object"),
        ({"Aliases": [1]}, "EndpointConfig.Aliases[0] must be a string"),
        ({"DriverOpts": {"a": 1}}, "EndpointConfig.DriverOpts['a'] must be a string"),
    ],
)
def test_a_place_of_the_wrong_type_is_refused_by_its_name(engine: EngineProcess, settings: Any, words: str) -> None:
    body = {"Container": "any", "EndpointConfig": settings}
    status, answer = engine.request("POST", "/networks/bridge/connect", body)
    assert (status, words in answer["message"]) == (400, True), answer


@pytest.mark.parametrize("field", [*CONFIG[:-6], "OpenStdin", "ArgsEscaped"])
def test_a_commit_of_any_type_is_no_failure(engine: EngineProcess, field: str) -> None:
    container = engine.expect("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["true"]})["Id"]
    for odd in ODD:
        status, answer = engine.request("POST", "/commit", {field: odd}, container=container)
        assert OWN_FAULT not in str(answer)
        if status == 201:
            assert engine.request("GET", f"/images/{answer['Id']}/json")[0] == 200
            engine.expect("DELETE", f"/images/{answer['Id']}")
        else:
            assert status == 400
            assert field in answer["message"]
    engine.expect("DELETE", f"/containers/{container}")
