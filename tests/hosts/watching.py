"""A follower running beside a test, on a host whose socket is a real engine's (or a liar's)."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asgiref.sync import async_to_sync

from hosts.models import Host
from hosts.watch.follower import HostFollower


def host_at(socket: Path, name: str) -> Host:
    """A connected host whose engine answers at `socket`: the gateway's part is done by a link."""
    host = Host.objects.create(name=name, public_key="test", tunnel_up=True)
    host.engine_socket.unlink(missing_ok=True)
    os.symlink(socket, host.engine_socket)
    return host


@contextmanager
def following(host: Host) -> Iterator[HostFollower]:
    """Runs a follower of `host` in a thread with its own loop; stopped at the end of the block."""
    follower = HostFollower(host)
    ready = threading.Event()
    state: dict[str, asyncio.AbstractEventLoop | asyncio.Task[None]] = {}

    async def run() -> None:
        state["loop"] = asyncio.get_running_loop()
        state["task"] = asyncio.ensure_future(follower.run())
        ready.set()
        try:
            await state["task"]
        except asyncio.CancelledError:
            pass

    def body() -> None:
        from django.db import connection

        try:
            async_to_sync(run)()
        finally:
            connection.close()

    thread = threading.Thread(target=body)
    thread.start()
    ready.wait(10)
    try:
        yield follower
    finally:
        loop, task = state["loop"], state["task"]
        assert isinstance(loop, asyncio.AbstractEventLoop)
        assert isinstance(task, asyncio.Task)
        loop.call_soon_threadsafe(task.cancel)
        thread.join(20)
        assert not thread.is_alive()
