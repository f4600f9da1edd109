"""What happens once a build has made its image."""

from __future__ import annotations

from controlplane.operations import actions as operations
from controlplane.operations.actions import Request
from controlplane.operations.models import Operation
from hosts.models import Host
from images.builds.asked import Options
from images.builds.models import Build


def after(build: Build, operation: Operation) -> None:
    """Start the push that was asked for. Its failure is its own: the image stays, and the push can be retried."""
    options = Options.of_json(build.options)
    if options.push and build.tags and operation.actor and operation.host:
        done = Operation.objects.filter(
            kind="image.push", params__build=build.operation_id, params__image_id=build.image_id
        )
        if not done.exists():
            operations.start(operation.actor, push_request(build, operation.host, options))


def push_request(build: Build, host: Host, options: Options) -> Request:
    names = ", ".join(build.tags)
    return Request(
        kind="image.push",
        title=f"Push {names}",
        host=host,
        target=("image", build.tags[0][:300], build.tags[0][:300]),
        params={
            "references": build.tags,
            "logins": options.logins,
            "build": build.operation_id,
            "image_id": build.image_id,
        },
        lane=f"image:{host.pk}:{build.tags[0]}"[:300],
    )
