"""Fetching recordings with permission.

A recording is judged as the container was when it was made: it has that one's environment and name of an image. Whoever
may replay it sees it, whether or not they see such containers; whoever sees those is told which right is missing; for
everybody else there is no recording.
"""

from __future__ import annotations

from django.db.models import QuerySet

from containers.models import Container, Recording
from controlplane.access.decide import Actor, fetch, visible


def _all() -> QuerySet[Recording]:
    return Recording.objects.select_related("host", "environment", "image_name", "container")


def recordings_of(actor: Actor) -> QuerySet[Recording]:
    """Every recording `actor` may replay."""
    return visible(actor, "recording.see", _all())


def get_recording(actor: Actor, pk: int, verb: str = "recording.see") -> Recording:
    """One recording, for `verb`. Raises Http404 and Forbidden as `get_container`."""
    may_replay = recordings_of(actor).filter(pk=pk).exists()
    return fetch(actor, verb, _all(), see="recording.see" if may_replay else "container.see", pk=pk)


def of_container(actor: Actor, container: Container) -> QuerySet[Recording]:
    """What was recorded in one container: by its id on its host, as the mirror's row comes and goes."""
    return recordings_of(actor).filter(host=container.host_id, engine_id=container.engine_id)
