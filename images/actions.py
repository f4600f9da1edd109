"""Verbs on images that a person asks for. Each makes one operation, or one with a child for each host."""

from __future__ import annotations

import json
from collections.abc import Sequence

from controlplane.access.decide import require
from controlplane.access.models import User
from controlplane.access.naming import intern_one
from controlplane.lib.seal import seal
from controlplane.operations import actions as operations
from controlplane.operations.actions import Request
from controlplane.operations.models import Operation
from hosts.models import Host
from images.access import place_at
from images.models import ImageTag

# What an operation's row holds of a name (operations.models: lane, target_id, target_name).
LONGEST = 300


def lane(host: Host, reference: str) -> str:
    """Operations on one name on one host run one after another."""
    return f"image:{host.pk}:{reference}"[:LONGEST]


def pull(
    actor: User,
    reference: str,
    hosts: Sequence[Host],
    *,
    login: dict[str, str] | None = None,
    ip: str | None = None,
) -> Operation:
    """Pull `reference` (its familiar form) on each host. `login`: {"username", "password"} for the registry."""
    for host in hosts:
        require(actor, "image.pull", place_at(host, reference))
    sealed = seal(json.dumps(login)) if login else ""
    image = intern_one(reference)
    requests = [
        Request(
            kind="image.pull",
            title=f"Pull {reference}",
            host=host,
            target=("image", reference[:LONGEST], reference[:LONGEST]),
            params={"reference": reference, "login": sealed},
            lane=lane(host, reference),
            image=image,
        )
        for host in hosts
    ]
    return operations.start_many(actor, f"Pull {reference} on {len(hosts)} hosts", requests, ip=ip)


def remove(actor: User, tags: Sequence[ImageTag], *, force: bool, ip: str | None = None) -> Operation:
    """Remove each name from its host, and the image with its last name. A nameless image goes by its id."""
    for tag in tags:
        require(actor, "image.delete", tag)
    requests = [_removal(tag, force) for tag in tags]
    return operations.start_many(actor, f"Remove {len(tags)} images", requests, ip=ip)


def _removal(tag: ImageTag, force: bool) -> Request:
    name = tag.reference or tag.image.engine_id
    return Request(
        kind="image.remove",
        title=f"Remove {tag.reference or tag.image.short_id}",
        host=tag.host,
        target=("image", name[:LONGEST], name[:LONGEST]),
        params={"reference": name, "force": force},
        lane=lane(tag.host, name),
        image=tag.image_name_id,
    )
