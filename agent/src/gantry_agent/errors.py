"""What can go wrong in the agent.

AgentError                 a message for the person at the host, and what to do next
├── NotEnrolled            there is no usable state folder
├── EnrolmentRefused       the control plane said no (its reason is the message)
└── EngineFailure          the engine answered with an error (status, message)
    └── EngineUnreachable  no engine socket, or nobody answers on it (status 503)
"""


class AgentError(Exception):
    """An error with a hint: what the person can do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NotEnrolled(AgentError):
    """The state folder holds no enrolment, or a broken one."""


class EnrolmentRefused(AgentError):
    """The control plane refused the token or could not be trusted."""


class EngineFailure(AgentError):
    """The engine's own refusal: HTTP `status` and its message."""

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.status = status


class EngineUnreachable(EngineFailure):
    """Nobody answers as an engine on this host."""

    def __init__(
        self, message: str, hint: str = "Start the container engine on this host: systemctl start docker"
    ) -> None:
        super().__init__(503, message, hint)
