"""Telling processes apart by number and start time."""

import signal
from pathlib import Path

from gantry_agent.engine.errors import InvalidArgument

REAL_TIME = {f"RTMIN+{step}": signal.SIGRTMIN + step for step in range(1, 16)}
REAL_TIME |= {f"RTMAX-{step}": signal.SIGRTMAX - step for step in range(1, 15)}
"""Names of real-time signals, each of which is nearer to the end it is counted from (moby, pkg/signal)."""


def start_time(pid: int) -> int:
    """A process's start in clock ticks since boot (proc(5), stat field 22); 0 when there is no such process, or only
    its zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def is_same(pid: int, started: int) -> bool:
    """Whether the process with that number is still the one that started then."""
    return pid > 0 and started > 0 and start_time(pid) == started


def signal_number(text: str) -> int:
    """15, "15", "TERM", "SIGTERM", "RTMIN+3", "RTMAX-1" → its number. Raises InvalidArgument as Docker words it."""
    name = text.strip().upper()
    if name.isdecimal():
        number = int(name)
        if 0 < number <= signal.SIGRTMAX:
            return number
        raise InvalidArgument(f"Invalid signal: {text}")
    name = name.removeprefix("SIG")
    if name in REAL_TIME:
        return REAL_TIME[name]
    try:
        return int(signal.Signals[f"SIG{name}"])
    except KeyError:
        raise InvalidArgument(f"Invalid signal: {text}") from None
