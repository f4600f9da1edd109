"""What is asked of an engine's log, and what is said when it ends. Pure: no engine, no browser."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from controlplane.lib.errors import InvalidArgument

DEFAULT_TAIL = "500"
MOST_TAIL = 1_000_000

# Seconds since 1970 with up to nanoseconds: the engine's own spelling, and what a resuming page sends back.
_MOMENT = re.compile(r"\d{1,12}(\.\d{1,9})?")


@dataclass(frozen=True)
class LogQuery:
    """`tail`: "all" or a number of lines; `since`: seconds since 1970 or ""; at least one stream is on."""

    tail: str = DEFAULT_TAIL
    since: str = ""
    follow: bool = True
    timestamps: bool = True
    stdout: bool = True
    stderr: bool = True

    @classmethod
    def parse(cls, query_string: str, *, tail: str = DEFAULT_TAIL, timestamps: bool = True) -> LogQuery:
        """From `tail=500&since=1763664000.5&follow=1&stdout=1&stderr=0`. Raises InvalidArgument."""
        given = {name: values[-1] for name, values in parse_qs(query_string).items()}
        query = cls(
            tail=_tail(given.get("tail", tail)),
            since=_since(given.get("since", "")),
            follow=_flag(given, "follow", True),
            timestamps=_flag(given, "timestamps", timestamps),
            stdout=_flag(given, "stdout", True),
            stderr=_flag(given, "stderr", True),
        )
        if not query.stdout and not query.stderr:
            raise InvalidArgument("Expected stdout, stderr or both; found neither.")
        return query

    def __str__(self) -> str:
        """In words, for the audit trail."""
        lines = "all lines" if self.tail == "all" else f"the last {self.tail} lines"
        since = f" since {self.since}" if self.since else ""
        alone = "" if self.stdout and self.stderr else " of stdout" if self.stdout else " of stderr"
        return f"{lines}{since}{alone}"

    def parameters(self) -> dict[str, Any]:
        """As the Engine API's ContainerLogs takes them."""
        return {
            "follow": self.follow,
            "stdout": self.stdout,
            "stderr": self.stderr,
            "timestamps": self.timestamps,
            "tail": self.tail,
            "since": self.since or None,
        }


def _tail(value: str) -> str:
    if value == "all" or (value.isascii() and value.isdecimal() and int(value[:9]) <= MOST_TAIL):
        return value
    raise InvalidArgument(f"Expected tail to be “all” or a number up to {MOST_TAIL}, found “{value[:40]}”.")


def _since(value: str) -> str:
    if not value or (value.isascii() and _MOMENT.fullmatch(value)):
        return value
    raise InvalidArgument(f"Expected since to be seconds since 1970, found “{value[:40]}”.")


def _flag(given: dict[str, str], name: str, default: bool) -> bool:
    value = given.get(name)
    if value is None:
        return default
    if value not in ("0", "1"):
        raise InvalidArgument(f"Expected {name} to be 0 or 1, found “{value[:40]}”.")
    return value == "1"


def opening(inspection: dict[str, Any]) -> dict[str, Any]:
    """The message for a log that begins. With a TTY it comes without frames, both streams as one."""
    return {"type": "opened", "tty": has_terminal(inspection), "running": bool(_state(inspection).get("Running"))}


def ending(inspection: dict[str, Any]) -> dict[str, Any]:
    """The message for a log that ended: whether the container runs (again), else how and when it stopped."""
    state = _state(inspection)
    code = state.get("ExitCode")
    return {
        "type": "ended",
        "running": bool(state.get("Running")),
        "state": str(state.get("Status", ""))[:40],
        "exit_code": code if isinstance(code, int) else None,
        "finished_at": str(state.get("FinishedAt", ""))[:40],
    }


def _state(inspection: dict[str, Any]) -> dict[str, Any]:
    """An engine's answer is not to be trusted in its shape: what is missing or odd is left out."""
    state = inspection.get("State")
    return state if isinstance(state, dict) else {}


def has_terminal(inspection: dict[str, Any]) -> bool:
    """Whether the container has a TTY."""
    config = inspection.get("Config")
    return bool(isinstance(config, dict) and config.get("Tty"))


def download_name(container_name: str, moment: str) -> str:
    """A file name of safe characters for the log of a container, as of `moment` (any text)."""
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{container_name}-{moment}").strip("-.")
    return f"{safe or 'container'}.log"
