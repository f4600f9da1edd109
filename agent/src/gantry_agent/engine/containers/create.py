"""Making a container: read what was asked for, join it with the image, have its volumes, write it down."""

import secrets
import shutil
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gantry_agent.engine.errors import Conflict, InvalidArgument, NotFound
from gantry_agent.engine.networks import ports
from gantry_agent.engine.oci import Platform
from gantry_agent.engine.store import Image

from . import changes, links, names, settings, wire
from .model import Container

if TYPE_CHECKING:
    from gantry_agent.engine.core import Engine

    from .manager import Containers


async def create(
    engine: "Engine",
    containers: "Containers",
    name: str,
    body: Mapping[str, Any],
    platform: Platform | None = None,
    *,
    is_step: bool = False,
) -> tuple[Container, list[str]]:
    """A new container, and warnings. Raises InvalidArgument, NotFound (its image), Conflict (its name)."""
    wire.check_create(body)
    wanted = str(body.get("Image") or "")
    if not wanted:
        raise InvalidArgument(
            "No command specified" if body else "Config cannot be empty in order to create a container"
        )
    roster = containers.roster
    chosen = names.check(name) if name else names.invent(set(roster.names))
    image = engine.store.images.get(wanted)
    _check_platform(image, wanted, platform)
    container, warnings = _plan(image, chosen, body)
    container.is_step = is_step
    with roster.claim(chosen, container.id):
        _resolve_others(containers, container)
        links.resolve(container, containers.get)
        try:
            await _make(engine, containers, container, body)
        except BaseException:  # also when it was made, and whoever asked is cancelled before that can be told
            await _undo(engine, containers, container)
            raise
    containers.tell(container, "create")
    return container, warnings


async def _make(engine: "Engine", containers: "Containers", container: Container, body: Mapping[str, Any]) -> None:
    """Its folder, its volumes, its row. Raises NotFound when its image goes meanwhile."""
    folder = engine.layout.container(container.id)
    async with engine.store.lease():
        engine.store.images.get(container.image_id)  # kept by the lease until the container keeps it
        folder.mkdir(mode=0o710)
        (folder / "upper").mkdir(mode=0o755)  # what it changed, also before its first start: nothing
        engine.networks.prepare(container, body.get("NetworkingConfig"))
        await engine.volumes.prepare(container, lambda: containers.roots.view(container))
        await containers.roster.add(container)
        engine.store.images.by_id(container.image_id)  # it may have been removed a moment ago


async def _undo(engine: "Engine", containers: "Containers", container: Container) -> None:
    """Whatever there is of it goes: its row too, which may be written though nobody waited for that."""
    try:
        await containers.roster.remove(container)
    finally:
        await engine.volumes.release(container, remove_anonymous=True)
        await containers.roots.forget(container)
        shutil.rmtree(engine.layout.container(container.id), ignore_errors=True)
    changes.collect_later(engine, container)


def _plan(image: Image, name: str, body: Mapping[str, Any]) -> tuple[Container, list[str]]:
    config = settings.config_of(body, image.config.config)
    host, warnings = settings.host_config_of(body)
    path, arguments = settings.command_of(config)
    container_id = secrets.token_hex(32)
    mode = host["NetworkMode"]
    if mode == "host":
        config["Hostname"] = config["Hostname"] or socket.gethostname()
    if host["UTSMode"] == "host" and body.get("Hostname"):
        raise InvalidArgument("conflicting options: hostname and the UTS mode")
    if mode.startswith("container:") and body.get("Hostname"):
        raise InvalidArgument("conflicting options: hostname and the network mode")
    config["Hostname"] = config["Hostname"] or container_id[:12]
    _check_name("hostname", config["Hostname"], 64)
    _check_name("domainname", config["Domainname"], 255)
    _add_exposed(config, host)
    container = Container(
        id=container_id,
        name=name,
        image_id=str(image.id),
        image=config["Image"],
        created_at=time.time_ns(),
        config=config,
        host_config=host,
        path=path,
        args=arguments,
    )
    return container, warnings


def _check_platform(image: Image, name: str, wanted: Platform | None) -> None:
    """Raises NotFound: a client told so pulls the image of the platform it wants."""
    actual = image.config.platform
    if wanted and actual.serves(wanted) is None:
        raise NotFound(
            f"image with reference {name} was found but does not match the specified platform: "
            f"wanted {wanted}, actual: {actual}"
        )


def _add_exposed(config: dict[str, Any], host: dict[str, Any]) -> None:
    """Published ports are exposed ones; every binding names both its halves. Raises InvalidArgument."""
    published: dict[str, list[dict[str, str]]] = {}
    for port, bindings in (host["PortBindings"] or {}).items():
        protocol, number = ports.split(port)
        if not isinstance(bindings, list | None) or not all(isinstance(each, dict) for each in bindings or ()):
            raise InvalidArgument(f"HostConfig.PortBindings[{port!r}] must be a list of objects")
        found = [{name: str(each.get(name) or "") for name in ("HostIp", "HostPort")} for each in bindings or ()]
        for each in found:
            ports.host_range(each["HostPort"])
        published[f"{number}/{protocol}"] = found
        config["ExposedPorts"] = {**(config.get("ExposedPorts") or {}), f"{number}/{protocol}": {}}
    host["PortBindings"] = published


def _check_name(what: str, name: str, longest: int) -> None:
    """Of a domain name the kernel keeps the first 64 bytes; a longer hostname it refuses."""
    if not name.isprintable() or "/" in name or len(name.encode()) > longest:
        raise InvalidArgument(f"invalid {what}: {name!r}")


def _resolve_others(containers: "Containers", container: Container) -> None:
    """Names of containers in modes become ids. Raises InvalidArgument for one that is not there."""
    for mode in ("NetworkMode", "IpcMode", "PidMode"):
        kind, _, other = str(container.host_config[mode]).partition(":")
        if kind != "container":
            continue
        try:
            found = containers.get(other)
        except NotFound:
            if mode == "NetworkMode":
                continue  # told at start, as Docker does
            # Not 404, which makes the docker command line pull the image and ask again.
            raise InvalidArgument(f"No such container: {other}") from None
        if found.id == container.id:
            raise Conflict(f"cannot join own {mode}")
        if mode == "IpcMode" and found.host_config.get("IpcMode") not in ("shareable", "host"):
            raise InvalidArgument(
                f"cannot join IPC of {other}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
            )
        container.host_config[mode] = f"container:{found.id}"
