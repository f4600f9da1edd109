"""What only the host can tell about a request before it is judged: the image behind its name, the containers and
volumes it leads to.

Names are pinned as they are looked at: what is sent to the engine names containers by their ids.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from containers.models import Container
from controlplane.access.decide import allows
from controlplane.access.models import User
from controlplane.access.reach import Place
from controlplane.lib.errors import NotFound, RightMissing
from controlplane.lib.references import name_of
from hosts.engine import Engine, segment
from hosts.models import Host
from hosts.rules.facts import Facts, ImageFacts, Other, VolumeFacts
from hosts.rules.judge import CONTAINER

LONGEST_CHAIN = 8
# Sharing a container's namespace is as good as a shell in it; its network or its volumes are what one may have
# who may make another of it.
JOINING = {
    "PidMode": "container.exec",
    "IpcMode": "container.exec",
    "UTSMode": "container.exec",
    "UsernsMode": "container.exec",
    "NetworkMode": "container.create",
}
NAMESPACE_OF = {"PidMode": "pid", "IpcMode": "ipc", "UTSMode": "uts", "UsernsMode": "user", "NetworkMode": "network"}


class Take(NamedTuple):
    """A right that a request takes on a container that is there. `reference`: what that was created from."""

    container: str
    verb: str
    reference: str


async def joined(engine: Engine, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Other], list[Take]]:
    """The body with its containers named by their ids; each of them as the judge takes it; and the rights that it
    takes to share with them."""
    host = dict(body.get("HostConfig") or {})
    others: dict[str, Other] = {}
    takes: list[Take] = []

    async def resolve(name: str, verb: str) -> str:
        found = await _container(engine, name)
        if found is None:
            return name  # which the judge finds not to be there, and the engine refuses
        ident = str(found["Id"])
        others[ident] = await _other(engine, found)
        config = found.get("Config")
        takes.append(Take(ident, verb, str((config if isinstance(config, dict) else {}).get("Image") or "")))
        return ident

    for field, verb in JOINING.items():
        mode = host.get(field) or ""
        if mode.startswith(CONTAINER):
            host[field] = CONTAINER + await resolve(mode.removeprefix(CONTAINER), verb)
    if host.get("VolumesFrom"):
        entries = [each.partition(":") for each in host["VolumesFrom"]]
        host["VolumesFrom"] = [await resolve(n, "container.create") + colon + rest for n, colon, rest in entries]
    if host.get("Links"):  # they tell the other's environment
        entries = [each.partition(":") for each in host["Links"]]
        host["Links"] = [f"{await resolve(n, 'container.exec')}:{rest or n}" for n, _, rest in entries]
    return {**body, "HostConfig": host} if "HostConfig" in body else body, others, takes


async def _container(engine: Engine, name: str) -> dict[str, Any] | None:
    try:
        found = await engine.get(f"/containers/{segment(name)}/json")
    except NotFound:
        return None
    return found if isinstance(found, dict) else None


async def _other(engine: Engine, found: dict[str, Any]) -> Other:
    """Its namespaces are followed through those it shares itself."""
    privileged, open_to = False, set()
    host = _host(found)
    for field, kind in NAMESPACE_OF.items():
        seen = found
        for _ in range(LONGEST_CHAIN):
            mode = str(_host(seen).get(field) or "")
            privileged = privileged or bool(_host(seen).get("Privileged"))
            if not mode.startswith(CONTAINER):
                break
            following = await _container(engine, mode.removeprefix(CONTAINER))
            if following is None:
                break
            seen = following
        else:
            open_to.add(kind)  # longer than anybody needs
        if mode == "host":
            open_to.add(kind)
    mounts = [each for each in found.get("Mounts") or [] if isinstance(each, dict)]
    return Other(
        privileged=privileged or bool(host.get("Privileged")),
        open_to=frozenset(open_to),
        mounts=tuple((str(each.get("Type")), str(each.get("Name") or each.get("Source") or "")) for each in mounts),
    )


def _host(found: dict[str, Any]) -> dict[str, Any]:
    host = found.get("HostConfig")
    return host if isinstance(host, dict) else {}


async def volumes_of(engine: Engine, body: dict[str, Any], others: dict[str, Other]) -> dict[str, VolumeFacts]:
    """The volumes that the request names, or would take over, as far as they are there."""
    host = body.get("HostConfig") or {}
    names = {bind.partition(":")[0] for bind in host.get("Binds") or []}
    names |= {str(mount.get("Source") or "") for mount in host.get("Mounts") or [] if mount.get("Type") == "volume"}
    names |= {source for other in others.values() for kind, source in other.mounts if kind == "volume"}
    found = {}
    for name in sorted(each for each in names if each and "/" not in each):
        try:
            volume = await engine.get(f"/volumes/{segment(name)}")
        except NotFound:
            continue
        options = volume.get("Options")
        found[name] = VolumeFacts(str(volume.get("Driver") or "local"), options if isinstance(options, dict) else {})
    return found


async def users_of(engine: Engine, volumes: list[str]) -> list[Take]:
    """The rights that it takes to use these volumes: over whatever else has them."""
    takes = []
    for name in volumes:
        using = await engine.get("/containers/json", all=True, filters={"volume": [name]})
        takes += [Take(str(each["Id"]), "container.create", str(each.get("Image") or "")) for each in using or []]
    return takes


async def host_networks(engine: Engine, body: dict[str, Any]) -> frozenset[str]:
    """Names and ids of the network that is the host's own; asked only where the request names one."""
    mode = str((body.get("HostConfig") or {}).get("NetworkMode") or "")
    if mode in ("", "default", "bridge", "none") and not (body.get("NetworkingConfig") or {}).get("EndpointsConfig"):
        return frozenset({"host"})
    found = await engine.get("/networks", filters={"driver": ["host"]})
    words = [str(each.get(key) or "") for each in found or [] if isinstance(each, dict) for key in ("Id", "Name")]
    return frozenset({"host", *filter(None, words)})


async def gather(engine: Engine, body: dict[str, Any], image: ImageFacts) -> tuple[dict[str, Any], Facts, list[Take]]:
    """The body to send, the facts to judge it by, and the rights it takes on containers there."""
    body, others, takes = await joined(engine, body)
    volumes = await volumes_of(engine, body, others)
    takes += await users_of(engine, sorted(volumes))
    return body, Facts(image, others, volumes, await host_networks(engine, body), complete=True), takes


def require_each(actor: User, host: Host, takes: list[Take]) -> None:
    """Raise RightMissing unless `actor` has each right of `takes`."""
    rows = Container.objects.select_related("host", "image_name").filter(
        host=host, engine_id__in={each.container for each in takes}
    )
    known = {row.engine_id: row for row in rows}
    for container, verb, reference in dict.fromkeys(takes):
        name = name_of(reference)
        place = Place(host.environment_id, (name,) if name[0] else ())
        if not allows(actor, verb, known.get(container) or place):
            raise RightMissing(verb, f"a container of {host.name} that this one would share with")
