"""Tells the directory what became of hosts: in order, again after failures, never in the way of bytes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from hosts.gateway.directory import Directory

log = logging.getLogger(__name__)

SEEN_EVERY = 5.0  # seconds
RETRY = 1.0  # seconds


class Herald:
    """Only a host's newest state is told: a directory that was away for a minute hears no history."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.news: dict[str, tuple[bool, str]] = {}
        self.wake = asyncio.Event()

    def connected(self, host: str, agent_version: str) -> None:
        self._put(host, True, agent_version)

    def disconnected(self, host: str, reason: str) -> None:
        self._put(host, False, reason)

    def _put(self, host: str, is_connected: bool, detail: str) -> None:
        self.news.pop(host, None)
        self.news[host] = (is_connected, detail)
        self.wake.set()

    async def run(self, present: Callable[[], Iterable[str]]) -> None:
        """Tell until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell())
            group.create_task(self._tell_seen(present))

    async def _tell(self) -> None:
        while True:
            await self.wake.wait()
            self.wake.clear()
            while self.news:
                host, (is_connected, detail) = next(iter(self.news.items()))
                try:
                    if is_connected:
                        await self.directory.connected(host, detail)
                    else:
                        await self.directory.disconnected(host, detail)
                except OSError as exc:
                    log.warning("the state of host %s is not noted yet: %s", host, exc)
                    await asyncio.sleep(RETRY)
                    continue
                if self.news.get(host) == (is_connected, detail):
                    del self.news[host]

    async def _tell_seen(self, present: Callable[[], Iterable[str]]) -> None:
        while True:
            await asyncio.sleep(SEEN_EVERY)
            hosts = list(present())
            try:
                if hosts:
                    await self.directory.seen(hosts)
                await self.directory.lost(hosts)
            except OSError as exc:
                log.warning("last contact of %d hosts is not noted: %s", len(hosts), exc)
