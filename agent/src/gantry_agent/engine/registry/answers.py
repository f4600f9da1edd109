"""What a registry answers when it refuses, as errors of this engine.

Registries say `{"errors": [{"code": "MANIFEST_UNKNOWN", "message": …}]}`; Docker shows that as
"manifest unknown: message", and so do we.
"""

import json

from gantry_agent.engine.errors import (
    EngineError,
    Forbidden,
    Internal,
    InvalidArgument,
    NotFound,
    Unauthorized,
    Unavailable,
)

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""
MAX_SHOWN = 500  # characters of a registry's own words

_KINDS: dict[str, type[EngineError]] = {
    "UNAUTHORIZED": Unauthorized,
    "DENIED": Forbidden,
    "NAME_UNKNOWN": NotFound,
    "MANIFEST_UNKNOWN": NotFound,
    "BLOB_UNKNOWN": NotFound,
    "TOOMANYREQUESTS": Unavailable,
}
_STATUSES: dict[int, type[EngineError]] = {
    400: InvalidArgument,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    429: Unavailable,
}

_WORDS = {401: "unauthorized: authentication required", 403: "denied: requested access to the resource is denied"}
"""For answers to HEAD, which have no body."""


class NameUnknown(NotFound):
    """The registry knows no such repository, as opposed to no such tag in it."""


class Unreachable(Unavailable):
    """No answer: refused, unresolved, cut, timed out, or an untrusted certificate."""


class Misled(Internal):
    """A registry sent us where we do not go; asking again changes nothing."""


def error_of(status: int, body: bytes, what: str) -> EngineError:
    """The error an answer stands for. `what` was asked: "GET http://…"."""
    code, message = _first(body)
    kind = NameUnknown if code == "NAME_UNKNOWN" else _KINDS.get(code) or _STATUSES.get(status)
    if kind is None:
        kind = Unavailable if status in RETRIED else Internal
    if code:
        return kind(f"{code.lower().replace('_', ' ')}: {message or 'no reason given'}"[:MAX_SHOWN])
    if not body and status in _WORDS:
        return kind(_WORDS[status])
    words = body.decode(errors="replace").strip()[:MAX_SHOWN]
    return kind(f"unexpected status from {what}: {status} {words}".strip())


def _first(body: bytes) -> tuple[str, str]:
    """Code and message of the first error of a registry's answer, or of a token server's {"details": …}."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    errors = found.get("errors") if isinstance(found, dict) else None
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        return str(errors[0].get("code") or "").upper(), str(errors[0].get("message") or "")
    if isinstance(found, dict) and (said := found.get("details") or found.get("error_description")):
        return "UNAUTHORIZED", str(said)
    return "", ""
