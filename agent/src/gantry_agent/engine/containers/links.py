"""Legacy links: `--link` on the default bridge, where containers do not find each other by name.

HostConfig.Links holds ID:ALIAS, so that renaming the other container breaks nothing. Who is linked finds the other in
/etc/hosts (networks/files.py) and in its environment; the other answers to PARENT/ALIAS as well.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from gantry_agent.engine.errors import Conflict, EngineError, InvalidArgument, NotFound
from gantry_agent.engine.networks.model import BRIDGE

from .model import Container

if TYPE_CHECKING:
    from gantry_agent.engine.core import Engine

Find = Callable[[str], Container]
"""A container by id or name; raises NotFound."""
NOT_TOLD = ("HOME", "PATH")


def resolve(container: Container, find: Find) -> None:
    """Put ids for the names in the Links of a container that is being created.

    On other networks than the default bridge they are looked up by name at start. Raises InvalidArgument.
    """
    host = container.host_config
    if host["Links"] and (container.network_mode == "host" or container.network_mode.startswith("container:")):
        kind = "host type networking" if container.network_mode == "host" else "container type network"
        raise InvalidArgument(
            f"conflicting options: {kind} can't be used with links. This would result in undefined behavior"
        )
    if container.network_mode != BRIDGE:
        return
    found = []
    for text in host["Links"] or ():
        name, alias = parse(text)
        try:
            other = find(name)
        except NotFound:
            # Not 404, which makes the docker command line pull the image and ask again.
            raise InvalidArgument(f"could not get container for {name}") from None
        found.append(f"{other.id}:{alias}")
    host["Links"] = found or None


def parse(text: str) -> tuple[str, str]:
    """Name and alias of "db", "db:alias" or inspect's "/db:/web/alias". Raises InvalidArgument."""
    parts = text.split(":")
    if len(parts) > 2 or not all(parts):
        raise InvalidArgument(f"bad format for links: {text}")
    return parts[0].lstrip("/"), parts[-1].rpartition("/")[2]


def of(container: Container) -> list[tuple[str, str]]:
    """The id and the alias of each link."""
    if container.network_mode != BRIDGE:
        return []
    return [parse(str(text)) for text in container.host_config.get("Links") or ()]


def shown(container: Container, find: Find) -> list[str] | None:
    """As inspect shows them: /db:/web/alias."""
    found = []
    for name, alias in of(container):
        try:
            found.append(f"/{find(name).name}:/{container.name}/{alias}")
        except EngineError:
            continue  # it is gone
    return found or None


def names(containers: Iterable[Container]) -> dict[str, list[str]]:
    """By id the further names that containers have by being linked: /web/alias."""
    found: dict[str, list[str]] = {}
    for container in containers:
        for other, alias in of(container):
            found.setdefault(other, []).append(f"/{container.name}/{alias}")
    return found


def environment(container: Container, find: Find, *, at_start: bool) -> list[str]:
    """What a container is told of those it is linked to (moby, daemon/links/links.go).

    At its start all must run; a command run in it later is told of those that still do. Raises Conflict.
    """
    found = []
    for name, alias in of(container):
        try:
            other: Container | None = find(name)
        except EngineError:
            other = None
        place = other.endpoints.get(BRIDGE) if other and other.is_running else None
        if other and place and place.ip:
            found += _told(f"/{container.name}/{alias}", place.ip, other)
        elif at_start:
            shown_name = other.name if other else name
            raise Conflict(
                f"Cannot link to a non running container: /{shown_name} AS /{container.name}/{alias}"
                if not (other and other.is_running)
                else f"container {other.id} not attached to default bridge network"
            )
    return found


async def unlink(engine: "Engine", text: str) -> None:
    """Take the link PARENT/ALIAS away. Raises NotFound, Conflict for a container's own name."""
    parent_name, _, alias = text.strip("/").rpartition("/")
    if not parent_name:
        engine.containers.get(text)
        raise Conflict("Conflict, cannot remove the default link name of the container")
    try:
        parent = engine.containers.get(parent_name)
    except NotFound:
        raise NotFound(f"No such container: {text}") from None
    async with engine.containers.holding(parent):
        kept = [f"{other}:{name}" for other, name in of(parent) if name != alias]
        if len(kept) == len(of(parent)):
            raise NotFound(f"No such container: {text}")
        parent.host_config["Links"] = kept or None
        await engine.containers.save(parent)
    await engine.networks.rewrite(parent)


def _told(name: str, address: str, other: Container) -> list[str]:
    alias = name.rpartition("/")[2].upper().replace("-", "_")
    ports = sorted((int(port.partition("/")[0]), _kind(port)) for port in other.config.get("ExposedPorts") or {})
    found = []
    if ports:
        number, kind = ports[0]
        found.append(f"{alias}_PORT={kind}://{address}:{number}")
    for first, last in _ranges(ports):
        found += _told_range(alias, address, first, last)
    for number, kind in ports:
        start = f"{alias}_PORT_{number}_{kind.upper()}"
        found += [f"{start}={kind}://{address}:{number}", f"{start}_ADDR={address}"]
        found += [f"{start}_PORT={number}", f"{start}_PROTO={kind}"]
    found.append(f"{alias}_NAME={name}")
    for each in other.config.get("Env") or ():
        key, equals, value = each.partition("=")
        if equals and key not in NOT_TOLD:
            found.append(f"{alias}_ENV_{key}={value}")
    return found


def _kind(port: str) -> str:
    return port.partition("/")[2] or "tcp"


def _told_range(alias: str, address: str, first: tuple[int, str], last: tuple[int, str]) -> list[str]:
    number, kind = first
    start, end = f"{alias}_PORT_{number}_{kind.upper()}", f"{alias}_PORT_{number}_{last[1].upper()}"
    return [
        f"{start}_START={kind}://{address}:{number}",
        f"{start}_ADDR={address}",
        f"{start}_PROTO={kind}",
        f"{start}_PORT_START={number}",
        f"{end}_END={last[1]}://{address}:{last[0]}",
        f"{end}_PORT_END={last[0]}",
    ]


def _ranges(ports: Sequence[tuple[int, str]]) -> list[tuple[tuple[int, str], tuple[int, str]]]:
    """First and last of three or more ports in a row."""
    found, begin = [], 0
    while begin < len(ports):
        end = begin
        while end + 1 < len(ports) and ports[end + 1][0] <= ports[begin][0] + (end + 1 - begin):
            end += 1
        if end > begin + 1:
            found.append((ports[begin], ports[end]))
            begin = end + 1
        else:
            begin += 1
    return found
