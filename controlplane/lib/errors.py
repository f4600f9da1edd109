"""The errors Gantry raises on purpose, and the HTTP status of each.

    GantryError
    ├── InvalidArgument   400  what was given cannot be right
    ├── Forbidden         403  seen, but not allowed
    │   └── Refused            refused by us, which is audited
    │       ├── RightMissing       names the verb that is lacking
    │       └── Withheld           for another reason
    ├── NotFound          404  not there, or not there for you
    ├── Conflict          409  right in itself, but not in the present state
    ├── NotModified       304  already so
    ├── Unavailable       503  a host or a service does not answer
    │   └── Lost               it went away in the middle: nobody knows how it ended
    └── Internal          500  our fault

Beside it stands NotSeen, Django's Http404 with what was asked for.

A message says what was expected and what was found; `hint` says what the person can do next.
"""

from __future__ import annotations

from typing import Any

from django.http import Http404


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


class Refused(Forbidden):
    """Refused by us: doing `verb` to `target`. `told` is what the audit trail says of it, or empty."""

    verb = ""
    target: object = None
    told = ""


class RightMissing(Refused):
    """The actor sees the target but lacks `verb` on it. `access` raises it, and whoever finds on a host what that
    cannot know: `images.held`, `images.builds.using`, `containers.held`.
    """

    def __init__(self, verb: str, target: object = None) -> None:
        what = f" on {target}" if target is not None else ""
        super().__init__(
            f"You lack the right “{verb}”{what}.",
            "Ask an administrator for a role that includes it.",
        )
        self.verb = verb
        self.target = target


class Withheld(Refused):
    """Refused for another reason than a right that is missing: a token is too narrow, or a thing somebody else's."""

    def __init__(self, verb: str, message: str, hint: str = "", target: object = None) -> None:
        super().__init__(message, hint)
        self.verb = verb
        self.target = target
        self.told = message


class NotSeen(Http404):
    """Not there, or `verb` on it is not held: the answer is the same.

    `model` and `lookup` say what was asked for, for the audit trail.
    """

    def __init__(self, verb: str, model: Any, lookup: dict[str, Any]) -> None:
        super().__init__("Nothing here, or nothing you may see.")
        self.verb = verb
        self.model = model
        self.lookup = lookup

    @property
    def asked(self) -> str:
        """The values of the lookup, as text."""
        return " ".join(str(value) for value in self.lookup.values())


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
