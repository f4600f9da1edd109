"""`manage.py gateway`: holds the hosts' connections and serves their sockets."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import uvloop
from django.core.management.base import BaseCommand, CommandError

from hosts.gateway.service import serve


class Command(BaseCommand):
    help = "Hold the hosts' outbound connections and turn each into a local Engine API socket."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_until_signal())
        except OSError as exc:
            raise CommandError(f"the gateway cannot listen: {exc}") from exc


async def _until_signal() -> None:
    service = asyncio.create_task(serve())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.cancel)
    try:
        await service
    except asyncio.CancelledError:
        pass
