"""The kinds of operation on builds: build an image, push it."""

from __future__ import annotations

from dataclasses import replace

from controlplane.access.reach import Place
from controlplane.operations.kinds import Kind, OnLoss, register, subject
from controlplane.operations.models import Operation
from images.access import place_at
from images.builds.building import build
from images.builds.models import Build
from images.builds.pushing import push


def _build_of(operation: Operation) -> Build | Place:
    """It is its asker's own, before its row is there as after."""
    own = replace(subject(operation), owner=operation.actor_id, token=operation.token_id)
    return Build.objects.filter(operation=operation).first() or own


def _pushed(operation: Operation) -> list[Place]:
    """Every name that it pushes."""
    host, names = operation.host, operation.params.get("references", [])
    return [place_at(host, each) for each in names] if host and names else [subject(operation)]


register(
    Kind("image.build", verb="image.build", run=build, on_loss=OnLoss.REPEAT, heavy=True, find_target=_build_of),
)
register(Kind("image.push", verb="image.push", run=push, on_loss=OnLoss.REPEAT, heavy=True, find_all=_pushed))
