"""The gateway as one of Gantry's parts: the server, orders from pages, the heart-beat, the agent's wheels."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
import ssl
import threading
from pathlib import Path
from typing import Any

import redis.asyncio
from django.conf import settings
from redis.exceptions import RedisError

from controlplane.lib import parts
from controlplane.lib.cancelling import heed
from hosts import wheels
from hosts.gateway.database import DatabaseDirectory
from hosts.gateway.server import Gateway
from hosts.gateway_orders import CHANNEL

log = logging.getLogger(__name__)


async def serve() -> None:
    """Run until cancelled. Raises OSError when the address is taken."""
    allow_many_files()
    directory = DatabaseDirectory()
    gateway = Gateway(directory, Path(settings.HOSTS_DIR))
    host, _, port = settings.GANTRY_GATEWAY_LISTEN.rpartition(":")
    await gateway.start(host.strip("[]"), int(port), server_tls())
    log.info("listening on %s, sockets in %s", settings.GANTRY_GATEWAY_LISTEN, settings.HOSTS_DIR)
    # A daemon thread: a download must not hold up the end of the process.
    threading.Thread(target=wheels.ensure_collected, name="wheels", daemon=True).start()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(gateway.run())
            group.create_task(parts.beating("gateway"))
            group.create_task(hear_orders(gateway))
    finally:
        directory.close()


def server_tls() -> ssl.SSLContext | None:
    """The context of the certificate that `--tls` names, or None. Raises OSError, ssl.SSLError."""
    if not settings.TLS_CERT:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.TLS_CERT, settings.TLS_KEY)
    return context


async def hear_orders(gateway: Gateway) -> None:
    """Act at once on what the recheck of the database would find within seconds."""
    while True:
        try:
            async with redis.asyncio.Redis.from_url(settings.REDIS_URL) as client:
                pubsub = client.pubsub()
                await pubsub.subscribe(CHANNEL)
                heed()
                async for message in pubsub.listen():
                    if message["type"] == "message":
                        await obey(gateway, json.loads(message["data"]))
        except (RedisError, OSError, ValueError) as exc:
            log.info("orders not heard: %s", exc)
            heed()
            await asyncio.sleep(1)


async def obey(gateway: Gateway, order: dict[str, Any]) -> None:
    host = str(order.get("host"))
    if order.get("order") == "removed":
        await gateway.drop(host, "removed")
    elif order.get("order") == "rotate":
        await gateway.rotate(host)


def allow_many_files() -> None:
    """Each stream takes two descriptors: raise the soft limit to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
