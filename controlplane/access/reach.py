"""Where an object lies in the space that grants cut up: its environment, the names of its image, its owner.

A model says so once, by lookups from its rows; the decision on one object follows them in Python, the one on a table
in SQL:

    class Container(models.Model):
        reach = Reach(environment="host__environment", name="image_name")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Model


@dataclass(frozen=True)
class Reach:
    """Lookups from a row; empty where there is none.

    `environment`: to its Environment. Without one the row lies in no environment: only a grant over every one
    reaches it. `name`: to its ImageName; null there: an image without a name. `any_image`: a row that is of no
    image, so that a grant over some images reaches it (a host). `owner`: to the user whose own it is, who keeps the
    verbs they hold anywhere; `token`: to the token by which they asked for it, which keeps them likewise. `many`:
    `name` leads to several rows, one of which suffices.
    """

    environment: str = ""
    name: str = ""
    any_image: bool = False
    owner: str = ""
    token: str = ""
    many: bool = False


@dataclass(frozen=True)
class Place:
    """One object's place. `names`: (full repository, tag) of its image, any of which suffices; empty: no name."""

    environment: int | None = None
    names: tuple[tuple[str, str], ...] = ()
    any_image: bool = False
    owner: int | None = None
    token: int | None = None
    label: str = ""

    def __str__(self) -> str:
        return self.label


NOWHERE = Reach()


def reach_of(model: type[Model]) -> Reach:
    """What `model` says of itself; one that says nothing is reached by grants over everything alone."""
    return getattr(model, "reach", NOWHERE)


def place_of(target: Model | Place) -> Place:
    """Where `target` lies."""
    if isinstance(target, Place):
        return target
    reach = reach_of(type(target))
    return Place(
        environment=_follow_id(target, reach.environment),
        names=_names(target, reach),
        any_image=reach.any_image,
        owner=_follow_id(target, reach.owner),
        token=_follow_id(target, reach.token),
    )


def environment_of(target: Model) -> Model | None:
    """The environment `target` lies in, as a row; None where there is none."""
    path = reach_of(type(target)).environment
    found: Model | None = target if path == "pk" else _follow(target, path) if path else None
    return found


def _names(target: Model, reach: Reach) -> tuple[tuple[str, str], ...]:
    if not reach.name:
        return ()
    if reach.many:
        first, _, rest = reach.name.partition("__")
        found = [_follow(row, rest) for row in getattr(target, first).select_related(rest)]
    else:
        found = [_follow(target, reach.name)]
    return tuple((name.repository, name.tag) for name in found if name is not None)


def _follow(start: Any, path: str) -> Any:
    for step in path.split("__"):
        start = None if start is None else getattr(start, step)
    return start


def _follow_id(target: Model, path: str) -> int | None:
    """The key at the end of `path`; the last row itself is not fetched."""
    if not path:
        return None
    if path == "pk":
        return target.pk
    *steps, last = path.split("__")
    start: Any = _follow(target, "__".join(steps)) if steps else target
    return None if start is None else getattr(start, f"{last}_id")
