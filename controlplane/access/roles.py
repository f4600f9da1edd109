"""Which verbs each role holds. A role is a set of verbs and nothing else."""

from __future__ import annotations

from controlplane.access.models import Role

SEEING = frozenset(
    {
        "host.see",
        "image.see",
        "container.see",
        "container.logs",
        "container.stats",
        "operation.see",
    }
)

CHANGING = frozenset(
    {
        "host.manage",
        "image.pull",
        "image.run",
        "image.build",
        "image.push",
        "image.delete",
        "container.create",
        "container.start",
        "container.stop",
        "container.update",
        "container.exec",
        "container.files",
        "container.secrets",
        "container.remove",
        "operation.cancel",
        "registry.manage",
        "audit.see",
        "access.manage",
    }
)

VERBS: dict[str, frozenset[str]] = {
    Role.ADMINISTRATOR: SEEING | CHANGING,
    Role.VIEWER: SEEING,
}

ALL_VERBS = SEEING | CHANGING
