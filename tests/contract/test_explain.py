"""The engines' real words, provoked on each, become plain ones with a next step."""

import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from hosts.engine import Engine, EngineError, explain, raise_for_message
from hosts.engine.errors import plain
from hosts.engine.explain import explain_exit
from tests.conftest import need
from tests.fakes.registry import RefusingRegistry
from tests.support.engines import Dockerd, EngineProcess, Native, Podman, unique
from tests.support.images import busybox
from tests.support.registry import Registry
from tests.support.waiting import free_port

NOTHING = ""


@dataclass(frozen=True)
class Trouble:
    """A create request that fails by itself or when started, and what is said about it (per engine if need be)."""

    what: str
    body: dict[str, Any]
    said: str | dict[str, str]
    name: str = ""


def ports(host: str, container: str = "80/tcp", address: str = "") -> dict[str, Any]:
    binding = {container: [{"HostPort": host, "HostIp": address}]}
    return {"ExposedPorts": {container: {}}, "HostConfig": {"PortBindings": binding}}


def host(**config: Any) -> dict[str, Any]:
    return {"HostConfig": config}


CREATE = [
    Trouble(
        "unknown image",
        {"Image": "gantry/none:1"},
        {
            "docker": "The host has no image “gantry/none:1”.",
            "podman": "The host has no image “docker.io/gantry/none:1”.",
        },
    ),
    Trouble("bad reference", {"Image": "Gantry/UPPER:1"}, "The image’s name contains capital letters."),
    Trouble(
        "bad name",
        {},
        {"docker": "“a b” is no name for a container.", "podman": "This is no name for a container."},
        name="a b",
    ),
    Trouble("no port", ports("abc"), "“abc” is no port."),
    Trouble("port range upside down", ports("90-80"), "“90-80” is no port."),
    Trouble(
        "port too high",
        ports("99999"),
        # Podman 4.3 takes the number modulo 65536.
        {"docker": "“99999” is no port.", "podman": NOTHING},
    ),
    Trouble(
        "no port in the container",
        ports("0", "x/tcp"),
        "“x” is no port.",
    ),
    Trouble(
        "negative memory limit",
        host(Memory=-5),
        {"docker": "The memory limit is too small: the engine asks for 6 MB at least.", "podman": NOTHING},
    ),
    Trouble(
        "memory limit too small",
        host(Memory=1000),
        {
            "docker": "The memory limit is too small: the engine asks for 6 MB at least.",
            "podman": "The memory limit is too small for the container’s process to start.",
        },
    ),
    Trouble(
        "negative CPU limit",
        host(NanoCpus=-1),
        {"docker": "The CPU limit is out of range: this host allows 0.01 to ", "podman": NOTHING},
    ),
    Trouble("unknown restart policy", host(RestartPolicy={"Name": "sometimes"}), "“sometimes” is no restart policy."),
    Trouble(
        "negative restarts",
        host(RestartPolicy={"Name": "on-failure", "MaximumRetryCount": -1}),
        "The number of restarts cannot be negative.",
    ),
    Trouble("relative path", host(Binds=["data:rel"]), "“rel” is no path in a container."),
    Trouble("bad volume name", host(Binds=["a b:/x"]), "“a b” is no name for a volume."),
    Trouble("bad variable", {"Env": ["=x"]}, "“=x” is no environment variable."),
    Trouble("unknown network", host(NetworkMode="no-net"), "The host has no network “no-net”."),
    Trouble("command not found", {"Cmd": ["no-such"]}, "The command “no-such” was not found in the container."),
    Trouble("path not found", {"Cmd": ["/no/such"]}, "The command “/no/such” was not found in the container."),
    Trouble("not a program", {"Cmd": ["/etc/passwd"]}, "“/etc/passwd” may not be executed in the container."),
    Trouble("unknown user", {"User": "nosuch"}, "The image has no user “nosuch”."),
    Trouble(
        "working directory is a file",
        {"WorkingDir": "/etc/passwd"},
        "The working directory “/etc/passwd” is a file in the image.",
    ),
]


@pytest.fixture
def make(process: EngineProcess, image: str) -> Iterator[Callable[..., str]]:
    """Creates containers that are removed at the end; answers their names."""
    made: list[str] = []

    def create(*steps: str, name: str = "", **body: Any) -> str:
        name = name or unique("trouble")
        made.append(name)
        process.expect("POST", "/containers/create", {"Image": image, "Cmd": ["sleep", "1000"], **body}, name=name)
        for step in steps:
            process.expect("POST", f"/containers/{name}/{step}")
        return name

    yield create
    for name in made:
        process.request("DELETE", f"/containers/{name}", force="true", v="true")


@pytest.mark.parametrize("trouble", CREATE, ids=[trouble.what.replace(" ", "-") for trouble in CREATE])
async def test_a_container_that_cannot_be(trouble: Trouble, process: EngineProcess, engine: Engine, image: str) -> None:
    said = trouble.said if isinstance(trouble.said, str) else trouble.said.get(process.kind, trouble.said["docker"])
    name = trouble.name or unique("trouble")
    body = {"Image": image, "Cmd": ["sleep", "1000"], **trouble.body}
    try:
        error = await failure(engine, "/containers/create", body, name=name)
        error = error or await failure(engine, f"/containers/{name}/start")
    finally:
        process.request("DELETE", f"/containers/{quote(name)}", force="true", v="true")
    if said == NOTHING:
        assert error is None
        return
    check(error, said)


async def failure(engine: Engine, path: str, body: Any = None, **query: Any) -> EngineError | None:
    """The error of a POST, or None when it went well."""
    try:
        await engine.post(path, body, **query)
    except EngineError as error:
        return error
    return None


def check(error: EngineError | str | None, said: str) -> None:
    """The explanation begins with ``said`` and has a next step."""
    assert error is not None, "nothing went wrong"
    message, hint = explain(error)
    assert message.startswith(said), f"{message!r} for {error!s}"
    assert hint


async def test_a_name_in_use(engine: Engine, image: str, make: Callable[..., str]) -> None:
    first, second = make(), make()
    said = f"The name “{first}” is already in use on this host."
    check(await failure(engine, "/containers/create", {"Image": image}, name=first), said)
    check(await failure(engine, f"/containers/{second}/rename", name=first), said)


async def test_a_folder_that_is_not_there(engine: Engine, process: EngineProcess, image: str) -> None:
    source = process.folder / unique("none")
    mount = {"Type": "bind", "Source": str(source), "Target": "/x"}
    name = unique("mount")
    error = await failure(engine, "/containers/create", {"Image": image, **host(Mounts=[mount])}, name=name)
    if process.kind == "podman":
        # Its compat API makes the folder, as Docker does for Binds.
        assert source.is_dir()
        await engine.delete(f"/containers/{name}")
    else:
        check(error, f"The host has no “{source}” to mount.")


async def test_a_port_in_use(engine: Engine, process: EngineProcess, make: Callable[..., str]) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        name = make(**ports(str(port)))
        check(await failure(engine, f"/containers/{name}/start"), f"Port {port} is already in use on the host.")
    port = free_port()
    make("start", **ports(str(port)))
    name = make(**ports(str(port)))
    said = f"Port {port} is already {'in use' if process.kind == 'podman' else 'taken by another'}"
    check(await failure(engine, f"/containers/{name}/start"), said)


async def test_a_state_that_does_not_allow_it(engine: Engine, process: EngineProcess, make: Callable[..., str]) -> None:
    created, running, paused = make(), make("start"), make("start", "pause")
    not_running = "The container is not running."
    check(await failure(engine, f"/containers/{created}/pause"), not_running)
    check(await failure(engine, f"/containers/{created}/kill"), not_running)
    check(await failure(engine, f"/containers/{created}/exec", {"Cmd": ["ls"]}), not_running)
    check(await failure(engine, f"/containers/{running}/unpause"), "The container is not paused.")
    check(await failure(engine, f"/containers/{paused}/pause"), "The container is already paused.")
    check(await failure(engine, f"/containers/{paused}/exec", {"Cmd": ["ls"]}), "The container is paused.")
    check(await failure(engine, f"/containers/{running}/kill", signal="NOPE"), "“NOPE” is no signal.")
    with pytest.raises(EngineError) as caught:
        await engine.delete(f"/containers/{running}")
    check(caught.value, "The container is running.")


async def test_what_is_not_there(engine: Engine) -> None:
    check(await failure(engine, "/containers/gone/start"), "There is no container “gone” on this host.")
    check(await failure(engine, "/exec/gone/start", {"Detach": False}), "This terminal has ended.")
    for path, said in (
        ("/images/gantry/gone:1/json", "The host has no image “gantry/gone:1”."),
        ("/volumes/gone", "There is no volume “gone”."),
    ):
        with pytest.raises(EngineError) as caught:
            await engine.get(path)
        check(caught.value, said)


async def test_an_image_in_use(engine: Engine, image: str, make: Callable[..., str]) -> None:
    make("start")
    with pytest.raises(EngineError) as caught:
        await engine.delete(f"/images/{image}")
    check(caught.value, "A container was made from this image and still exists.")


async def test_an_image_with_several_tags(engine: Engine, process: EngineProcess) -> None:
    other = busybox(extra=b"tags")
    process.load(other.archive("gantry/tags:1", "gantry/tags:2"))
    process.expect("POST", "/images/gantry/tags:1/tag", repo="gantry/more", tag="1")
    try:
        with pytest.raises(EngineError) as caught:
            await engine.delete(f"/images/{other.id}")
        check(caught.value, "The image has several tags.")
    finally:
        process.request("DELETE", f"/images/{other.id}", force="true")


async def pull_failure(engine: Engine, reference: str, auth: str = "") -> EngineError | None:
    """The error of a pull, whether by status or within the stream."""
    repository, _, tag = reference.rpartition(":")
    headers = {"X-Registry-Auth": auth} if auth else {}
    try:
        async for message in engine.messages("POST", "/images/create", headers=headers, fromImage=repository, tag=tag):
            raise_for_message(message)
    except EngineError as error:
        return error
    return None


async def test_a_pull_that_finds_nothing(engine: Engine, registry: Registry, image: str) -> None:
    said = "The registry has no image “"
    repository = image.rpartition(":")[0]
    check(await pull_failure(engine, f"{repository}:none"), said)
    check(await pull_failure(engine, registry.reference("gantry/none:1")), said)


async def test_a_pull_by_a_bad_reference(engine: Engine) -> None:
    check(await pull_failure(engine, "Gantry/UPPER:1"), "The image’s name contains capital letters.")
    check(await pull_failure(engine, "gantry/a:b c"), "This is no ")


async def test_a_pull_without_or_with_wrong_credentials(engine: Engine) -> None:
    with Registry(users={"ada": "secret"}) as private:
        reference = private.push(busybox(), "gantry/busybox:1")
        check(await pull_failure(engine, reference), "The registry ")
        wrong = private.auth_header("ada", "wrong")
        said = "The registry refused: no credentials, or wrong ones."
        check(await pull_failure(engine, reference, wrong), said)
        assert await pull_failure(engine, reference, private.auth_header("ada", "secret")) is None
        await engine.delete(f"/images/{reference}", force=True)


async def test_a_pull_from_a_registry_that_is_not_there(engine: Engine) -> None:
    address = f"127.0.0.1:{free_port()}"
    said = f"The registry at {address} does not answer: connection refused."
    check(await pull_failure(engine, f"{address}/gantry/busybox:1"), said)
    said = "The host does not find the registry “no-such-host.invalid”: no such name."
    check(await pull_failure(engine, "no-such-host.invalid/gantry/busybox:1"), said)


async def test_a_registry_that_refuses_the_image(engine: Engine) -> None:
    with RefusingRegistry("DENIED") as registry:
        error = await pull_failure(engine, f"{registry.address}/gantry/private:1")
    check(error, "The registry ")


@pytest.mark.root
async def test_a_registry_that_has_had_enough(process: EngineProcess) -> None:
    """Not Podman, which tries again for minutes."""
    if process.kind == "podman":
        pytest.skip("podman: tries again for minutes")
    async with Engine(process.socket) as engine:
        with RefusingRegistry("TOOMANYREQUESTS") as registry:
            error = await pull_failure(engine, f"{registry.address}/gantry/busy:1")
    check(error, "The registry allows no more pulls at the moment.")


@pytest.fixture
def trusted_by_none(process: EngineProcess, make: Callable[..., str]) -> str:
    """An address of this machine to which the engine speaks TLS only."""
    assert process.bridge
    make("start")  # the native engine's bridge comes with the first container on it
    return "127.0.0.2" if process.kind == "podman" else f"{process.bridge.subnet}.1"


async def test_a_registry_without_tls_that_should_have_it(engine: Engine, trusted_by_none: str) -> None:
    with Registry(host=trusted_by_none) as registry:
        error = await pull_failure(engine, registry.reference("gantry/plain:1"))
    check(error, "The registry speaks plain HTTP, the engine expects TLS.")


async def test_a_registry_whose_certificate_nobody_signed(engine: Engine, trusted_by_none: str, tmp_path: Path) -> None:
    with RefusingRegistry(host=trusted_by_none, certificates=tmp_path) as registry:
        error = await pull_failure(engine, f"{registry.address}/gantry/tls:1")
    check(error, "The registry’s certificate is not accepted: ")


def test_a_command_that_an_exec_does_not_find(process: EngineProcess, make: Callable[..., str]) -> None:
    """It is said on the output, not as an error: `explain` takes words, too."""
    done = subprocess.run(
        ["docker", "-H", f"unix://{process.socket}", "exec", make("start"), "no-such"],
        capture_output=True,
        text=True,
        check=False,
    )
    check(done.stdout + done.stderr, "The command “no-such” was not found in the container.")


@pytest.fixture(params=[Dockerd, Podman, Native])
def full_engine(request: pytest.FixtureRequest) -> Iterator[EngineProcess]:
    """An engine whose data lie on a disk of 12 MB."""
    kind: type[EngineProcess] = request.param
    need(kind.why_not())
    process = kind()
    (process.folder / "data").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", process.folder / "data"], check=True)
    with process:
        yield process


@pytest.mark.root
async def test_a_full_disk(full_engine: EngineProcess, registry: Registry) -> None:
    reference = registry.push(busybox(layers=6, layer_size=4_000_000), f"gantry/{unique('big')}:1")
    async with Engine(full_engine.socket) as engine:
        check(await pull_failure(engine, reference), "The host’s disk is full.")
        assert await engine.get("/_ping") == "OK"


def test_the_disk_is_named_even_at_the_end_of_other_words() -> None:
    words = "failed to create shim task: OCI runtime create failed: mkdir /x: no space left on device: unknown"
    assert explain(words)[0] == "The host’s disk is full."


def test_unknown_words_are_shown_as_they_came() -> None:
    assert explain("the moon is\r\n in the way") == ("the moon is in the way", "")


@pytest.mark.parametrize(("code", "word"), [(0, "without"), (127, "not found"), (137, "SIGKILL"), (3, "3")])
def test_exit_codes(code: int, word: str) -> None:
    assert word in explain_exit(code)[0]


def test_plain_words_are_one_short_line() -> None:
    assert plain("a\n\tb \x1b[31m c") == "a b [31m c"
    assert len(plain("x" * 100_000)) == 4000
