"""What a registry may not do to the native engine: wrong digests, documents that are two things at once, escapes,
bombs. Each lie is refused, and leaves nothing behind."""

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
from gantry_agent.engine.oci.documents import DOCKER_MANIFEST, OCI_INDEX

from tests.conftest import need
from tests.engine.fake_registry import FakeRegistry
from tests.engine.pulling import error_of, kept, pulled, small
from tests.support.engines import Native, unique
from tests.support.images import TestImage, busybox_why_not, digest, make_tar
from tests.support.registry import Registry
from tests.support.waiting import eventually, eventually_async

pytestmark = [pytest.mark.root, pytest.mark.registry]

LAYER_LIMIT = 64 << 20


@pytest.fixture(scope="module")
def engine() -> Iterator[Native]:
    need(Native.why_not(), Registry.why_not(), busybox_why_not())
    with Native(max_layer_size=LAYER_LIMIT) as native:
        yield native


@pytest.fixture
async def fake() -> AsyncIterator[FakeRegistry]:
    async with FakeRegistry() as registry:
        yield registry


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
