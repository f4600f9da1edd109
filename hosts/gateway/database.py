"""The directory in Gantry's database. Its calls run in threads of their own, beside the event loop."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar

import redis
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError, InterfaceError, close_old_connections, transaction
from django.utils import timezone

from controlplane.lib.live import publish
from controlplane.lib.origin import Door
from controlplane.operations.audit import about, record
from hosts.models import Host, HostState

log = logging.getLogger(__name__)

TUNNEL_CHANNEL = "gantry:tunnel"  # tells watchers at once what the database says anyway
FORGOTTEN_AFTER = timedelta(seconds=20)

Result = TypeVar("Result")


class DatabaseDirectory:
    """Implements `hosts.gateway.directory.Directory`."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="directory")
        self._redis = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)

    async def _run(self, work: Callable[[], Result]) -> Result:
        """Run in a thread with a healthy connection; failures of the database become OSError."""

        def guarded() -> Result:
            close_old_connections()
            try:
                return work()
            except (DatabaseError, InterfaceError) as exc:
                raise OSError(f"database: {exc}") from exc
            finally:
                close_old_connections()

        return await asyncio.get_running_loop().run_in_executor(self._threads, guarded)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._redis.close()

    async def public_key(self, host: str) -> str:
        return (await self.public_keys([host])).get(host, "")

    async def public_keys(self, hosts: Iterable[str]) -> dict[str, str]:
        wanted = [int(host) for host in hosts]
        rows = await self._run(lambda: list(Host.objects.filter(pk__in=wanted).values_list("pk", "public_key")))
        return {str(pk): key for pk, key in rows}

    async def wanted_rotations(self, hosts: Iterable[str]) -> list[str]:
        wanted = Host.objects.filter(pk__in=[int(host) for host in hosts], rotation_requested_at__isnull=False)
        return [str(pk) for pk in await self._run(lambda: list(wanted.values_list("pk", flat=True)))]

    async def store_key(self, host: str, old: str, new: str) -> bool:
        def store() -> bool:
            with transaction.atomic():
                rows = Host.objects.filter(pk=int(host), public_key=old)
                changed = rows.update(public_key=new, key_since=timezone.now(), rotation_requested_at=None)
                publish(f"host.{host}")
                if changed == 1:
                    _note_key(int(host))
            return changed == 1

        return await self._run(store)

    async def connected(self, host: str, agent_version: str) -> None:
        def note() -> None:
            with transaction.atomic():
                Host.objects.filter(pk=int(host)).update(
                    tunnel_up=True, last_seen_at=timezone.now(), agent_version=agent_version
                )
                publish("hosts", f"host.{host}")

        await self._run(note)
        await self._tell_watchers([host])

    async def disconnected(self, host: str, reason: str) -> None:
        await self._run(lambda: note_lost([int(host)], reason))
        await self._tell_watchers([host])

    async def seen(self, hosts: Iterable[str]) -> None:
        wanted = [int(host) for host in hosts]
        await self._run(lambda: Host.objects.filter(pk__in=wanted).update(tunnel_up=True, last_seen_at=timezone.now()))

    async def lost(self, present: Iterable[str]) -> None:
        here = [int(host) for host in present]

        def note() -> list[int]:
            silent = Host.objects.filter(tunnel_up=True).exclude(pk__in=here)
            gone = [
                host.pk
                for host in silent
                if host.last_seen_at is None or host.last_seen_at < timezone.now() - FORGOTTEN_AFTER
            ]
            if gone:
                note_lost(gone, "No gateway holds a connection to its agent.")
            return gone

        await self._tell_watchers([str(pk) for pk in await self._run(note)])

    async def _tell_watchers(self, hosts: list[str]) -> None:
        def tell() -> None:
            try:
                for host in hosts:
                    self._redis.publish(TUNNEL_CHANNEL, json.dumps({"host": int(host)}))
            except redis.RedisError as exc:
                log.info("watchers not told: %s", exc)

        if hosts:
            await asyncio.get_running_loop().run_in_executor(self._threads, tell)


def _note_key(pk: int) -> None:
    found = Host.objects.select_related("environment").get(pk=pk)
    record(
        AnonymousUser(),
        "host.key",
        **about(found),
        detail="its agent made a new key; the old one has ended",
        door=Door.AGENT,
        stranger=f"agent of {found.name}",
    )


def note_lost(pks: list[int], reason: str) -> None:
    """The agents of these hosts are gone: their rows are unknown from now on, unless they are so already."""
    with transaction.atomic():
        rows = Host.objects.filter(pk__in=pks)
        rows.update(tunnel_up=False)
        rows.exclude(state=HostState.UNREACHABLE).update(
            state=HostState.UNREACHABLE, state_since=timezone.now(), state_reason=reason[:300]
        )
        publish("hosts", "containers", "images", *(f"host.{pk}" for pk in pks))
