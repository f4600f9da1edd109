"""Which host builds: the one that was chosen, or the least busy of a pool."""

from __future__ import annotations

from django.db.models import Count, Q, QuerySet

from controlplane.access.decide import Actor, require, visible
from controlplane.lib.errors import Conflict, NotFound
from controlplane.operations.models import UNFINISHED
from hosts.models import Host, HostState
from images.builds.asked import Options
from images.builds.models import Credential

LABEL = "builder"
"""A host with the label `builder` belongs to the pool that is its value ("" and "true": the common one)."""
COMMON = "any"


def pool_of(host: Host) -> str:
    """The pool a host belongs to, "" for none."""
    if LABEL not in host.labels:
        return ""
    value = str(host.labels[LABEL]).strip().lower()
    return COMMON if value in ("", "true", "yes", "1") else value


def builders(actor: Actor) -> QuerySet[Host]:
    """The hosts that `actor` may build on, by name."""
    return visible(actor, "image.build", Host.objects.exclude(public_key="")).order_by("name")


def pools(actor: Actor) -> dict[str, list[Host]]:
    """The pools there are, each with its hosts by name."""
    found: dict[str, list[Host]] = {}
    for host in builders(actor):
        if pool := pool_of(host):
            found.setdefault(pool, []).append(host)
    return dict(sorted(found.items()))


def choose(actor: Actor, options: Options) -> Host:
    """Raises NotFound, RightMissing, or Conflict when no host of the pool is connected.

    Least busy: the fewest unfinished operations, then the lowest load for each core.
    """
    if options.host:
        host = visible(actor, "host.see", Host.objects.filter(pk=options.host)).first()
        if host is None:
            raise NotFound("The host it was to be built on has been removed.", "Choose another.")
        require(actor, "image.build", host)
        return host
    members = [host for host in pools(actor).get(options.pool, []) if _is_able(host, options)]
    ids = [host.pk for host in members]
    busy = Count("operations", filter=Q(operations__state__in=UNFINISHED))
    connected = list(Host.objects.filter(pk__in=ids, state=HostState.CONNECTED).annotate(busy=busy))
    if not connected:
        away = ", ".join(host.name for host in members) or "there is none"
        raise Conflict(
            f"No builder of the pool “{options.pool}” is connected that can do this ({away}).",
            f"Give a host the label {LABEL}={options.pool}, or choose a host.",
        )
    return min(connected, key=lambda host: (host.busy, _load(host), host.name))


def _is_able(host: Host, options: Options) -> bool:
    """Whether its engine takes secrets, where there are some, and it may see every credential."""
    names = [*options.secrets, *options.logins]
    used = Credential.objects.filter(name__in=names) if names else []
    takes_secrets = not options.secrets or host.engine_kind in ("gantry", "podman")
    return takes_secrets and all(each.may_be_used_on(host) for each in used)


def _load(host: Host) -> float:
    load = host.metrics.get("load") or [0.0]
    return float(load[0]) / (host.cpus or 1)
