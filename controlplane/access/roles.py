"""The verbs there are, and the built-in roles as sets of them."""

from __future__ import annotations

from django.db import models


class Standing(models.TextChoices):
    """What an account holds everywhere, without any grant: `STANDING` says which verbs."""

    ADMINISTRATOR = "administrator", "Administrator"
    VIEWER = "viewer", "Viewer"
    MEMBER = "member", "Member"  # nothing but what grants give


VERBS = {
    "host.see": "See hosts, their state and figures",
    "host.manage": "Add, change and remove hosts; their networks and volumes",
    "image.see": "See images and builds in the catalogue",
    "image.pull": "Pull images, and use them as the base of builds",
    "image.run": "Run containers of images",
    "image.build": "Build images",
    "image.push": "Push images to a registry",
    "image.tag": "Give images further names",
    "image.delete": "Remove images",
    "container.see": "See containers and their state",
    "container.logs": "Read logs",
    "container.stats": "See processor, memory and network figures",
    "container.start": "Start, restart and resume containers",
    "container.stop": "Stop, kill and pause containers",
    "container.create": "Create containers",
    "container.update": "Rename containers and change their limits",
    "container.exec": "Open terminals in containers",
    "container.files": "Read and write files in containers",
    "container.secrets": "Reveal the values of environment variables",
    "container.remove": "Remove containers",
    "recording.see": "Replay recorded terminals, and watch open ones",
    "recording.remove": "Remove recorded terminals",
    "operation.see": "See operations and their output",
    "operation.cancel": "Cancel operations",
    "registry.manage": "Manage registries and credentials",
    "rules.manage": "Manage the rules of environments and tags",
    "audit.see": "Read the audit trail",
    "access.manage": "Manage people, teams, roles and grants",
}
"""Each verb, and what it lets one do, as pages say it."""

ALL_VERBS = frozenset(VERBS)

# These are about a host, an environment or everything as a whole: a grant over some images does not give them.
WHOLE_VERBS = frozenset({"host.manage", "registry.manage", "rules.manage", "audit.see", "access.manage"})

# What one may do to one's own operations, builds and definitions by holding the verb anywhere. What a build or its push
# then touches is asked by itself.
OWNER_VERBS = frozenset({"operation.see", "operation.cancel", "image.see", "image.build"})

SEEING = frozenset({"host.see", "image.see", "container.see", "container.logs", "container.stats", "operation.see"})
CHANGING = ALL_VERBS - SEEING

_DEVELOPER = SEEING | {
    "image.pull",
    "image.run",
    "image.build",
    "image.push",
    "container.create",
    "container.start",
    "container.stop",
    "container.update",
    "container.exec",
    "container.files",
    "container.remove",
    "operation.cancel",
}
_OPERATOR = SEEING | {
    "image.pull",
    "image.run",
    "container.create",
    "container.start",
    "container.stop",
    "container.update",
    "container.remove",
    "operation.cancel",
}
_MAINTAINER = _DEVELOPER | _OPERATOR | {"host.manage", "image.tag", "image.delete", "container.secrets", "rules.manage"}

BUILT_IN = {
    "viewer": ("Viewer", "Sees, follows logs, changes nothing.", SEEING),
    "developer": ("Developer", "Builds, runs and enters; no secrets, no hosts.", _DEVELOPER),
    "operator": ("Operator", "Keeps containers running; no terminals, no builds.", _OPERATOR),
    "maintainer": ("Maintainer", "All of both, with hosts, rules and secrets.", _MAINTAINER),
    "administrator": ("Administrator", "Everything, with access itself.", ALL_VERBS),
}
"""slug → (name, description, verbs) of the roles every installation has. They cannot be changed or removed."""

STANDING: dict[str, frozenset[str]] = {
    Standing.ADMINISTRATOR: ALL_VERBS,
    Standing.VIEWER: SEEING,
    Standing.MEMBER: frozenset(),
}
"""What an account holds everywhere, by its standing."""
