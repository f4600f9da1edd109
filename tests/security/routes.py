"""Every address of Gantry and what it takes: the pinned table, and the resolver's own list to hold beside it.

A route that is not in the table fails `test_routes`: whoever adds one says here who may use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from tests.security.fleet import Fleet

NEVER = "never"  # the method is not offered: 405
PUBLIC = "public"  # anybody on the network
SIGNED_IN = "signed in"  # any person; each sees there what they may see
BOTH = ("get", "post")
OWNER = "owner"  # as `see`: whose own it is, and nobody else
KEEPER = "keeper"  # as `see`: whose own it is, or who sees to it, and whoever manages access to everything


@dataclass(frozen=True)
class Rule:
    """What GET and POST take: a verb, or one of the words above.

    `row`: the field of `Fleet` that the address leads to, empty when it leads to none; `see`: the verb by which that
    is seen. Not seen, it is not there: 404. Seen, but the verb of the method is missing: 403. `first`: whether the verb
    is held at all is asked before the row is looked for: 403, wherever the address leads. `chosen`: the row is named by
    the form (`form_for`), and what is not seen counts as not selected: 409. `whole`: the verb is asked over everything
    there is, and a right within an environment does not give it; it names the methods of
    which that holds.
    """

    get: str
    post: str
    row: str = ""
    see: str = ""
    first: bool = False
    chosen: bool = False
    whole: tuple[str, ...] = ()

    @property
    def is_public(self) -> bool:
        return PUBLIC in (self.get, self.post)


def _both(verb: str, row: str = "", see: str = "", **how: Any) -> Rule:
    return Rule(verb, verb, row, see, **how)


def _change(verb: str, row: str = "", see: str = "", **how: Any) -> Rule:
    return Rule(NEVER, verb, row, see, **how)


def _person(row: str) -> Rule:
    """What changes people, and what they have in common in every environment."""
    return _change("access.manage", row, "access.manage", first=True, whole=BOTH)


TABLE: dict[str, Rule] = {
    "healthz": Rule(PUBLIC, NEVER),
    "login/": _both(PUBLIC),
    "login/second/": _both(PUBLIC),  # to whoever has given the right password just before
    "login/passkey/": _both(PUBLIC),
    "login/by/<slug:slug>/": Rule(PUBLIC, NEVER),
    "login/by/<slug:slug>/callback/": Rule(PUBLIC, NEVER),
    "setup/<str:token>/": _both(PUBLIC),
    "agent/enrol": _change(PUBLIC),
    "agent/install.sh": Rule(PUBLIC, NEVER),
    "agent/wheels/": Rule(PUBLIC, NEVER),
    "agent/wheels/<path:name>": Rule(PUBLIC, NEVER),
    "": _both(SIGNED_IN),
    "logout/": _change(SIGNED_IN),
    "account/": _both(SIGNED_IN),
    "account/password/": _both(SIGNED_IN),
    "account/sessions/end/": _change(SIGNED_IN),
    "account/confirm/": _both(SIGNED_IN),
    "account/second-factor/": _both(SIGNED_IN),
    "account/app/": _both(SIGNED_IN),
    "account/passkeys/add/": _both(SIGNED_IN),
    "account/passkeys/rename/": _change(SIGNED_IN),
    "account/identities/unlink/": _change(SIGNED_IN),
    "account/identities/link/": Rule(SIGNED_IN, NEVER),
    "account/factors/remove/": _change(SIGNED_IN),
    "account/recovery-codes/": _both(SIGNED_IN),
    "people/": _both("access.manage", whole=BOTH),
    "people/tokens/": _both("access.manage", whole=BOTH),
    "people/services/": Rule(SIGNED_IN, "access.manage", whole=("post",)),
    "people/services/<int:pk>/": _both(SIGNED_IN, "service", KEEPER),
    "people/services/<int:pk>/change/": _change("access.manage", "service", KEEPER, whole=("post",)),
    "profile/tokens/": _both(SIGNED_IN),
    "profile/tokens/<int:pk>/revoke/": _change(SIGNED_IN, "token", KEEPER),
    "api/v1/docs": Rule(SIGNED_IN, NEVER),
    "api/v1/openapi.json": Rule(SIGNED_IN, NEVER),  # or a token: tests/api/test_description.py
    "people/invite/": _change("access.manage", whole=BOTH),
    "people/second-factor/": _change("access.manage", whole=BOTH),
    "people/<int:pk>/": _person("viewer"),
    "people/<int:pk>/sessions/end/": _person("viewer"),
    "people/<int:pk>/factors/forget/": _person("viewer"),
    "people/invitations/<int:pk>/withdraw/": _person("invitation"),
    # Teams and roles are read by whoever manages access anywhere, and changed by whoever manages all of it.
    "access/teams/": _both("access.manage", whole=("post",)),
    "access/teams/<int:pk>/": _both("access.manage", "team", "access.manage", first=True, whole=("post",)),
    "access/teams/<int:pk>/add/": _person("team"),
    "access/teams/<int:pk>/take/": _person("team"),
    "access/teams/<int:pk>/remove/": _person("team"),
    "access/roles/": _both("access.manage"),
    "access/roles/new/": _both("access.manage", whole=BOTH),
    "access/roles/<int:pk>/": _both("access.manage", "role", "access.manage", first=True, whole=("post",)),
    "access/roles/<int:pk>/remove/": _person("role"),
    "access/grants/": _both("access.manage"),
    "access/grants/new/": _both("access.manage"),
    "access/grants/preview/": _change("access.manage"),
    "access/grants/<int:pk>/": _both("access.manage", "grant", "access.manage", first=True),
    "access/grants/<int:pk>/remove/": _change("access.manage", "grant", "access.manage", first=True),
    "access/people/<int:pk>/": Rule("access.manage", NEVER, "viewer", "access.manage", first=True),
    "access/why/": Rule("access.manage", NEVER),
    "operations/": _both("operation.see"),
    "operations/audit/": _both("audit.see"),
    "operations/audit/export/": Rule("audit.see", NEVER),
    "operations/audit/<int:pk>/": _both("audit.see", "entry", "audit.see", first=True),
    "operations/<int:pk>/": _both("operation.see", "operation", "operation.see"),
    "operations/<int:pk>/cancel/": _change("operation.cancel", "operation", "operation.see"),
    # The verb is that of the kind: the fleet's is a stop.
    "operations/<int:pk>/retry/": _change("container.stop", "operation", "operation.see"),
    "hosts/": _both("host.see"),
    "hosts/add/": _both("host.manage"),
    "hosts/environments/": Rule("host.see", "host.manage", whole=("post",)),
    "hosts/environments/<int:pk>/rules/": _both("rules.manage", "environment", "host.see"),
    "hosts/environments/<int:pk>/remove/": _change("host.manage", "environment", "host.see", whole=BOTH),
    "hosts/<int:pk>/": _both("host.see", "host", "host.see"),
    "hosts/<int:pk>/edit/": _both("host.manage", "host", "host.see"),
    "hosts/<int:pk>/token/": _change("host.manage", "host", "host.see"),
    "hosts/<int:pk>/rotate/": _change("host.manage", "host", "host.see"),
    "hosts/<int:pk>/remove/": _change("host.manage", "host", "host.see"),
    "images/": _both("image.see"),
    "images/pull/": _both("image.pull"),
    "images/remove/": _change("image.delete", "tag", "image.see", first=True, chosen=True),
    "builds/": _both("image.see"),
    "builds/new/": _both("image.build"),
    "builds/lint/": _change("image.build"),
    "builds/<int:pk>/": _both("image.see", "build", "image.see"),
    "builds/<int:pk>/rebuild/": _change("image.build", "build", "image.see"),
    "builds/<int:pk>/push/": _change("image.push", "build", "image.see"),
    "builds/<int:pk>/compare/": _both("image.see", "build", "image.see"),
    "builds/uploads/": _change("image.build"),
    # PUT and DELETE: image.build (tests/builds/test_uploads.py)
    "builds/uploads/<slug:ident>/": Rule(NEVER, NEVER, "upload", OWNER, first=True),
    "builds/uploads/<slug:ident>/finish/": _change("image.build", "upload", OWNER, first=True),
    "builds/definitions/": _both("image.see"),
    "builds/definitions/new/": _both("image.build"),
    "builds/definitions/<slug:slug>/": _both("image.see", "definition", "image.see"),
    "builds/definitions/<slug:slug>/edit/": _both("image.build", "definition", "image.see", first=True),
    "builds/definitions/<slug:slug>/build/": _change("image.build", "definition", "image.see"),
    "builds/definitions/<slug:slug>/delete/": _change("image.build", "definition", "image.see"),
    "builds/definitions/<slug:slug>/webhook/": _change("image.build", "definition", "image.see"),
    "builds/hooks/<slug:slug>/": _change(PUBLIC),  # signed (tests/builds/test_triggers.py)
    "builds/credentials/": _both("registry.manage"),
    "builds/credentials/new/": _both("registry.manage"),
    "builds/credentials/<slug:name>/": _both("registry.manage", "credential", "registry.manage", first=True),
    "builds/credentials/<slug:name>/delete/": _change("registry.manage", "credential", "registry.manage", first=True),
    "containers/": _both("container.see"),
    "containers/run/": _both("container.create"),
    # The verb is that of the act: see ACTS.
    "containers/do/<slug:verb>/": _change("container.stop", "container", "container.see", chosen=True),
    "containers/<int:pk>/": _both("container.see", "container", "container.see"),
    "containers/<int:pk>/inspect/": _both("container.see", "container", "container.see"),
    "containers/<int:pk>/reveal/": _change("container.secrets", "container", "container.see"),
    "containers/<int:pk>/rename/": _change("container.update", "container", "container.see"),
    "containers/<int:pk>/update/": _both("container.update", "container", "container.see"),
    "containers/<int:pk>/commit/": _both("container.files", "container", "container.see"),
    "containers/<int:pk>/duplicate/": _both("container.create", "container", "container.see"),
    "containers/<int:pk>/logs/": _both("container.logs", "container", "container.see"),
    "containers/<int:pk>/logs/download/": _both("container.logs", "container", "container.see"),
    "containers/<int:pk>/terminal/": _both("container.exec", "container", "container.see"),
    "recordings/": _both("recording.see"),
    "recordings/<int:pk>/": _both("recording.see", "recording", "container.see"),
    "recordings/<int:pk>/watch/": _both("recording.see", "recording", "container.see"),
    "recordings/<int:pk>/cast/": Rule("recording.see", NEVER, "recording", "container.see"),
    "recordings/<int:pk>/download/": Rule("recording.see", NEVER, "recording", "container.see"),
    "recordings/<int:pk>/remove/": _change("recording.remove", "recording", "container.see"),
}

API = "api/v1/"

# What anybody may change of their own, which is written down.
OWN = {"logout/", "profile/tokens/<int:pk>/revoke/"}

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
    "ws/recordings/<int:pk>/watch": "recording.see",
}


SEEN_BY = {
    "ws/operations/": ("operation", "operation.see"),
    "ws/containers/": ("container", "container.see"),
    "ws/recordings/": ("recording", "container.see"),
}
"""Of the streams below a prefix: the row, and the verb by which it is seen."""


def form_for(route: str, fleet: Fleet) -> dict[str, str]:
    """What the form of `route` sends to be about the rows of `fleet`."""
    key = f"{fleet.tag.host_id}|{fleet.tag.image.engine_id}|{fleet.tag.reference}"
    forms = {
        "containers/do/<slug:verb>/": {"ids": str(fleet.container.pk)},
        "images/remove/": {"images": key, "confirmed": "1"},
        "hosts/<int:pk>/remove/": {"confirm": fleet.host.name},
        "access/teams/<int:pk>/take/": {"person": str(fleet.viewer.pk)},
    }
    return forms.get(route, {})


def walk(patterns: list[URLPattern | URLResolver] | None = None, prefix: str = "") -> Iterator[str]:
    """Every route the resolver knows."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from walk(pattern.url_patterns, route)
        elif route in TABLE or not route.startswith(API):  # the API's operations take a token: tests/api/table.py
            yield route


def address(route: str, fleet: Fleet) -> str:
    """A URL of `route` that leads to a row of the fleet."""
    path = route.replace("<str:token>", "no-such-token").replace("<path:name>", "no.whl")
    path = path.replace("<slug:verb>", "stop").replace("<slug:slug>", fleet.definition.slug)
    path = path.replace("<slug:name>", fleet.credential.name).replace("<slug:ident>", fleet.upload.pk)
    return "/" + (path.replace("<int:pk>", str(fleet.pk(route))) if "<int:pk>" in path else path)
