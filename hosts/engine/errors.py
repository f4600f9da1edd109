"""What can go wrong between us and a host's engine.

    GantryError (controlplane.lib.errors)
    ├── EngineError           the engine answered with an error: `.status`, its own words in `.message`
    │   ├── EngineInvalidArgument   also InvalidArgument
    │   ├── EngineForbidden         also Forbidden
    │   ├── EngineNotFound          also NotFound
    │   ├── EngineConflict          also Conflict
    │   ├── EngineNotModified       also NotModified (304: already started, already stopped)
    │   ├── EngineUnavailable       also Unavailable (502–504: the gateway, the agent, or swarm mode)
    │   └── EngineInternal          also Internal: every other status
    ├── EngineUnreachable     also Unavailable: no connection, or it broke
    │   └── EngineTimeout           connected, but no answer in time
    └── EngineProtocolError   also Internal: garbage, or more than we are ready to read

So callers may catch by kind (`except NotFound`) or by origin (`except EngineError`). For people, pass
any of them through `hosts.engine.explain.explain`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from controlplane.lib.errors import (
    Conflict,
    Forbidden,
    GantryError,
    Internal,
    InvalidArgument,
    NotFound,
    NotModified,
    Unavailable,
)

LONGEST_MESSAGE = 4000
"""Characters kept of an engine's message: it may quote anything, and it goes to the database."""


class EngineError(GantryError):
    """The engine's own refusal. `cause` is Podman's sentinel error behind the message, or empty."""

    def __init__(self, status: int, message: str, cause: str = "") -> None:
        GantryError.__init__(self, plain(message) or f"The engine answered with status {status}.")
        self.status = status
        self.cause = cause


class EngineInvalidArgument(EngineError, InvalidArgument):
    """400: what was asked cannot be right."""


class EngineForbidden(EngineError, Forbidden):
    """401, 403: the engine does not let us."""


class EngineNotFound(EngineError, NotFound):
    """404: no such container, image, volume …"""


class EngineConflict(EngineError, Conflict):
    """409: right in itself, but not in the present state."""


class EngineNotModified(EngineError, NotModified):
    """304: it is so already."""


class EngineUnavailable(EngineError, Unavailable):
    """502, 503, 504: what stands between us and the engine answered in its place."""


class EngineInternal(EngineError, Internal):
    """500 and whatever else: Docker and Podman answer many mistakes of the caller like this."""


class EngineUnreachable(Unavailable):
    """Nobody answers on the host's socket, or the connection broke before the answer was complete."""


class EngineTimeout(EngineUnreachable):
    """The engine took the request and did not answer in time."""


class EngineProtocolError(Internal):
    """The answer is not what the Engine API says, or larger than we are ready to hold."""

    status = 502


_KINDS: Mapping[int, type[EngineError]] = {
    304: EngineNotModified,
    400: EngineInvalidArgument,
    401: EngineForbidden,
    403: EngineForbidden,
    404: EngineNotFound,
    409: EngineConflict,
    502: EngineUnavailable,
    503: EngineUnavailable,
    504: EngineUnavailable,
}

# Podman's compat API answers 500 where Docker answers 400, 404 or 409, but names its sentinel error
# (containers/podman libpod/define/errors.go, containers/storage errors.go) in a field of its own.
_CAUSES: Mapping[str, type[EngineError]] = {
    "invalid argument": EngineInvalidArgument,
    "invalid syntax": EngineInvalidArgument,
    "that name is already in use": EngineConflict,
    "container already exists": EngineConflict,
    "container state improper": EngineConflict,
    "image is in use by a container": EngineConflict,
    "network not found": EngineNotFound,
    "no such container": EngineNotFound,
    "image not known": EngineNotFound,
}


def engine_error(status: int, message: str, cause: str = "") -> EngineError:
    """The EngineError of the kind that fits the status, or Podman's cause when the status says nothing."""
    kind = _KINDS.get(status) or _CAUSES.get(cause) or EngineInternal
    return kind(status, message, cause)


def error_of_body(status: int, body: bytes) -> EngineError:
    """The EngineError of an error answer: ``{"message": …}``, for Podman with ``cause``, else plain text."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = body.decode(errors="replace")
    if isinstance(answer, dict):
        message = answer.get("message") or answer.get("error") or ""
        return engine_error(status, str(message), str(answer.get("cause") or ""))
    return engine_error(status, answer if isinstance(answer, str) else "")


def raise_for_message(message: Mapping[str, Any]) -> None:
    """Raise EngineError when a progress message of a pull, push, build or load is an error.

    ``{"errorDetail": {"code": 1, "message": …}, "error": …}``: it comes with HTTP status 200, hence
    status 500.
    """
    detail = message.get("errorDetail")
    text = detail.get("message") if isinstance(detail, dict) else None
    if text := text or message.get("error"):
        raise engine_error(500, str(text))


def plain(message: str) -> str:
    """An engine's words on one line without control characters, at most LONGEST_MESSAGE characters."""
    line = " ".join(message[: 2 * LONGEST_MESSAGE].split())
    line = "".join(c for c in line if c.isprintable())
    return line if len(line) <= LONGEST_MESSAGE else f"{line[: LONGEST_MESSAGE - 1]}…"
