"""`gantry-agent engine`: serve the Docker Engine API on a unix socket until a signal."""

import asyncio
import fcntl
import logging
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from aiohttp import web

from .api.app import make_app
from .config import Config
from .core import Engine
from .errors import Conflict, Forbidden
from .layout import Layout

log = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT = 2.0  # seconds streams get to end; containers are not touched
THREADS = 32
UMASK = 0o022  # whoever starts the engine: containers' roots are made with it, and others than root read in them
LOCK_PATIENCE = 5.0  # seconds for a killed engine's last children to let go of the root
MAX_LINE = 64 << 10  # bytes of a request line or a header: registry credentials and filters travel there


async def run(root: Path, socket_path: Path, config: Config, run_folder: Path | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Raises Forbidden without root, Conflict when another engine is there."""
    if os.geteuid() != 0:
        raise Forbidden("the native engine needs root: it mounts layers and makes namespaces. Start it with sudo.")
    os.umask(UMASK)
    layout = Layout.at(root, run_folder)
    lock = await _hold(layout.root)
    listener = _listen(socket_path)
    # Python's default of a few threads is soon taken by pulls that wait for the disk; an exec must not queue behind.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "engine"))
    engine = Engine(layout, config)
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
        lock.close()


async def _hold(root: Path) -> IO[bytes]:
    """Take the root for this process alone: two engines on one store would undo each other's work.

    Closing the file lets it go; so does death. Raises Conflict.
    """
    root.mkdir(mode=0o711, parents=True, exist_ok=True)
    lock = (root / "lock").open("wb")
    try:
        async with asyncio.timeout(LOCK_PATIENCE):
            while not _locked(lock):  # noqa: ASYNC110 - flock(2) tells nobody when it is free
                await asyncio.sleep(0.02)
    except TimeoutError as exc:
        lock.close()
        raise Conflict(f"another engine uses {root}; stop it or choose another --root") from exc
    return lock


def _locked(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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
