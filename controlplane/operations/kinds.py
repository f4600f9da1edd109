"""The kinds of operation there are. Apps register theirs from their `work` module."""

from __future__ import annotations

import enum
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import Model

if TYPE_CHECKING:
    from controlplane.operations.models import Operation
    from controlplane.operations.runner import Work


class OnLoss(enum.Enum):
    """What to do with an operation whose worker died under it."""

    REPEAT = "repeat"  # doing it again leads to the same end
    GIVE_UP = "give up"  # doing it again might do it twice: mark it lost and say so


@dataclass(frozen=True)
class Kind:
    """One kind of operation.

    `verb`: what access it takes (asked again when it is retried). `run`: does the work, raises GantryError.
    `heavy`: counts against the host's limit of such operations at once. `cancel_note`: empty when cancelling
    stops the work on the host; otherwise why a running one cannot be cancelled. `find_target`: the object that
    `verb` is asked on when the operation is retried, or None when it is gone.
    """

    name: str
    verb: str
    run: Callable[[Work], Coroutine[Any, Any, None]]
    on_loss: OnLoss = OnLoss.GIVE_UP
    heavy: bool = False
    cancel_note: str = ""
    find_target: Callable[[Operation], Model | None] = lambda operation: None


_kinds: dict[str, Kind] = {}


def register(kind: Kind) -> Kind:
    if kind.name in _kinds:
        raise ValueError(f"operation kind {kind.name!r} is registered twice")
    _kinds[kind.name] = kind
    return kind


def get(name: str) -> Kind:
    return _kinds[name]


def find(name: str) -> Kind | None:
    return _kinds.get(name)


def heavy_names() -> list[str]:
    return [kind.name for kind in _kinds.values() if kind.heavy]
