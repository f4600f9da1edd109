"""Keys and sizes on their way to a shell that may not be reading."""

import asyncio
from contextlib import suppress

from containers.consumers.pending import Pending


async def everything(pending: Pending) -> list[bytes | tuple[int, int]]:
    """What comes out until nothing waits."""
    found = []
    with suppress(TimeoutError):
        while True:
            async with asyncio.timeout(0):
                found.append(await pending.next())
    return found


async def test_keys_come_in_their_order_and_wait_until_they_are_taken() -> None:
    pending = Pending()
    for data in (b"one", b"", b"two"):
        pending.keys(data)
    assert await everything(pending) == [b"one", b"two"]
    assert pending.waiting == 6
    pending.took(b"one")
    assert pending.waiting == 3


async def test_a_size_comes_before_the_keys_that_follow_it() -> None:
    pending = Pending()
    pending.keys(b"one")
    pending.size(100, 30)
    pending.keys(b"two")
    assert await everything(pending) == [b"one", (100, 30), b"two"]


async def test_of_many_sizes_the_newest_two_are_kept() -> None:
    """Two, as a page has a program draw itself again by a smaller size and the right one."""
    pending = Pending()
    pending.keys(b"a paste that is not read")
    for number in range(1, 1001):
        pending.size(number, number)
        pending.keys(b"")
    assert await everything(pending) == [b"a paste that is not read", (999, 999), (1000, 1000)]
    pending.size(80, 24)
    assert await everything(pending) == [(80, 24)]
