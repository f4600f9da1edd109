"""`manage.py watch`: keeps the mirror of every host true."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from django.core.management.base import BaseCommand

from controlplane.lib import parts
from hosts.watch.service import Watch


class Command(BaseCommand):
    help = "Follow every connected host and keep its rows in the database true."
    requires_system_checks = []  # as in controlplane/supervisor/parts.py

    def handle(self, *args: Any, **options: Any) -> None:
        asyncio.run(_run())


async def _run() -> None:
    service = asyncio.create_task(Watch().run())
    heart = asyncio.create_task(parts.beating("watch"))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.cancel)
    try:
        await service
    except asyncio.CancelledError:
        pass
    finally:
        heart.cancel()
