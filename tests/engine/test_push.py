"""Push from the native engine: only what the registry lacks, byte for byte what was pulled, and read by others."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import need
from tests.support.engines import EngineProcess, Native, unique
from tests.support.images import TestImage, busybox_why_not, digest, make_tar
from tests.support.registry import Registry, SlowRegistry
from tests.support.unixhttp import UnixConnection
from tests.support.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.registry]

NOBODY = "e30="


@pytest.fixture(scope="module")
def engine() -> Iterator[Native]:
    need(Native.why_not(), Registry.why_not(), busybox_why_not())
    with Native() as native:
        yield native


def small(*, layers: int = 2) -> TestImage:
    """An image that no other test has."""
    made = tuple(make_tar({f"file-{number}": os.urandom(2000)}) for number in range(layers))
    return TestImage(made, {"Cmd": ["/x"]})


def push(engine: EngineProcess, name: str, tag: str, user: str = NOBODY) -> tuple[int, list[dict[str, Any]]]:
    """Status and messages."""
    connection = UnixConnection(engine.socket, 60)
    try:
        query = f"?tag={tag}" if tag else ""
        connection.request("POST", f"/images/{name}/push{query}", headers={"X-Registry-Auth": user} if user else {})
        response = connection.getresponse()
        return response.status, [json.loads(line) for line in response.read().splitlines() if line]
    finally:
        connection.close()


def last_words(messages: list[dict[str, Any]]) -> dict[str, str]:
    """The last status of each layer, by its name."""
    return {each["id"]: each["status"] for each in messages if "id" in each}


def tag(engine: Native, source: str, target: str) -> None:
    name, _, label = target.rpartition(":")
    engine.expect("POST", f"/images/{source}/tag", repo=name, tag=label)


def test_it_says_what_docker_says(engine: Native, registry: Registry) -> None:
    image, name = small(), f"{registry.address}/gantry/{unique()}"
    engine.load(image.archive(f"{name}:1"))
    status, messages = push(engine, name, "1")
    assert status == 200
    assert messages[0] == {"status": f"The push refers to repository [{name}]"}
    layers = [digest(layer)[7:19] for layer in image.layers]
    assert [each["id"] for each in messages[1:3]] == layers[::-1]
    assert {each["status"] for each in messages[1:3]} == {"Preparing"}
    assert last_words(messages) == dict.fromkeys(layers, "Pushed")
    raw = registry.manifest(name.partition("/")[2], "1")
    assert messages[-2] == {"status": f"1: digest: {digest(raw)} size: {len(raw)}"}
    assert messages[-1] == {"progressDetail": {}, "aux": {"Tag": "1", "Digest": digest(raw), "Size": len(raw)}}
    assert last_words(push(engine, name, "1")[1]) == dict.fromkeys(layers, "Layer already exists")
    assert engine.expect("GET", f"/images/{image.id}/json")["RepoDigests"] == [f"{name}@{digest(raw)}"]


def test_what_was_pulled_goes_back_byte_for_byte_and_is_mounted(engine: Native, registry: Registry) -> None:
    image, first, second = small(), f"gantry/{unique()}", f"gantry/{unique()}"
    reference = registry.push(image, f"{first}:1")
    engine.expect("POST", "/images/create", fromImage=reference)
    tag(engine, reference, registry.reference(f"{second}:2"))
    status, messages = push(engine, registry.reference(second), "2")
    assert status == 200
    assert set(last_words(messages).values()) == {f"Mounted from {first}"}
    assert registry.manifest(second, "2") == image.manifest
    with Registry() as other:
        tag(engine, reference, other.reference("a/b:3"))
        status, messages = push(engine, other.reference("a/b"), "3")
        assert set(last_words(messages).values()) == {"Pushed"}
        assert other.manifest("a/b", "3") == image.manifest


def test_without_a_tag_every_tag_is_pushed(engine: Native, registry: Registry) -> None:
    image, name = small(), f"gantry/{unique()}"
    engine.load(image.archive(registry.reference(f"{name}:a"), registry.reference(f"{name}:b")))
    status, messages = push(engine, registry.reference(name), "")
    assert status == 200
    assert [each["aux"]["Tag"] for each in messages if "aux" in each] == ["a", "b"]
    assert registry.tags(name) == ["a", "b"]


def test_what_is_not_there_is_told_as_docker_tells_it(engine: Native, registry: Registry) -> None:
    image, name = small(), registry.reference(f"gantry/{unique()}")
    status, messages = push(engine, name, "1")
    words = f"An image does not exist locally with the tag: {name}"
    assert (status, messages[-1]) == (200, {"errorDetail": {"message": words}, "error": words})
    engine.load(image.archive(f"{name}:1"))
    assert push(engine, name, "2")[1][-1]["error"] == f"tag does not exist: {name}:2"
    assert push(engine, name, "1", user="")[0] == 200, "as Docker since 23.0; before, the header was needed"
    assert push(engine, f"{name}@{digest(b'')}", "")[0] == 400


def test_credentials_are_asked_for_and_checked(engine: Native) -> None:
    with Registry(users={"ada": "secret"}) as guarded:
        name = guarded.reference("gantry/x")
        engine.load(small().archive(f"{name}:1"))
        assert push(engine, name, "1")[1][-1]["error"] == "no basic auth credentials"
        wrong = push(engine, name, "1", guarded.auth_header("ada", "guess"))[1]
        assert wrong[-1]["error"] == "unauthorized: authentication required"
        assert "error" not in push(engine, name, "1", guarded.auth_header("ada", "secret"))[1][-1]
        assert guarded.tags("gantry/x") == ["1"]


def test_an_unreachable_registry_is_told(engine: Native) -> None:
    engine.load(small().archive("127.0.0.1:1/a/b:1"))
    status, messages = push(engine, "127.0.0.1:1/a/b", "1")
    assert status == 200
    assert "connection refused" in messages[-1]["error"]


def test_a_client_that_goes_ends_the_push(engine: Native, registry: Registry) -> None:
    with SlowRegistry(registry, 40) as slow:  # the answers are slow: a push waits for many
        name = slow.reference(f"gantry/{unique()}")
        engine.load(small().archive(f"{name}:1"))
        connection = UnixConnection(engine.socket, 30)
        connection.request("POST", f"/images/{name}/push?tag=1", headers={"X-Registry-Auth": NOBODY})
        eventually(lambda: slow.connections, what="the engine speaks to the registry")
        assert connection.sock
        connection.sock.close()
        connection.close()
        eventually(lambda: slow.connections == 0, what="the engine lets the registry go")


@pytest.mark.docker
def test_docker_and_the_native_engine_read_each_others_pushes(
    engine: Native, docker_engine: EngineProcess, registry: Registry
) -> None:
    image, name = small(), registry.reference(f"gantry/{unique()}")
    for number, (writer, reader) in enumerate([(engine, docker_engine), (docker_engine, engine)]):
        writer.load(image.archive(f"{name}:{number}"))
        assert "error" not in push(writer, name, str(number))[1][-1]
        reader.request("DELETE", f"/images/{image.id}", force="true")
        said = reader.request("POST", "/images/create", fromImage=f"{name}:{number}")[1]
        assert "Status: Downloaded newer image" in said
        assert reader.expect("GET", f"/images/{name}:{number}/json")["Id"] == image.id
        writer.request("DELETE", f"/images/{image.id}", force="true")


def test_skopeo_reads_and_writes_what_we_pull_and_push(engine: Native, registry: Registry, tmp_path: Path) -> None:
    """OCI manifests with zstd layers, which skopeo makes of ours, and back."""
    need("" if shutil.which("skopeo") else "skopeo: not installed")
    image, name = small(), f"gantry/{unique()}"
    engine.load(image.archive(registry.reference(f"{name}:ours")))
    assert "error" not in push(engine, registry.reference(name), "ours")[1][-1]
    skopeo = ["skopeo", "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"]
    ours, oci = f"docker://{registry.reference(name)}:ours", f"docker://{registry.reference(name)}:oci"
    convert = ["--format=oci", "--dest-compress-format=zstd", "--dest-compress"]
    subprocess.run([*skopeo, *convert, ours, f"dir:{tmp_path}"], check=True)
    subprocess.run([*skopeo, f"dir:{tmp_path}", oci], check=True)
    raw = registry.manifest(name, "oci")
    assert json.loads(raw)["layers"][0]["mediaType"] == "application/vnd.oci.image.layer.v1.tar+zstd"
    reference = registry.reference(f"{name}:oci")
    assert "Status: Downloaded" in engine.expect("POST", "/images/create", fromImage=reference)
    assert engine.expect("GET", f"/images/{reference}/json")["RootFS"]["Layers"] == [
        digest(layer) for layer in image.layers
    ]
    tag(engine, reference, registry.reference(f"{name}:back"))
    assert "error" not in push(engine, registry.reference(name), "back")[1][-1]
    # The layers were here as gzip already, so the image goes out with those.
    subprocess.run([*skopeo, f"docker://{registry.reference(name)}:back", f"dir:{tmp_path}"], check=True)
