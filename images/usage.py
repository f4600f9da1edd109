"""Who uses an image. Containers lie above images in the order of imports, so they register themselves here.

The registered source answers a queryset, not a list: the catalogue counts and filters by use within its own SQL,
in one query, however many rows there are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet

from controlplane.access.decide import Actor

# Its rows have `pk`, `name`, `state`, `host_id` and `image_id` (the engine's id of the image: Image.engine_id),
# and `actor` may see them.
Source = Callable[[Actor], QuerySet[Any]]

_sources: list[Source] = []


def register(source: Source) -> None:
    """Called once, from the `ready` of the app whose rows use images."""
    if _sources:
        raise ValueError("the users of images are registered twice")
    _sources.append(source)


def users(actor: Actor) -> QuerySet[Any]:
    """Everything `actor` may see that uses an image."""
    return _sources[0](actor)
