"""What is posted to an address, and what that leaves in the audit trail: the rows of test_audit's tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.test import Client

from tests.security.fleet import Fleet


@dataclass
class Change:
    """What is posted to a route, and the entries it leaves: (verb, kind of target, door)."""

    leaves: list[tuple[str, str, str]]
    form: Callable[[Fleet], dict[str, Any]] = lambda fleet: {}
    before: Callable[[Fleet], Any] = lambda fleet: None
    post: Callable[[Client, str, Fleet], Any] | None = None
    answers: tuple[int, ...] = field(default=(200, 201, 202, 204, 302))


def one(verb: str, kind: str, door: str = "page", **more: Any) -> Change:
    return Change([(verb, kind, door)], **more)


def form(**fields: Any) -> Callable[[Fleet], dict[str, Any]]:
    return lambda fleet: {name: value(fleet) if callable(value) else value for name, value in fields.items()}
