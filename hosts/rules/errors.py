"""The refusal that a broken rule leads to."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.lib.errors import Refused
from hosts.models import Host
from hosts.rules.facts import Violation


class RulesBroken(Refused):
    """What is asked for breaks rules of the host's environment. `violations` says which, each in one line."""

    def __init__(self, verb: str, host: Host, violations: Sequence[Violation], what: str = "") -> None:
        self.where = str(host.environment) if host.environment else host.name
        self.told = " ".join(map(str, violations))
        super().__init__(
            f"The rules of {self.where} do not allow {what or 'that'}. {self.told}",
            "Change what is asked for, or ask whoever manages the rules there.",
        )
        self.verb = verb
        self.target = host
        self.violations = list(violations)


def refuse(verb: str, host: Host, violations: Sequence[Violation], what: str = "") -> None:
    """Raise RulesBroken unless there are none. It reads the environment's name: not on an event loop."""
    if violations:
        raise RulesBroken(verb, host, violations, what)
