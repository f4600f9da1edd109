"""The store: content by digest, leases, names, collection."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gantry_agent.engine.errors import Conflict, Corrupt, Internal, InvalidArgument, NotFound
from gantry_agent.engine.oci import Descriptor, Digest, Reference

from tests.engine.stores import User, add_image, configuration, contents, opened
from tests.support.waiting import eventually_async


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Any]:
    """A store of its own."""
    async with opened(tmp_path) as engine:
        yield engine


async def no_temporary_files(engine: Any) -> None:
    await eventually_async(lambda: not contents(engine.layout)["leftovers"], what="temporary files go")


async def test_a_blob_is_found_by_its_digest(engine: Any) -> None:
    content = bytes(range(256)) * 9000  # more than is flushed at once
    async with engine.store.blobs.writer(Digest.of(content), len(content)) as writer:
        for start in range(0, len(content), 100_000):
            await writer.write(content[start : start + 100_000])
        digest = await writer.commit()
    assert engine.store.blobs.has(digest)
    assert engine.store.blobs.path(digest).read_bytes() == content
    assert engine.store.blobs.read(digest) == content
    await no_temporary_files(engine)


@pytest.mark.parametrize(
    ("digest", "size", "message"),
    [
        (Digest.of(b"other"), 7, "got sha256:.* want sha256:"),
        (Digest.of(b"content"), 8, "got 7 bytes, want 8"),
        (Digest.of(b"content"), 6, "longer than the 6 bytes"),
        (None, 3, "longer"),
    ],
)
async def test_a_blob_that_is_not_what_was_announced_is_not_stored(
    engine: Any, digest: Digest | None, size: int, message: str
) -> None:
    async def receive() -> None:
        async with engine.store.blobs.writer(digest, size) as writer:
            await writer.write(b"content")
            await writer.commit()

    with pytest.raises(Corrupt, match=message):
        await receive()
    assert contents(engine.layout)["blobs"] == set()
    await no_temporary_files(engine)


async def test_a_blob_that_is_given_up_leaves_nothing(engine: Any) -> None:
    async def receive() -> None:
        async with engine.store.blobs.writer() as writer:
            await writer.write(bytes(3 << 20))
            receiving.set()
            await asyncio.Event().wait()

    receiving = asyncio.Event()
    task = asyncio.ensure_future(receive())
    await receiving.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert contents(engine.layout) == {"blobs": set(), "layers": set(), "links": set(), "leftovers": set()}


async def test_a_damaged_blob_is_not_given_out(engine: Any) -> None:
    digest = await engine.store.blobs.put(b"content")
    engine.store.blobs.path(digest).chmod(0o600)
    engine.store.blobs.path(digest).write_bytes(b"CONTENT")
    with pytest.raises(Corrupt):
        engine.store.blobs.read(digest)
    assert any("damaged" in problem for problem in await engine.store.check())


async def test_an_image_is_found_by_name_id_and_the_beginning_of_its_id(engine: Any) -> None:
    image_id = await add_image(engine.store, "ab")
    reference = Reference.parse("shop:5000/app:1").with_digest(Digest.of(b"manifest"))
    await engine.store.images.tag(image_id, Reference.parse("app"))
    await engine.store.images.tag(image_id, reference)
    for name in ("app", "app:latest", "docker.io/library/app", str(reference), image_id, image_id[7:], image_id[7:19]):
        assert engine.store.images.get(name).id == image_id, name
    assert engine.store.images.get("app").repo_tags == ["app:latest"]
    assert engine.store.images.get("app").repo_digests == [reference.familiar]
    for name in ("nothing", "app:2", "0" * 64, "sha256:" + "0" * 64, f"app@sha256:{'0' * 64}"):
        with pytest.raises(NotFound, match="No such image: "):
            engine.store.images.get(name)
    with pytest.raises(InvalidArgument):
        engine.store.images.get("App Le")


async def test_a_name_before_the_beginning_of_an_id(engine: Any) -> None:
    first, second = await add_image(engine.store, "a"), await add_image(engine.store, "b")
    await engine.store.images.tag(second, Reference.parse(first[7:13]))
    assert engine.store.images.get(first[7:13]).id == second
    assert engine.store.images.get(first[7:19]).id == first


async def test_a_beginning_that_several_ids_have_is_refused(engine: Any) -> None:
    ids = [await add_image(engine.store, "a", Labels={"n": str(number)}) for number in range(17)]
    beginnings = [image_id[7:8] for image_id in ids]
    twice = next(each for each in beginnings if beginnings.count(each) > 1)
    with pytest.raises(Conflict, match="multiple IDs"):
        engine.store.images.get(twice)


async def test_a_tag_moves_to_another_image(engine: Any) -> None:
    first, second = await add_image(engine.store, "a"), await add_image(engine.store, "ab")
    assert await engine.store.images.tag(first, Reference.parse("app:1")) is None
    assert await engine.store.images.tag(first, Reference.parse("app:1")) is None
    assert await engine.store.images.tag(second, Reference.parse("app:1")) == first
    assert engine.store.images.get(first).repo_tags == []
    assert engine.store.images.get("app:1").id == second


async def test_an_image_needs_its_layers(engine: Any) -> None:
    with pytest.raises(InvalidArgument, match="1 layers"):
        await engine.store.images.add(configuration("a"), [])
    image_id = await add_image(engine.store, "a")
    layers = engine.store.images.get(image_id).layers
    with pytest.raises(Internal, match="is not in the store"):
        await engine.store.images.add(configuration("b"), layers)


async def test_layers_are_shared_and_go_with_their_last_image(engine: Any) -> None:
    first, second = await add_image(engine.store, "ab"), await add_image(engine.store, "abc")
    assert len(contents(engine.layout)["layers"]) == 3
    assert engine.store.images.stack(second)[1:] == engine.store.images.stack(first)
    await engine.store.images.hide(engine.store.images.get(second))
    freed = await engine.store.collect()
    assert [layer.size for layer in freed.layers] == [80]
    assert len(contents(engine.layout)["layers"]) == 2
    await engine.store.images.hide(engine.store.images.get(first))
    assert len((await engine.store.collect()).layers) == 2
    await no_temporary_files(engine)
    assert contents(engine.layout) == {"blobs": set(), "layers": set(), "links": set(), "leftovers": set()}


async def test_a_hidden_image_stays_while_a_container_stands_on_it(engine: Any) -> None:
    image_id = await add_image(engine.store, "ab")
    engine.users.append(User("c" * 64, image_id))
    await engine.store.images.hide(engine.store.images.get(image_id))
    await engine.store.collect()
    assert engine.store.images.all() == []
    with pytest.raises(NotFound):
        engine.store.images.get(image_id)
    for link in engine.store.images.stack(image_id):
        assert (engine.layout.links / link).is_dir()
    engine.users.clear()
    await engine.store.collect()
    assert contents(engine.layout)["layers"] == set()


async def test_what_a_lease_saw_is_not_collected(engine: Any) -> None:
    image_id = await add_image(engine.store, "a")
    chain = engine.store.images.get(image_id).chains[0]
    async with engine.store.lease():
        blob = await engine.store.blobs.put(b"config to be")
        assert engine.store.layers.has(chain)
        await engine.store.images.hide(engine.store.images.get(image_id))
        await engine.store.collect()
        assert engine.store.layers.diff(chain).is_dir()
        assert engine.store.blobs.has(blob)
    assert not engine.store.layers.has(chain)
    assert contents(engine.layout)["blobs"] == set()


async def test_side_by_side_additions_and_removals_leave_whole_images(engine: Any) -> None:
    async def churn(number: int) -> None:
        for _ in range(6):
            image_id = await add_image(engine.store, "abc", Labels={"n": str(number)})
            assert all((engine.layout.links / link).is_dir() for link in engine.store.images.stack(image_id))
            await engine.store.images.hide(engine.store.images.get(image_id))
            await engine.store.collect()

    await asyncio.gather(*(churn(number) for number in range(5)))
    assert await engine.store.check() == []
    await no_temporary_files(engine)
    assert contents(engine.layout) == {"blobs": set(), "layers": set(), "links": set(), "leftovers": set()}


async def test_everything_is_there_after_opening_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as engine:
        image_id = await add_image(engine.store, "ab")
        await engine.store.images.tag(image_id, Reference.parse("app:1"))
        before = engine.store.images.get("app:1")
    async with opened(tmp_path) as engine:
        assert engine.store.images.get("app:1") == before
        assert await engine.store.check() == []


async def test_opening_clears_what_a_killed_engine_left(tmp_path: Path) -> None:
    async with opened(tmp_path) as engine:
        await add_image(engine.store, "ab")
        before = contents(engine.layout)
        (engine.layout.tmp / "blob-1").write_bytes(b"x")
        (engine.layout.tmp / "layer-1" / "diff").mkdir(parents=True)
        (engine.layout.layers / ("0" * 64) / "diff").mkdir(parents=True)
        (engine.layout.links / "dangling").symlink_to("../layers/none/diff")
        (engine.layout.blobs / ("0" * 64)).write_bytes(b"x")
        next(link for link in engine.layout.links.iterdir() if link.name != "dangling").unlink()
    async with opened(tmp_path) as engine:
        await no_temporary_files(engine)
        assert contents(engine.layout) == before
        assert await engine.store.check() == []


async def test_check_says_what_is_damaged(engine: Any) -> None:
    image_id = await add_image(engine.store, "ab")
    chain = engine.store.images.get(image_id).chains[0]
    (engine.layout.links / engine.store.layers.link(chain)).unlink()
    engine.store.blobs.path(image_id).unlink()
    problems = await engine.store.check()
    assert any("has lost its configuration" in problem for problem in problems)
    assert any("has no short link" in problem for problem in problems)


@pytest.mark.parametrize("turns", [0, 3, 10, 30, 60, 100, 150, 200, 300, 400, 600, 900, 1400, 2000])
async def test_a_commit_whose_caller_goes_away_is_whole_or_nothing(engine: Any, turns: int) -> None:
    """Cancelled after so many turns of the event loop, somewhere within the commit."""
    content = bytes(2 << 20)
    chain = Digest.of(b"chain")

    async def bring() -> None:
        async with engine.store.blobs.writer() as writer:
            await writer.write(content)
            blob = await writer.commit()
        async with engine.store.layers.stage() as staged:
            for number in range(50):
                (staged.folder / str(number)).write_bytes(b"x")
            await staged.commit(chain, None, blob, 50, 50, Descriptor("", blob, len(content)))

    async with engine.store.lease():
        task = asyncio.ensure_future(bring())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await eventually_async(lambda: len(asyncio.all_tasks()) == 1, what="what was begun ends")
        assert engine.store.layers.has(chain) == engine.store.layers.diff(chain).exists()
        if engine.store.layers.has(chain):
            assert len(list(engine.store.layers.diff(chain).iterdir())) == 50
        assert await engine.store.check() == []
    await no_temporary_files(engine)


async def test_a_name_whose_giver_goes_away_is_the_same_in_memory_and_on_the_disk(tmp_path: Path) -> None:
    async with opened(tmp_path) as engine:
        image_id = await add_image(engine.store, "a")
        task = asyncio.ensure_future(engine.store.images.tag(image_id, Reference.parse("app:1")))
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await eventually_async(lambda: len(asyncio.all_tasks()) == 1, what="what was begun ends")
        before = engine.store.images.get(image_id)
    async with opened(tmp_path) as engine:
        assert engine.store.images.get(image_id) == before
