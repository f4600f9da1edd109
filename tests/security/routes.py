"""Every address of Gantry and what it takes: the pinned table, and the resolver's own list to hold beside it.

A route that is not in the table fails `test_routes`: whoever adds one says here who may use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.urls import URLPattern, URLResolver, get_resolver

from tests.security.fleet import Fleet

NEVER = "never"  # the method is not offered: 405
PUBLIC = "public"  # anybody on the network
SIGNED_IN = "signed in"  # any person; each sees there what they may see


@dataclass(frozen=True)
class Rule:
    """What GET and POST take: a verb, or one of the words above."""

    get: str
    post: str

    @property
    def is_public(self) -> bool:
        return PUBLIC in (self.get, self.post)


def _both(verb: str) -> Rule:
    return Rule(verb, verb)


def _change(verb: str) -> Rule:
    return Rule(NEVER, verb)


TABLE: dict[str, Rule] = {
    "healthz": Rule(PUBLIC, NEVER),
    "login/": _both(PUBLIC),
    "setup/<str:token>/": _both(PUBLIC),
    "agent/enrol": _change(PUBLIC),
    "agent/install.sh": Rule(PUBLIC, NEVER),
    "agent/wheels/": Rule(PUBLIC, NEVER),
    "agent/wheels/<path:name>": Rule(PUBLIC, NEVER),
    "": _both(SIGNED_IN),
    "logout/": _change(SIGNED_IN),
    "profile/password/": _both(SIGNED_IN),
    "people/": _both("access.manage"),
    "people/invite/": _change("access.manage"),
    "people/<int:pk>/": _change("access.manage"),
    "people/invitations/<int:pk>/withdraw/": _change("access.manage"),
    "operations/": _both("operation.see"),
    "operations/audit/": _both("audit.see"),
    "operations/<int:pk>/": _both("operation.see"),
    "operations/<int:pk>/cancel/": _change("operation.cancel"),
    "operations/<int:pk>/retry/": _change("container.stop"),  # that of the kind: the fleet's is a stop
    "hosts/": _both("host.see"),
    "hosts/add/": _both("host.manage"),
    "hosts/environments/": Rule("host.see", "host.manage"),
    "hosts/environments/<int:pk>/remove/": _change("host.manage"),
    "hosts/<int:pk>/": _both("host.see"),
    "hosts/<int:pk>/edit/": _both("host.manage"),
    "hosts/<int:pk>/token/": _change("host.manage"),
    "hosts/<int:pk>/rotate/": _change("host.manage"),
    "hosts/<int:pk>/remove/": _change("host.manage"),
    "images/": _both("image.see"),
    "images/pull/": _both("image.pull"),
    "images/remove/": _change("image.delete"),
    "builds/": _both("image.see"),
    "builds/new/": _both("image.build"),
    "builds/lint/": _change("image.build"),
    "builds/<int:pk>/": _both("image.see"),
    "builds/<int:pk>/rebuild/": _change("image.build"),
    "builds/<int:pk>/push/": _change("image.push"),
    "builds/<int:pk>/compare/": _both("image.see"),
    "builds/uploads/": _change("image.build"),
    "builds/uploads/<slug:ident>/": Rule(NEVER, NEVER),  # PUT and DELETE: image.build (tests/builds/test_uploads.py)
    "builds/uploads/<slug:ident>/finish/": _change("image.build"),
    "builds/definitions/": _both("image.see"),
    "builds/definitions/new/": _both("image.build"),
    "builds/definitions/<slug:slug>/": _both("image.see"),
    "builds/definitions/<slug:slug>/edit/": _both("image.build"),
    "builds/definitions/<slug:slug>/build/": _change("image.build"),
    "builds/definitions/<slug:slug>/delete/": _change("image.build"),
    "builds/definitions/<slug:slug>/webhook/": _change("image.build"),
    "builds/hooks/<slug:slug>/": _change(PUBLIC),  # signed (tests/builds/test_triggers.py)
    "builds/credentials/": _both("registry.manage"),
    "builds/credentials/new/": _both("registry.manage"),
    "builds/credentials/<slug:name>/": _both("registry.manage"),
    "builds/credentials/<slug:name>/delete/": _change("registry.manage"),
    "containers/": _both("container.see"),
    "containers/run/": _both("container.create"),
    "containers/do/<slug:verb>/": _change("container.stop"),  # that of the verb: see ACTS
    "containers/<int:pk>/": _both("container.see"),
    "containers/<int:pk>/inspect/": _both("container.see"),
    "containers/<int:pk>/reveal/": _change("container.secrets"),
    "containers/<int:pk>/rename/": _change("container.update"),
    "containers/<int:pk>/logs/": _both("container.logs"),
    "containers/<int:pk>/logs/download/": _both("container.logs"),
    "containers/<int:pk>/terminal/": _both("container.exec"),
}

ACTS = {
    "start": "container.start",
    "stop": "container.stop",
    "restart": "container.start",
    "kill": "container.stop",
    "pause": "container.stop",
    "unpause": "container.start",
    "remove": "container.remove",
}

SOCKETS: dict[str, str] = {
    "ws/live": SIGNED_IN,
    "ws/operations/<int:pk>/output": "operation.see",
    "ws/containers/<int:pk>/logs": "container.logs",
    "ws/containers/<int:pk>/terminal": "container.exec",
}


def walk(patterns: list[URLPattern | URLResolver] | None = None, prefix: str = "") -> Iterator[str]:
    """Every route the resolver knows."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from walk(pattern.url_patterns, route)
        else:
            yield route


def address(route: str, fleet: Fleet) -> str:
    """A URL of `route` that leads to a row of the fleet."""
    path = route.replace("<str:token>", "no-such-token").replace("<path:name>", "no.whl")
    path = path.replace("<slug:verb>", "stop").replace("<slug:slug>", fleet.definition.slug)
    path = path.replace("<slug:name>", fleet.credential.name).replace("<slug:ident>", fleet.upload.pk)
    return "/" + (path.replace("<int:pk>", str(fleet.pk(route))) if "<int:pk>" in path else path)
