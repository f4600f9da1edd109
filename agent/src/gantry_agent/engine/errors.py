"""What can go wrong in the native engine, by kind. `api/app.py` maps a kind to its HTTP status, as Docker does.

EngineError             a message that says what was expected, what was found and what to do
├── InvalidArgument     400: the request itself is wrong
├── Unauthorized        401: a registry refused the credentials
├── Forbidden           403: this engine does not allow it
├── NotFound            404: no such image, container, network or volume
├── Conflict            409: the state of things forbids it: in use, not running, name taken
├── NotModified         304: already so (started, stopped)
├── Internal            500: a part below failed (runtime, kernel, disk)
│   └── Corrupt         500: stored content is not what its digest says
├── Unsupported         501: Docker has it, this engine does not; the message names it
└── Unavailable         503: a registry or a part cannot be reached now
"""

import errno

FULL = (errno.ENOSPC, errno.EDQUOT)


class EngineError(Exception):
    """The base: never raised itself."""

    status = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidArgument(EngineError):
    """The request itself is wrong."""

    status = 400


class Unauthorized(EngineError):
    """A registry refused the credentials."""

    status = 401


class Forbidden(EngineError):
    """This engine does not allow it."""

    status = 403


class NotFound(EngineError):
    """There is no such thing."""

    status = 404


class Conflict(EngineError):
    """The state of things forbids it."""

    status = 409


class NotModified(EngineError):
    """It is so already."""

    status = 304


class Internal(EngineError):
    """A part below failed."""


class Corrupt(Internal):
    """Stored or received content is not what its digest says."""


class Unsupported(EngineError):
    """Docker's API has it, this engine does not."""

    status = 501


class Unavailable(EngineError):
    """Something this depends on cannot be reached now."""

    status = 503


def told(failure: Exception) -> str:
    """What a client hears of an error that no part expected: a full disk by its name, else where to look."""
    if isinstance(failure, OSError) and failure.errno in FULL:
        return f"the host's disk is full: {failure.strerror or failure}"
    return "the engine failed; its log says where"
