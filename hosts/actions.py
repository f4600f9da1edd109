"""Verbs on hosts that Gantry does itself, at once. Each is one transaction with its audit row."""

from __future__ import annotations

from django.db import transaction
from django.db.models import ProtectedError
from django.http import HttpRequest
from django.utils import timezone

from controlplane.access.middleware import signed_in
from controlplane.lib.errors import Conflict
from controlplane.lib.live import publish
from controlplane.operations.audit import audited, gathered
from hosts import gateway_orders
from hosts.models import EnrolmentToken, Environment, Host
from hosts.rules import following


@transaction.atomic
def add_host(request: HttpRequest, host: Host) -> str:
    """Keep a place for a host. Returns its enrolment token, which is shown once."""
    host.save()
    return _issue(request, host, f"added {host.name}, with an enrolment token")


@transaction.atomic
def issue_token(request: HttpRequest, host: Host) -> str:
    """A new enrolment token for `host`; an open one made before it ends."""
    return _issue(request, host, f"made an enrolment token for {host.name}")


def _issue(request: HttpRequest, host: Host, what: str) -> str:
    _, token = EnrolmentToken.issue(host, signed_in(request))
    publish("hosts", f"host.{host.pk}")
    audited(request, request.user, "host.manage", host, detail=what)
    return token


@transaction.atomic
def change_host(request: HttpRequest, host: Host, changed: list[str]) -> None:
    """Save what a form has changed of `host`."""
    host.save(update_fields=changed)
    audited(request, request.user, "host.manage", host, detail=f"changed {', '.join(changed)} of {host.name}")
    if "environment" in changed:
        following.changed([host.pk])
    publish("hosts", f"host.{host.pk}", "containers")


@transaction.atomic
def remove_host(request: HttpRequest, host: Host) -> None:
    """Forget `host` and its mirror; its key is worthless from now on. What runs on it is not touched."""
    pk = host.pk
    with gathered():
        audited(request, request.user, "host.manage", host, detail=f"removed {host.name}")
        host.delete()
    publish("hosts", "containers", "images")
    transaction.on_commit(lambda: gateway_orders.tell("removed", pk))


@transaction.atomic
def rotate_key(request: HttpRequest, host: Host) -> None:
    """Have the host's agent make a new key pair; the old key ends when the gateway holds the new one.

    Raises Conflict while it is not connected.
    """
    if not host.tunnel_up:
        raise Conflict(
            f"{host.name} is not connected, so that its agent cannot be asked for a new key.",
            "If its old key is in wrong hands, make a new enrolment token: the old key ends when it is used.",
        )
    Host.objects.filter(pk=host.pk).update(rotation_requested_at=timezone.now())
    audited(request, request.user, "host.manage", host, detail=f"asked {host.name} for a new key")
    transaction.on_commit(lambda: gateway_orders.tell("rotate", host.pk))
    publish(f"host.{host.pk}")


@transaction.atomic
def add_environment(request: HttpRequest, environment: Environment) -> None:
    environment.position = Environment.objects.count()
    environment.save()
    audited(request, request.user, "host.manage", environment, detail=f"added environment {environment.name}")
    publish("hosts")


@transaction.atomic
def remove_environment(request: HttpRequest, environment: Environment) -> None:
    """Remove an environment; its hosts stay and belong to none. Raises Conflict while credentials are kept for it."""
    hosts = list(environment.hosts.values_list("pk", flat=True))
    with gathered():
        audited(request, request.user, "host.manage", environment, detail=f"removed environment {environment.name}")
        try:
            environment.delete()
        except ProtectedError as exc:
            raise Conflict(
                f"Credentials are kept for the hosts of {environment} alone.", "Change or delete those first."
            ) from exc
    following.changed(hosts)
    publish("hosts", "containers")
