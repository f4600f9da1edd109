"""The errors Gantry raises on purpose, and the HTTP status of each.

    GantryError
    ├── InvalidArgument   400  what was given cannot be right
    ├── Forbidden         403  seen, but not allowed
    │   └── RightMissing       refused by us: names the verb that is lacking
    ├── NotFound          404  not there, or not there for you
    ├── Conflict          409  right in itself, but not in the present state
    ├── NotModified       304  already so
    ├── Unavailable       503  a host or a service does not answer
    │   └── Lost               it went away in the middle: nobody knows how it ended
    └── Internal          500  our fault

A message says what was expected and what was found; `hint` says what the person can do next.
"""

from __future__ import annotations


class GantryError(Exception):
    """Base of the tree. `message` is for people; `hint` is the next step, or empty."""

    status = 500

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class InvalidArgument(GantryError):
    status = 400


class Forbidden(GantryError):
    status = 403


class RightMissing(Forbidden):
    """The actor sees the target but lacks `verb` on it. Only `access.decide` raises it."""

    def __init__(self, verb: str, target: object = None) -> None:
        what = f" on {target}" if target is not None else ""
        super().__init__(
            f"You lack the right “{verb}”{what}.",
            "Ask an administrator for a role that includes it.",
        )
        self.verb = verb
        self.target = target


class NotFound(GantryError):
    status = 404


class Conflict(GantryError):
    status = 409


class NotModified(GantryError):
    status = 304


class Unavailable(GantryError):
    status = 503


class Lost(Unavailable):
    """Contact broke while the work went on elsewhere. An operation that raises it ends as lost, not as failed."""


class Internal(GantryError):
    status = 500
