"""Runs a follower for each connected host whose lease this watcher holds."""

from __future__ import annotations

import asyncio
import json
import logging

import redis.asyncio
from django.conf import settings
from django.db import DatabaseError
from redis.exceptions import RedisError

from controlplane.lib.cancelling import heed
from controlplane.lib.threads import in_thread
from hosts.models import Host
from hosts.watch import standing
from hosts.watch.follower import HostFollower
from hosts.watch.leases import Leases

log = logging.getLogger(__name__)

LOOK_SECONDS = 4.0  # between two looks at the database; a gateway's message makes the next one at once
TUNNEL_CHANNEL = "gantry:tunnel"


class Watch:
    """The whole part. `run` returns only when cancelled."""

    def __init__(self) -> None:
        self.leases = Leases()
        self.followers: dict[int, tuple[HostFollower, asyncio.Task[None]]] = {}
        self.look = asyncio.Event()

    async def run(self) -> None:
        listener = asyncio.create_task(self._listen())
        try:
            while True:
                self.look.clear()  # before the look: what is told while it goes on makes another
                await self._look_once()
                try:
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self.look.wait()
                except TimeoutError:
                    pass
        finally:
            listener.cancel()
            await self._stop_all()
            await self.leases.close()

    async def _look_once(self) -> None:
        try:
            hosts = await in_thread(_joined)
        except DatabaseError as exc:
            log.warning("database: %s", exc)
            return
        up = {host.pk: host for host in hosts if host.tunnel_up}
        for pk in [pk for pk, (_, task) in self.followers.items() if pk not in up or task.done()]:
            await self._stop(pk)
        for host in hosts:
            if host.tunnel_up and await self._mine(host.pk):
                self._start(host)
            elif not host.tunnel_up and host.is_connected:
                await in_thread(standing.mark_unreachable, host, "its agent is not connected")

    async def _mine(self, pk: int) -> bool:
        try:
            mine = await self.leases.hold(pk)
        except RedisError as exc:
            log.warning("leases: %s", exc)
            return pk in self.followers  # what we follow we go on following; somebody else's we leave
        if not mine and pk in self.followers:
            await self._stop(pk)
        return mine

    def _start(self, host: Host) -> None:
        if host.pk not in self.followers:
            follower = HostFollower(host)
            self.followers[host.pk] = (
                follower,
                asyncio.create_task(follower.run(), name=f"follow {host.name}"),
            )

    async def _stop(self, pk: int) -> None:
        _, task = self.followers.pop(pk)
        task.cancel()
        for result in await asyncio.gather(task, return_exceptions=True):
            if isinstance(result, Exception):
                log.error("the follower of host %s broke", pk, exc_info=result)

    async def _stop_all(self) -> None:
        for pk in list(self.followers):
            await self._stop(pk)
            try:
                await self.leases.release(pk)
            except RedisError:
                log.info("the lease of host %s ends by itself", pk)

    async def _listen(self) -> None:
        """Hear from gateways at once what the next look would find; survive Redis going away."""
        while True:
            try:
                async with redis.asyncio.Redis.from_url(settings.REDIS_URL) as client:
                    pubsub = client.pubsub()
                    await pubsub.subscribe(TUNNEL_CHANNEL)
                    heed()
                    async for message in pubsub.listen():
                        if message["type"] == "message":
                            self._hear(message["data"])
            except (RedisError, OSError) as exc:
                log.warning("not hearing from gateways: %s", exc)
                heed()
                await asyncio.sleep(1)

    def _hear(self, data: bytes) -> None:
        host_id = json.loads(data).get("host")
        if found := self.followers.get(host_id):
            found[0].wake.set()
        self.look.set()


def _joined() -> list[Host]:
    return list(Host.objects.exclude(public_key=""))
