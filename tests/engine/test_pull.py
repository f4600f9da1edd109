"""Pull on the native engine: what arrives, what is told, what is fetched only once, and what a broken or lying
registry cannot do. The engine is a real process; registries are Debian's, or one in this test's loop that lies."""

import asyncio
import gzip
import io
import json
import os
import subprocess
import tarfile
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from gantry_agent.engine.oci.documents import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_LAYER_ZSTD, OCI_MANIFEST

from tests.conftest import need
from tests.engine.fake_registry import FakeRegistry, cut_after, refusal
from tests.support.engines import Native, unique
from tests.support.images import TestImage, busybox_why_not, digest, make_tar
from tests.support.registry import Registry, SlowRegistry
from tests.support.unixhttp import UnixConnection
from tests.support.waiting import eventually, eventually_async

pytestmark = [pytest.mark.root, pytest.mark.registry]

LAYER_LIMIT = 64 << 20
DOCKER = "application/vnd.docker"


@pytest.fixture(scope="module")
def engine() -> Iterator[Native]:
    need(Native.why_not(), Registry.why_not(), busybox_why_not())
    with Native(max_layer_size=LAYER_LIMIT) as native:
        yield native


@pytest.fixture
async def fake() -> AsyncIterator[FakeRegistry]:
    async with FakeRegistry() as registry:
        yield registry


def small(*, layers: int = 1, **config: Any) -> TestImage:
    """An image that no other test has: `layers` layers of one random file each."""
    made = tuple(make_tar({f"file-{number}": os.urandom(2000)}) for number in range(layers))
    return TestImage(made, {"Cmd": ["/x"], **config})


def pull(engine: Native, reference: str, *, user: str = "", **query: str) -> tuple[int, list[dict[str, Any]]]:
    """Status, and the messages; an error before the first message is one with `message`."""
    connection = UnixConnection(engine.socket, 60)
    path = "/images/create?" + "&".join(f"{key}={value}" for key, value in {"fromImage": reference, **query}.items())
    try:
        connection.request("POST", path, headers={"X-Registry-Auth": user} if user else {})
        response = connection.getresponse()
        return response.status, [json.loads(line) for line in response.read().splitlines() if line]
    finally:
        connection.close()


async def pulled(engine: Native, reference: str, **query: str) -> tuple[int, list[dict[str, Any]]]:
    """`pull` beside a registry that lives in this loop."""
    return await asyncio.to_thread(pull, engine, reference, **query)


def error_of(found: tuple[int, list[dict[str, Any]]]) -> str:
    """What went wrong, "" when nothing did."""
    status, messages = found
    return str(messages[-1]["message"] if status >= 400 else messages[-1].get("error", ""))


def kept(engine: Native) -> set[str]:
    """Every blob and layer, and what lies in staging."""
    folders = ("blobs/sha256", "layers", "l", "tmp")
    return {str(path) for name in folders for path in (engine.root / name).iterdir()}


def test_it_says_what_docker_says(engine: Native, registry: Registry) -> None:
    image = small(layers=2)
    reference = registry.push(image, f"gantry/{unique()}:1")
    status, messages = pull(engine, reference)
    assert status == 200
    repository = reference.partition("/")[2].removesuffix(":1")
    assert messages[0] == {"status": f"Pulling from {repository}", "id": "1"}
    assert messages[-2:] == [
        {"status": f"Digest: {digest(image.manifest)}"},
        {"status": f"Status: Downloaded newer image for {reference}"},
    ]
    for blob in image.blobs:
        said = [each["status"] for each in messages if each.get("id") == digest(blob)[7:19]]
        said = [each for number, each in enumerate(said) if each not in said[:number]]
        assert [each for each in said if each not in ("Downloading", "Extracting")] == [
            "Pulling fs layer",
            "Verifying Checksum",
            "Download complete",
            "Pull complete",
        ]
    assert pull(engine, reference) == (
        200,
        [
            {"status": f"Pulling from {repository}", "id": "1"},
            {"status": f"Digest: {digest(image.manifest)}"},
            {"status": f"Status: Image is up to date for {reference}"},
        ],
    )


def test_the_image_is_exactly_the_registrys(engine: Native, registry: Registry) -> None:
    image = small(Labels={"a": "b"})
    name = unique()
    reference = registry.push(image, f"gantry/{name}:1")
    assert not error_of(pull(engine, reference))
    found = engine.expect("GET", f"/images/{reference}/json")
    assert (found["Id"], found["RepoTags"]) == (image.id, [reference])
    assert found["RepoDigests"] == [f"{registry.address}/gantry/{name}@{digest(image.manifest)}"]
    assert found["RootFS"]["Layers"] == [digest(layer) for layer in image.layers]
    assert found["Config"]["Labels"] == {"a": "b"}
    for blob in (*image.blobs, image.configuration, image.manifest):
        assert (engine.root / "blobs/sha256" / digest(blob)[7:]).read_bytes() == blob
    assert pull(engine, f"{registry.address}/gantry/{name}@{digest(image.manifest)}")[0] == 200


def test_only_missing_layers_are_fetched(engine: Native, registry: Registry) -> None:
    first = small(layers=2)
    second = TestImage((*first.layers, *small().layers), first.config)
    for image in (first, second):
        status, messages = pull(engine, registry.push(image, f"gantry/{unique()}:1"))
        assert status == 200
    said = {each["id"]: each["status"] for each in messages if "progressDetail" in each}
    assert [said[digest(blob)[7:19]] for blob in second.blobs] == ["Already exists", "Already exists", "Pull complete"]


def test_two_pulls_at_once_fetch_a_layer_once(engine: Native, registry: Registry) -> None:
    image = TestImage((make_tar({unique(): os.urandom(100_000)}),))
    registry.push(image, "gantry/twice:1")
    with SlowRegistry(registry, 200_000) as slow:
        reference = slow.reference("gantry/twice:1")

        async def both() -> list[tuple[int, list[dict[str, Any]]]]:
            return await asyncio.gather(*(pulled(engine, reference) for _ in range(3)))

        assert [error_of(each) for each in asyncio.run(both())] == ["", "", ""]
        assert slow.bytes_sent < 2 * len(image.blobs[0])


def test_without_a_tag_every_tag_is_pulled(engine: Native, registry: Registry) -> None:
    name, image = f"gantry/{unique()}", small()
    for tag in ("a", "b"):
        registry.push(image, f"{name}:{tag}")
    status, messages = pull(engine, f"{registry.address}/{name}")
    assert status == 200
    assert messages[-1] == {"status": f"Status: Downloaded newer image for {registry.address}/{name}"}
    tags = engine.expect("GET", f"/images/{image.id}/json")["RepoTags"]
    assert tags == [f"{registry.address}/{name}:{tag}" for tag in ("a", "b")]


def test_what_is_not_there_is_404_in_dockers_words(engine: Native, registry: Registry) -> None:
    status, messages = pull(engine, f"{registry.address}/gantry/none:1")
    words = f"manifest for {registry.address}/gantry/none:1 not found: manifest unknown: manifest unknown"
    assert (status, messages) == (404, [{"message": words}])
    assert pull(engine, f"{registry.address}/Bad:1")[0] == 400
    assert pull(engine, "127.0.0.1:1/x:1")[0] == 500


def test_credentials_are_asked_for_and_checked(engine: Native) -> None:
    with Registry(users={"ada": "secret"}) as guarded:
        image = small()
        reference = guarded.push(image, "gantry/x:1")
        assert pull(engine, reference) == (500, [{"message": "no basic auth credentials"}])
        wrong = pull(engine, reference, user=guarded.auth_header("ada", "guess"))
        assert wrong == (500, [{"message": "unauthorized: authentication required"}])
        assert not error_of(pull(engine, reference, user=guarded.auth_header("ada", "secret")))
        for password, expected in (("guess", 401), ("secret", 200)):
            body = {"username": "ada", "password": password, "serveraddress": guarded.address}
            assert engine.request("POST", "/auth", body)[0] == expected


async def test_a_repository_that_is_not_for_us_is_404_as_with_docker(engine: Native, fake: FakeRegistry) -> None:
    """What Docker Hub says of a repository that does not exist: a token, and then that it is not enough."""

    async def guard(request: web.Request) -> web.Response:
        challenge = f'Bearer realm="http://{fake.address}/token",service="hub"'
        if request.headers.get("Authorization") and request.path != "/v2/":
            challenge += ',error="insufficient_scope"'
        return refusal(401, "UNAUTHORIZED", "authentication required", **{"WWW-Authenticate": challenge})

    async def token(request: web.Request) -> web.Response:
        return web.json_response({"token": "nobody"})

    fake.on("GET", "/v2/", guard)
    fake.on("GET", "/token", token)
    words = (
        f"pull access denied for {fake.address}/a/b, repository does not exist or may require 'docker login': "
        "denied: requested access to the resource is denied"
    )
    assert await pulled(engine, f"{fake.address}/a/b:1") == (404, [{"message": words}])


async def test_a_platform_is_chosen_from_an_index(engine: Native, fake: FakeRegistry) -> None:
    images = {name: small() for name in ("amd64", "arm64")}
    entries = []
    for name, image in images.items():
        config = json.loads(image.configuration)
        raw = json.dumps({**config, "architecture": name}).encode()
        fake.blobs.update({digest(raw): raw, digest(image.blobs[0]): image.blobs[0]})
        manifest = json.loads(image.manifest)
        manifest["config"].update(digest=digest(raw), size=len(raw))
        content = json.dumps(manifest).encode()
        fake.put("a/b", digest(content), content, DOCKER_MANIFEST)
        entry = {"mediaType": DOCKER_MANIFEST, "digest": digest(content), "size": len(content)}
        entries.append({**entry, "platform": {"os": "linux", "architecture": name}})
    index = {"schemaVersion": 2, "mediaType": DOCKER_INDEX, "manifests": entries}
    top = fake.put("a/b", "1", index, DOCKER_INDEX)
    reference = f"{fake.address}/a/b:1"
    for name in images:
        assert not error_of(await pulled(engine, reference, platform=f"linux/{name}"))
        found = engine.expect("GET", f"/images/{reference}/json")
        assert (found["Architecture"], found["RepoDigests"]) == (name, [f"{fake.address}/a/b@{top}"])
    found_none = error_of(await pulled(engine, reference, platform="linux/s390x"))
    assert found_none == "no matching manifest for linux/s390x in the manifest list entries"
    told = await asyncio.to_thread(engine.expect, "GET", f"/distribution/{reference}/json")
    assert told["Descriptor"] == {"mediaType": DOCKER_INDEX, "digest": top, "size": len(json.dumps(index))}
    assert [each["architecture"] for each in told["Platforms"]] == ["amd64", "arm64"]


async def test_zstd_and_plain_layers_are_unpacked(engine: Native, fake: FakeRegistry) -> None:
    import zstandard

    image = small(layers=3)
    blobs = [image.blobs[0], zstandard.compress(image.layers[1]), image.layers[2]]
    kinds = ["application/vnd.oci.image.layer.v1.tar+gzip", OCI_LAYER_ZSTD, "application/vnd.oci.image.layer.v1.tar"]
    fake.blobs.update({digest(blob): blob for blob in (*blobs, image.configuration)})
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": image.id}
    layers = [
        {"mediaType": kind, "digest": digest(blob), "size": len(blob)} for kind, blob in zip(kinds, blobs, strict=True)
    ]
    document = {"schemaVersion": 2, "config": {**config, "size": len(image.configuration)}, "layers": layers}
    fake.put("a/b", "1", document, OCI_MANIFEST)
    assert not error_of(await pulled(engine, f"{fake.address}/a/b:1"))
    assert engine.expect("GET", f"/images/{image.id}/json")["Id"] == image.id


async def test_a_cut_is_not_noticed(engine: Native, fake: FakeRegistry) -> None:
    layer = make_tar({"noise": os.urandom(600_000)})
    image = TestImage((layer,))
    reference = fake.add(image, "a/b", "1")
    fake.on("GET", f"/v2/a/b/blobs/{digest(image.blobs[0])}", cut_after(image.blobs[0], 250_000))
    assert not error_of(await pulled(engine, reference))
    assert sum("/blobs/sha256:" in path for path in fake.paths()) >= 4


async def test_a_client_that_goes_ends_the_pull(engine: Native, registry: Registry) -> None:
    image = TestImage((make_tar({"noise": os.urandom(500_000)}),))
    registry.push(image, "gantry/gone:1")
    before = kept(engine)
    with SlowRegistry(registry, 20_000) as slow:
        connection = UnixConnection(engine.socket, 30)
        connection.request("POST", f"/images/create?fromImage={slow.reference('gantry/gone:1')}")
        response = connection.getresponse()
        while b"Downloading" not in response.readline():
            pass
        assert slow.connections
        response.close()
        connection.close()
        await eventually_async(lambda: slow.connections == 0, what="the engine lets the registry go")
    await eventually_async(lambda: kept(engine) == before, what="nothing of it is kept")


def test_events_tell_of_a_pull(engine: Native, registry: Registry) -> None:
    name = unique()
    reference = registry.push(small(), f"gantry/{name}:1")
    connection = UnixConnection(engine.socket, 30)
    connection.request("GET", f'/events?filters={{"image":["{reference}"]}}')
    response = connection.getresponse()
    if response.status == 404:
        pytest.skip("/events is not served yet")
    assert not error_of(pull(engine, reference))
    event = json.loads(response.readline())
    connection.close()
    assert (event["Type"], event["Action"], event["Actor"]["ID"]) == ("image", "pull", reference)
    assert event["Actor"]["Attributes"]["name"] == f"{registry.address}/gantry/{name}"


async def test_search_is_filtered_and_limited(engine: Native, fake: FakeRegistry) -> None:
    results = [
        {"name": "a", "star_count": 9, "is_official": True, "is_automated": False, "description": "first", "more": 1},
        {"name": "b", "star_count": 2, "is_official": False},
    ]

    async def found(request: web.Request) -> web.Response:
        assert (request.query["q"], request.query["n"]) == ("app", "25")
        return web.json_response({"results": results})

    fake.on("GET", "/v1/search", found)

    async def search(**query: Any) -> tuple[int, Any]:
        return await asyncio.to_thread(engine.request, "GET", "/images/search", term=f"{fake.address}/app", **query)

    assert await search() == (
        200,
        [
            {key: value for key, value in results[0].items() if key != "more"},
            {"name": "b", "star_count": 2, "is_official": False, "is_automated": False, "description": ""},
        ],
    )
    for filters, names in (
        ({"stars": ["3"]}, ["a"]),
        ({"is-official": ["false"]}, ["b"]),
        ({"is-automated": {"true": True}}, []),
    ):
        assert [each["name"] for each in (await search(filters=json.dumps(filters)))[1]] == names
    for wrong in ({"filters": '{"stars":["many"]}'}, {"filters": '{"size":["1"]}'}, {"limit": 101}):
        assert (await search(**wrong))[0] == 400


# What a registry may not do: each lie is refused, and leaves nothing behind.


def lie_blob(fake: FakeRegistry, image: TestImage) -> None:
    other = bytearray(image.blobs[0])
    other[-1] ^= 1
    fake.blobs[digest(image.blobs[0])] = bytes(other)


def lie_other_layer(fake: FakeRegistry, image: TestImage) -> None:
    """A layer whose compressed digest is right, but which is not what the configuration says."""
    blob = gzip.compress(make_tar({"evil": b"x"}), mtime=0)
    fake.blobs[digest(blob)] = blob
    _rewrite(fake, image, lambda document: document["layers"][0].update(digest=digest(blob), size=len(blob)))


def lie_size(fake: FakeRegistry, image: TestImage) -> None:
    _rewrite(fake, image, lambda document: document["layers"][0].update(size=len(image.blobs[0]) - 1))


def lie_config(fake: FakeRegistry, image: TestImage) -> None:
    fake.blobs[image.id] = image.configuration.replace(b"/x", b"/y")


def lie_config_size(fake: FakeRegistry, image: TestImage) -> None:
    _rewrite(fake, image, lambda document: document["config"].update(size=3))


def lie_path(fake: FakeRegistry, image: TestImage) -> None:
    _rewrite(fake, image, lambda document: document["layers"][0].update(digest="sha256:../../x"))


def lie_negative(fake: FakeRegistry, image: TestImage) -> None:
    _rewrite(fake, image, lambda document: document["layers"][0].update(size=-1))


def lie_both(fake: FakeRegistry, image: TestImage) -> None:
    _rewrite(fake, image, lambda document: document.update(manifests=[]))


def lie_type(fake: FakeRegistry, image: TestImage) -> None:
    fake.put("a/b", "1", image.manifest, OCI_INDEX)


def lie_layers(fake: FakeRegistry, image: TestImage) -> None:
    _rewrite(fake, image, lambda document: document["layers"].append(document["layers"][0]))


def lie_redirect(fake: FakeRegistry, image: TestImage) -> None:
    async def elsewhere(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "/other"})

    async def other(request: web.Request) -> web.Response:
        return web.Response(body=os.urandom(len(image.blobs[0])))

    fake.on("GET", f"/v2/a/b/blobs/{digest(image.blobs[0])}", elsewhere)
    fake.on("GET", "/other", other)


def lie_escape(fake: FakeRegistry, image: TestImage) -> None:
    """Everything fits together, only the layer wants out."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, "/tmp"
        archive.addfile(link)
        entry = tarfile.TarInfo("out/../../../../gantry-canary")
        archive.addfile(entry)
    _replace_image(fake, TestImage((buffer.getvalue(),)))


def lie_garbage(fake: FakeRegistry, image: TestImage) -> None:
    _replace_image(fake, TestImage((b"no tar at all" * 1000,)))


def lie_bomb(fake: FakeRegistry, image: TestImage) -> None:
    """Two megabytes of gzip that are two gigabytes of zeros in one file."""
    entry = tarfile.TarInfo("bomb")
    entry.size = 2 << 30
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    parts = [packer.compress(entry.tobuf()), *(packer.compress(zeros) for _ in range(2048)), packer.flush()]
    blob = b"".join(parts)
    fake.blobs[digest(blob)] = blob
    _rewrite(fake, image, lambda document: document["layers"][0].update(digest=digest(blob), size=len(blob)))


def lie_huge_manifest(fake: FakeRegistry, image: TestImage) -> None:
    _rewrite(fake, image, lambda document: document.update(annotations={"x": "y" * (5 << 20)}))


def lie_huge_config(fake: FakeRegistry, image: TestImage) -> None:
    _rewrite(fake, image, lambda document: document["config"].update(size=1 << 30))


def lie_deep(fake: FakeRegistry, image: TestImage) -> None:
    fake.put("a/b", "1", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, DOCKER_MANIFEST)


def _rewrite(fake: FakeRegistry, image: TestImage, change: Any) -> None:
    document = json.loads(image.manifest)
    change(document)
    fake.put("a/b", "1", document, DOCKER_MANIFEST)


def _replace_image(fake: FakeRegistry, image: TestImage) -> None:
    fake.add(replace(image, config={"Cmd": [unique()]}), "a/b", "1")


LIES = [
    lie_blob, lie_other_layer, lie_size, lie_config, lie_config_size, lie_path, lie_negative, lie_both, lie_type,
    lie_layers, lie_redirect, lie_escape, lie_garbage, lie_bomb, lie_huge_manifest, lie_huge_config, lie_deep,
]  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
async def test_a_lying_registry_leaves_nothing_behind(engine: Native, fake: FakeRegistry, lie: Any) -> None:
    image = small()
    reference = fake.add(image, "a/b", "1")
    before, peak = kept(engine), _memory(engine)
    await asyncio.to_thread(lie, fake, image)
    assert error_of(await pulled(engine, reference))
    assert engine.request("GET", f"/images/{reference}/json")[0] == 404
    await eventually_async(lambda: kept(engine) == before, what="everything it brought is gone")
    assert not Path("/gantry-canary").exists()
    assert _memory(engine) - peak < 200 << 20


async def test_a_digest_of_another_repository_is_not_taken_from_here(engine: Native, fake: FakeRegistry) -> None:
    image = small()
    assert not error_of(await pulled(engine, fake.add(image, "a/b", "1")))
    for name in ("c/d", "c/d:1"):
        found = await pulled(engine, f"{fake.address}/{name}@{digest(image.manifest)}")
        assert found[0] == 404
        assert engine.request("GET", f"/images/{fake.address}/{name}@{digest(image.manifest)}/json")[0] == 404


def _memory(engine: Native) -> int:
    """The most memory the engine has had, in bytes."""
    assert engine.process
    status = Path(f"/proc/{engine.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def test_the_store_is_sound_after_all_this(engine: Native) -> None:
    """The last of this file."""
    eventually(lambda: not list((engine.root / "tmp").iterdir()), what="staging is empty")
    command = [engine.command()[0], "engine", "check", f"--root={engine.root}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
