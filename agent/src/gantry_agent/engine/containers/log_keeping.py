"""Keeping containers' logs within their bounds: a file that has grown too large is set aside, the oldest go."""

import asyncio
import logging
import re
from collections.abc import Callable, Iterable
from contextlib import suppress

from gantry_agent.engine.config import Config
from gantry_agent.engine.errors import InvalidArgument
from gantry_agent.engine.runtime.conmon import Paths, reopen_log

from .log_files import rotate
from .model import Container

log = logging.getLogger(__name__)
INTERVAL = 1.0  # seconds between two looks
UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def bounds(container: Container, config: Config) -> tuple[int, int]:
    """Bytes of a file and number of files, from LogConfig (max-size, max-file) or the engine's configuration.

    Raises InvalidArgument.
    """
    given = (container.host_config.get("LogConfig") or {}).get("Config") or {}
    return size_of(given.get("max-size"), config.log_max_size), number_of(given.get("max-file"), config.log_max_file)


def size_of(text: str | None, default: int) -> int:
    """Bytes of "10m"; "-1" is without bound. Raises InvalidArgument."""
    if not text:
        return default
    if str(text) == "-1":
        return 1 << 62
    match = re.fullmatch(r"(\d{1,15})([bkmg]?)b?", str(text).strip().lower())
    if not match or not int(match[1]):
        raise InvalidArgument(f"invalid value for max-size: {text!r}")
    return int(match[1]) * UNITS[match[2]]


def number_of(text: str | None, default: int) -> int:
    """Raises InvalidArgument."""
    if not text:
        return default
    if not re.fullmatch(r"\d{1,6}", str(text)) or not int(text):
        raise InvalidArgument(f"invalid value for max-file: {text!r}: at least 1 is needed")
    return int(text)


async def keep(running: Callable[[], Iterable[Container]], paths: Callable[[Container], Paths], config: Config) -> None:
    """Look after the logs of running containers, for ever. One that has died grows no more."""
    while True:
        await asyncio.sleep(INTERVAL)
        for container in running():
            with suppress(InvalidArgument):
                look(paths(container), *bounds(container, config))


def look(paths: Paths, most: int, files: int) -> None:
    """Set a log aside when it is larger than `most` bytes; `files` are kept in all."""
    assert paths.log is not None
    try:
        if paths.log.stat().st_size <= most:
            return
        rotate(paths.log, files - 1)
        reopen_log(paths)
    except OSError as exc:  # conmon ends just now, or the disk is full: the next look tries again
        log.debug("the log %s could not be set aside: %s", paths.log, exc)
