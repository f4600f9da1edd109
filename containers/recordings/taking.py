"""A recording's cast, for whoever may have it: replayed, downloaded, fetched by a script."""

from __future__ import annotations

from collections.abc import AsyncIterator

from containers.logs import download_name
from containers.models import Recording
from containers.recordings import files
from containers.recordings.actions import path_of
from containers.recordings.files import pool
from controlplane.lib.errors import Conflict, Unavailable

CHUNK = 256 * 1024  # bytes that are read at once


def require_over(recording: Recording) -> None:
    """Raises Conflict while its shell is open: whoever is in it sees who watches."""
    if recording.is_live:
        raise Conflict("This recording is still being written.", "Watch the shell live, or wait for its end.")


def complete_size(recording: Recording) -> int:
    """Bytes of its cast that may be read: whole lines. Raises Unavailable."""
    try:
        return files.complete_size(path_of(recording))
    except FileNotFoundError as exc:
        raise Unavailable(
            "The file of this recording is not there.",
            "Every process of Gantry has to see the same GANTRY_HOME/recordings: ask whoever looks after it.",
        ) from exc


async def pieces(recording: Recording, size: int) -> AsyncIterator[bytes]:
    """The first `size` bytes of its cast. Each piece is read when the one before it has been sent."""
    at, path = 0, path_of(recording)
    while at < size and (data := await pool(files.read, path, at, min(CHUNK, size - at))):
        at += len(data)
        yield data


def file_name(recording: Recording) -> str:
    """What a download is called."""
    name = download_name(recording.container_name, f"{recording.started_at:%Y%m%dT%H%M%SZ}")
    return f"{name.removesuffix('.log')}.cast"
