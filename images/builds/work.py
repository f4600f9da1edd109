"""The kinds of operation on builds: build an image, push it."""

from __future__ import annotations

from controlplane.operations.kinds import Kind, OnLoss, register
from controlplane.operations.models import Operation
from images.builds.building import build
from images.builds.models import Build
from images.builds.pushing import push


def _build_of(operation: Operation) -> Build | None:
    return Build.objects.filter(operation=operation).first()


register(
    Kind("image.build", verb="image.build", run=build, on_loss=OnLoss.REPEAT, heavy=True, find_target=_build_of),
)
register(Kind("image.push", verb="image.push", run=push, on_loss=OnLoss.REPEAT, heavy=True))
