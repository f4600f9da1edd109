"""How each state looks: a shape, a tone and a word, the same on every page.

A tone is a colour's meaning (ok, busy, warn, bad, idle), never a colour: static/css/tokens.css has those.
Shape and word say the same as the tone, for whoever sees no colour.
"""

from __future__ import annotations

from typing import NamedTuple


class Look(NamedTuple):
    """One state's look. `shape` names a symbol of static/img/icons.svg; `word` is what is read."""

    shape: str
    tone: str
    word: str


UNKNOWN = Look("s-unknown", "idle", "unknown")

LOOKS: dict[str, dict[str, Look]] = {
    "container": {
        "created": Look("s-created", "idle", "created"),
        "running": Look("s-running", "ok", "running"),
        "paused": Look("s-paused", "warn", "paused"),
        "restarting": Look("s-restarting", "warn", "restarting"),
        "removing": Look("s-removing", "idle", "removing"),
        "exited": Look("s-exited", "idle", "exited"),
        "dead": Look("s-dead", "bad", "dead"),
    },
    "health": {
        "healthy": Look("s-succeeded", "ok", "healthy"),
        "starting": Look("s-busy", "busy", "starting"),
        "unhealthy": Look("s-warning", "bad", "unhealthy"),
    },
    "host": {
        "never": Look("s-never", "idle", "never connected"),
        "connected": Look("s-running", "ok", "connected"),
        "unreachable": Look("s-warning", "bad", "unreachable"),
    },
    "operation": {
        "queued": Look("s-queued", "idle", "queued"),
        "running": Look("s-busy", "busy", "running"),
        "succeeded": Look("s-succeeded", "ok", "succeeded"),
        "failed": Look("s-dead", "bad", "failed"),
        "cancelled": Look("s-cancelled", "idle", "cancelled"),
        "lost": Look("s-unknown", "warn", "lost"),
    },
    "step": {  # of a build, and its stages; static/js/builds/output/section.js has the same
        "waiting": Look("s-queued", "idle", "waiting"),
        "running": Look("s-busy", "busy", "running"),
        "cached": Look("s-cached", "idle", "cached"),
        "built": Look("s-succeeded", "ok", "built"),
        "failed": Look("s-dead", "bad", "failed"),
        "cancelled": Look("s-cancelled", "idle", "cancelled"),
    },
    "recording": {
        "live": Look("s-running", "ok", "live"),
        "exited": Look("s-exited", "idle", "ended"),
        "closed": Look("s-exited", "idle", "closed"),
        "stopped": Look("s-exited", "idle", "container stopped"),
        "lost": Look("s-unknown", "warn", "engine lost"),
        "right": Look("s-cancelled", "warn", "right ended"),
        "left": Look("s-exited", "idle", "left"),
        "cut": Look("s-warning", "warn", "cut"),
        "full": Look("s-warning", "warn", "reached its limit"),
        "failed": Look("s-dead", "bad", "not written"),
    },
    "outcome": {
        "allowed": Look("s-succeeded", "ok", "allowed"),
        "refused": Look("s-cancelled", "warn", "refused"),
        "missing": Look("s-unknown", "idle", "not there"),
        "failed": Look("s-dead", "bad", "failed"),
    },
    "token": {
        "live": Look("s-succeeded", "ok", "good"),
        "expired": Look("s-exited", "idle", "expired"),
        "revoked": Look("s-cancelled", "idle", "revoked"),
    },
}


def look(kind: str, state: str) -> Look:
    """The look of a state; an unheard-of state keeps its own word under the sign for unknown."""
    known = LOOKS.get(kind, {}).get(state)
    if known is not None:
        return known
    return UNKNOWN._replace(word=state or UNKNOWN.word)


def exited(code: int | None) -> Look:
    """A stopped container: only an exit code that is not 0 calls for attention."""
    if code is None:
        return LOOKS["container"]["exited"]
    return Look("s-exited", "bad" if code else "idle", f"exited ({code})")
