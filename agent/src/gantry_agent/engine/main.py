"""`gantry-agent engine`: serve the Docker Engine API on a unix socket until a signal."""

import asyncio
import logging
import os
import signal
import socket
from pathlib import Path

from aiohttp import web

from .api.app import make_app
from .config import Config
from .core import Engine
from .errors import Conflict, Forbidden
from .layout import Layout

log = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT = 2.0  # seconds streams get to end; containers are not touched
MAX_LINE = 64 << 10  # bytes of a request line or a header: registry credentials and filters travel there


async def run(root: Path, socket_path: Path, config: Config, run_folder: Path | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Raises Forbidden without root, Conflict when another engine holds the socket."""
    if os.geteuid() != 0:
        raise Forbidden("the native engine needs root: it mounts layers and makes namespaces. Start it with sudo.")
    listener = _listen(socket_path)
    engine = Engine(Layout.at(root, run_folder), config)
    await engine.open()
    runner = web.AppRunner(
        make_app(engine),
        access_log=None,
        shutdown_timeout=SHUTDOWN_TIMEOUT,
        max_line_size=MAX_LINE,
        max_field_size=MAX_LINE,
        auto_decompress=False,
    )
    await runner.setup()
    await web.SockSite(runner, listener).start()
    log.info("the native engine serves %s on %s", root, socket_path)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    try:
        await stopping.wait()
    finally:
        await runner.cleanup()
        await engine.close()
        socket_path.unlink(missing_ok=True)


def _listen(path: Path) -> socket.socket:
    """The socket, mode 0600; one left by a dead engine is replaced. Raises Conflict when somebody answers there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    probe = socket.socket(socket.AF_UNIX)
    try:
        probe.connect(str(path))
        raise Conflict(f"another engine answers on {path}; stop it or choose another --socket")
    except (FileNotFoundError, ConnectionRefusedError):
        path.unlink(missing_ok=True)
    finally:
        probe.close()
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    return listener
