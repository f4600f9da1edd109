"""The credentials of a build, looked up when it runs: by name, for the host it runs on."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from django.utils import timezone

from controlplane.lib.errors import Conflict, NotFound
from controlplane.lib.references import DEFAULT_DOMAIN
from hosts.models import Host
from images.builds.asked import Options, Source
from images.builds.cloning import Login
from images.builds.models import Credential, CredentialKind

DOCKER_HUB = "https://index.docker.io/v1/"


def find(names: Sequence[str], kinds: Sequence[str], host: Host | None) -> list[Credential]:
    """The credentials called `names`, in that order, noted as used.

    Raises NotFound for one that is gone or of another kind, and Conflict for one that this host may not see.
    """
    rows = {each.name: each for each in Credential.objects.filter(name__in=names, kind__in=kinds)}
    for name in names:
        if name not in rows:
            raise NotFound(f"There is no credential {name} any more.", "Choose another, or add it again.")
        if host is not None and not rows[name].may_be_used_on(host):
            raise Conflict(
                f"The credential {name} is bound to another environment than that of {host.name}.",
                "Choose a host there, or another credential.",
            )
    Credential.objects.filter(name__in=names).update(last_used_at=timezone.now())
    return [rows[name] for name in names]


def git_login(source: Source, host: Host | None) -> Login | None:
    """What the git server is shown. Raises as `find`."""
    if not source.credential:
        return None
    kinds = (CredentialKind.GIT_TOKEN, CredentialKind.GIT_KEY)
    found = find([source.credential], kinds, host)[0]
    if found.kind == CredentialKind.GIT_KEY:
        return Login(found.server, key=found.secret, known_hosts=found.known_hosts)
    return Login(found.server, found.username, token=found.secret)


def secrets(options: Options, host: Host | None) -> dict[str, str]:
    """By id. Raises as `find`."""
    return {each.name: each.secret for each in find(options.secrets, (CredentialKind.SECRET,), host)}


def logins(options: Options, host: Host | None) -> dict[str, dict[str, str]]:
    """AuthConfig by registry. Raises as `find`."""
    found = find(options.logins, (CredentialKind.REGISTRY,), host)
    return {
        each.server: {"username": each.username, "password": each.secret, "serveraddress": each.server}
        for each in found
    }


def hidden(logins: dict[str, dict[str, str]]) -> list[str]:
    """What must not be read in output: the passwords, and the form in which they travel."""
    return [form for each in logins.values() for form in (each["password"], f"{each['username']}:{each['password']}")]


def registry_config(logins: dict[str, dict[str, str]]) -> str:
    """X-Registry-Config: base64url of {registry: AuthConfig}. Docker knows its Hub by an address of old."""
    hub = {DOCKER_HUB: logins[DEFAULT_DOMAIN]} if DEFAULT_DOMAIN in logins else {}
    return header({**logins, **hub})


def header(value: object) -> str:
    """A header of the Engine API: base64url of JSON."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def native_secrets_header(values: dict[str, str]) -> str:
    """X-Gantry-Build-Secrets: id → base64 of the secret, all of it base64 of JSON (docs/native-engine.md)."""
    return header({name: base64.b64encode(value.encode()).decode() for name, value in values.items()})
