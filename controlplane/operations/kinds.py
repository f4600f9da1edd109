"""The kinds of operation there are. Apps register theirs from their `work` module."""

from __future__ import annotations

import enum
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from controlplane.access.reach import Place

if TYPE_CHECKING:
    from controlplane.access.decide import Target
    from controlplane.operations.models import Operation
    from controlplane.operations.runner import Work


def subject(operation: Operation) -> Place:
    """Where what `operation` is about lies. Not where it lies itself: that one has asked for it gives no right."""
    name, host = operation.image_name, operation.host
    return Place(
        environment=host.environment_id if host else None,
        names=((name.repository, name.tag),) if name else (),
        any_image=not operation.image_name_id and operation.target_kind not in ("image", "container", "build"),
        label=operation.target_name,
    )


class OnLoss(enum.Enum):
    """What to do with an operation whose worker died under it."""

    REPEAT = "repeat"  # doing it again leads to the same end
    GIVE_UP = "give up"  # doing it again might do it twice: mark it lost and say so


@dataclass(frozen=True)
class Kind:
    """One kind of operation.

    `verb`: what access it takes (asked again when a worker begins it, and when it is retried). `run`: does the work,
    raises GantryError. `heavy`: counts against the host's limit of such operations at once. `cancel_note`: empty when
    cancelling stops the work on the host; otherwise why a running one cannot be cancelled. `find_target`: what `verb`
    is asked on then; `find_all`: the same where it is about several things. `personal`: those of its params that are of
    whoever asked, and not for somebody else who has it done again.
    """

    name: str
    verb: str
    run: Callable[[Work], Coroutine[Any, Any, None]]
    on_loss: OnLoss = OnLoss.GIVE_UP
    heavy: bool = False
    cancel_note: str = ""
    find_target: Callable[[Operation], Target] = subject
    find_all: Callable[[Operation], Sequence[Target]] | None = None
    personal: tuple[str, ...] = ()

    def targets(self, operation: Operation) -> Sequence[Target]:
        """Everything that `verb` is asked on."""
        return self.find_all(operation) if self.find_all else [self.find_target(operation)]


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
