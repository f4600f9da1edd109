"""What happens once a build has made its image."""

from __future__ import annotations

from controlplane.access.decide import allows
from controlplane.operations import actions as operations
from controlplane.operations.actions import Request
from controlplane.operations.models import Operation
from hosts.models import Host
from images.builds.asked import Options
from images.builds.models import Build


def after(build: Build, operation: Operation) -> str:
    """Start the push that was asked for; the reason when not. One that fails leaves the image, and can be retried."""
    options = Options.of_json(build.options)
    if options.push and build.tags and operation.actor and operation.host:
        if not allows(operation.actor, "image.push", operation.host):  # asked at the start too: it may have ended since
            return f"Not pushed: {operation.actor_name} lacks the right “image.push” by now."
        done = Operation.objects.filter(
            kind="image.push", params__build=build.operation_id, params__image_id=build.image_id
        )
        if not done.exists():
            operations.start(operation.actor, push_request(build, operation.host, options))
    return ""


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
