"""Pull on the native engine: what arrives, what is told, what is fetched only once. The engine is a real process;
registries are Debian's, or one in this test's loop."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp import web
from gantry_agent.engine.oci.documents import DOCKER_INDEX, DOCKER_MANIFEST, OCI_LAYER_ZSTD, OCI_MANIFEST

from tests.conftest import need
from tests.engine.fake_registry import FakeRegistry, cut_after, refusal
from tests.engine.pulling import error_of, kept, pull, pulled, small
from tests.support.engines import Native, unique
from tests.support.images import TestImage, busybox_why_not, digest, make_tar
from tests.support.registry import Registry, SlowRegistry
from tests.support.unixhttp import UnixConnection
from tests.support.waiting import eventually_async

pytestmark = [pytest.mark.root, pytest.mark.registry]


@pytest.fixture(scope="module")
def engine() -> Iterator[Native]:
    need(Native.why_not(), Registry.why_not(), busybox_why_not())
    with Native() as native:
        yield native


@pytest.fixture
async def fake() -> AsyncIterator[FakeRegistry]:
    async with FakeRegistry() as registry:
        yield registry


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
    assert response.status == 200
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
