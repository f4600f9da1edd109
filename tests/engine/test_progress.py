"""Progress as Docker streams it: the same bars, and bounded whoever reads."""

import asyncio
import json
from typing import Any

import pytest
from gantry_agent.engine.images.progress import Progress, bar, failure


@pytest.mark.parametrize(
    ("current", "total", "expected"),
    [  # recorded from Docker 20.10
        (36445, 1098717, "[=>                                                 ]  36.45kB/1.099MB"),
        (1098717, 1098717, "[==================================================>]  1.099MB/1.099MB"),
        (3678, 300330, "[>                                                  ]  3.678kB/300.3kB"),
        (247, 247, "[==================================================>]     247B/247B"),
        (307200, 300000, "[==================================================>]  307.2kB"),
        (1412608, 1984132, "[===================================>               ]  1.413MB/1.984MB"),
    ],
)
def test_bars_are_dockers(current: int, total: int, expected: str) -> None:
    assert bar(current, total) == expected


async def said(progress: Progress) -> list[dict[str, Any]]:
    """All that is still unread, after the end."""
    progress.close()
    return [json.loads(line) for batch in [b async for b in progress.batches(1)] for line in batch.splitlines()]


async def test_messages_have_dockers_shape() -> None:
    progress = Progress()
    progress.message("Pulling from a/b", "1")
    progress.step("abc", "Pulling fs layer")
    progress.detail("abc", "Downloading", 5, 10)
    progress.aux({"Tag": "1"})
    assert await said(progress) == [
        {"status": "Pulling from a/b", "id": "1"},
        {"status": "Pulling fs layer", "progressDetail": {}, "id": "abc"},
        {
            "status": "Downloading",
            "progressDetail": {"current": 5, "total": 10},
            "progress": bar(5, 10),
            "id": "abc",
        },
        {"progressDetail": {}, "aux": {"Tag": "1"}},
    ]
    assert json.loads(failure("no")) == {"errorDetail": {"message": "no"}, "error": "no"}


async def test_of_a_number_a_slow_reader_sees_the_latest_and_never_misses_the_last() -> None:
    progress = Progress()
    progress.step("abc", "Pulling fs layer")
    for count in range(100_001):
        progress.detail("abc", "Downloading", count, 100_000)
    progress.detail("def", "Downloading", 1, 2)
    progress.step("abc", "Download complete")
    progress.detail("abc", "Extracting", 1, 1)
    found = await said(progress)
    assert [(each["id"], each["status"]) for each in found] == [
        ("abc", "Pulling fs layer"),
        ("abc", "Downloading"),
        ("def", "Downloading"),
        ("abc", "Download complete"),
        ("abc", "Extracting"),
    ]
    assert found[1]["progressDetail"]["current"] == 100_000


async def test_silence_is_told_so_that_the_reader_can_look_around() -> None:
    progress = Progress()
    batches = progress.batches(0.01)
    assert await anext(batches) == b""
    progress.message("a")
    assert json.loads(await anext(batches)) == {"status": "a"}
    progress.close()
    async with asyncio.timeout(5):
        assert [batch async for batch in batches if batch] == []
