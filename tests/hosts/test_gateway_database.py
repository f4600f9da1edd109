"""What the gateway tells the database, and what it asks it."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError
from django.utils import timezone
from gantry_agent import keys

from hosts.gateway.database import DatabaseDirectory
from hosts.gateway.herald import Herald
from hosts.models import Host, HostState
from tests.support.waiting import eventually_async

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_server")]


@pytest.fixture
def host() -> Host:
    return Host.objects.create(
        name="a", public_key=keys.public_text(keys.generate()), state=HostState.CONNECTED, tunnel_up=False
    )


@pytest.fixture
async def directory() -> AsyncIterator[DatabaseDirectory]:
    directory = DatabaseDirectory()
    yield directory
    directory.close()


async def fresh(host: Host) -> Host:
    await sync_to_async(host.refresh_from_db)()
    return host


async def test_a_connected_host_is_noted(directory: DatabaseDirectory, host: Host) -> None:
    await directory.connected(str(host.pk), "9.9")
    await fresh(host)
    assert (host.tunnel_up, host.agent_version) == (True, "9.9")
    assert host.last_seen_at


async def test_a_lost_host_is_unknown_since_then_with_the_reason(directory: DatabaseDirectory, host: Host) -> None:
    await directory.connected(str(host.pk), "1")
    await directory.disconnected(str(host.pk), "The agent stopped answering.")
    await fresh(host)
    assert (host.tunnel_up, host.state) == (False, HostState.UNREACHABLE)
    assert host.state_reason == "The agent stopped answering."
    since = host.state_since
    await directory.disconnected(str(host.pk), "again")
    assert (await fresh(host)).state_since == since, "the first time it was lost stands"


async def test_a_host_no_gateway_holds_any_more_is_noted(directory: DatabaseDirectory, host: Host) -> None:
    """The gateway was killed, and this host did not come back to its successor."""
    long_ago = timezone.now() - timedelta(minutes=1)
    await sync_to_async(Host.objects.filter(pk=host.pk).update)(tunnel_up=True, last_seen_at=long_ago)
    await directory.lost([str(host.pk)])
    assert (await fresh(host)).tunnel_up, "one that is connected here is not lost"
    await directory.lost([])
    assert (await fresh(host)).state == HostState.UNREACHABLE


async def test_a_host_another_gateway_has_just_seen_is_left_alone(directory: DatabaseDirectory, host: Host) -> None:
    await directory.seen([str(host.pk)])
    await directory.lost([])
    assert (await fresh(host)).state == HostState.CONNECTED


async def test_a_key_is_replaced_only_when_it_is_still_the_old_one(directory: DatabaseDirectory, host: Host) -> None:
    await sync_to_async(Host.objects.filter(pk=host.pk).update)(rotation_requested_at=timezone.now())
    assert await directory.wanted_rotations([str(host.pk)]) == [str(host.pk)]
    assert not await directory.store_key(str(host.pk), "another", "new")
    assert await directory.store_key(str(host.pk), host.public_key, "new")
    assert await directory.public_key(str(host.pk)) == "new"
    assert await directory.wanted_rotations([str(host.pk)]) == []


async def test_an_unknown_or_removed_host_has_no_key(directory: DatabaseDirectory, host: Host) -> None:
    assert await directory.public_key("999999") == ""
    await sync_to_async(host.delete)()
    assert await directory.public_keys(["1"]) == {}


async def test_a_failing_database_is_an_oserror(directory: DatabaseDirectory) -> None:
    def fail() -> None:
        raise OperationalError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await directory._run(fail)


class Flaky:
    """A directory whose first calls fail."""

    def __init__(self) -> None:
        self.failures, self.told = 2, list[tuple[str, bool]]()

    async def _say(self, host: str, is_connected: bool) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("away")
        self.told.append((host, is_connected))

    async def connected(self, host: str, agent_version: str) -> None:
        await self._say(host, True)

    async def disconnected(self, host: str, reason: str) -> None:
        await self._say(host, False)


async def test_news_wait_for_the_database_and_only_the_newest_is_told() -> None:
    import asyncio

    flaky = Flaky()
    herald = Herald(flaky)  # type: ignore[arg-type]
    task = asyncio.create_task(herald._tell())
    for _ in range(3):
        herald.connected("1", "v")
        herald.disconnected("1", "gone")
    herald.connected("2", "v")
    await eventually_async(lambda: len(flaky.told) == 2)
    assert flaky.told == [("1", False), ("2", True)]
    task.cancel()
