"""What happens once a build has made its image."""

from __future__ import annotations

from controlplane.access.decide import allows
from controlplane.operations import actions as operations
from controlplane.operations.actions import Request
from controlplane.operations.models import Operation
from hosts.models import Host
from images.access import place_at
from images.builds import naming
from images.builds.asked import Options
from images.builds.models import Build


def after(build: Build, operation: Operation) -> str:
    """Start the push that was asked for; the reason when not. One that fails leaves the image, and can be retried."""
    options = Options.of_json(build.options)
    actor = operation.asker
    if options.push and build.tags and actor and operation.host:
        places = [place_at(operation.host, tag) for tag in build.tags]
        if not all(allows(actor, "image.push", place) for place in places):  # it may have ended meanwhile
            return f"Not pushed: {operation.actor_name} lacks the right “image.push” by now."
        done = Operation.objects.filter(
            kind="image.push", params__build=build.operation_id, params__image_id=build.image_id
        )
        if not done.exists():
            operations.start(actor, push_request(build, operation.host, options))
    return ""


def push_request(build: Build, host: Host, options: Options) -> Request:
    return Request(
        kind="image.push",
        title=f"Push {build.tags[0]}",
        host=host,
        target=("image", build.tags[0][:300], build.tags[0][:300]),
        params={
            "references": build.tags,
            "logins": options.logins,
            "build": build.operation_id,
            "image_id": build.image_id,
        },
        lane=f"image:{host.pk}:{build.tags[0]}"[:300],
        # It tells of all of them.
        image=naming.filed_under(build.tags) if len(build.tags) == 1 else None,
    )
