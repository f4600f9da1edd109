"""Whether a shell that its person left still runs; once it does not, its recording is over."""

from __future__ import annotations

from containers.models import Recording
from containers.recordings import actions, files
from containers.recordings.files import pool
from containers.terminals import HostAway, Terminals
from controlplane.lib.threads import in_thread


async def settle(recording: Recording) -> bool:
    """Close the recording of a shell that its host runs no more; whether it was. A host that is away says nothing."""
    if recording.host is None or await pool(files.is_written, actions.path_of(recording)):
        return False
    async with Terminals(recording.host) as terminals:
        try:
            running = await terminals.running()
        except HostAway:
            return False
    if recording.terminal in running:
        return False
    now = await in_thread(actions.find, recording.terminal)
    return now is not None and now.is_live and await in_thread(actions.close_left, now)
