"""Networks of this engine, and every container's place in them.

The life of a container calls, in this order:
    networks.prepare(container, networking_config)    at create: its endpoints
    path = await networks.attach(container)            before its process: the namespace; None is the host's own
    networks.files(container)                          {"/etc/hosts": path, …} to bind into it
    await networks.detach(container)                   after its process has gone; may be called twice
and `await networks.open(running)` once, when the engine opens.
"""

import asyncio
import contextlib
import logging
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from gantry_agent.engine.config import Config
from gantry_agent.engine.containers.model import Container, Endpoint
from gantry_agent.engine.database import Database
from gantry_agent.engine.errors import Conflict, EngineError, Forbidden
from gantry_agent.engine.events import Events
from gantry_agent.engine.layout import Layout

from . import dns, files
from .catalog import Catalog
from .dns import Entry
from .files import Contents
from .kernel import Kernel, Named
from .model import HOST, NONE, SHORT, Network
from .places import Places

log = logging.getLogger(__name__)
T = TypeVar("T")
LINGER = 2.0  # seconds after which an interface that the kernel has not freed with its namespace is removed by hand
NAME = re.compile(r"[A-Za-z0-9_.-]+")  # what aardvark-dns can hold: its lines are split at blanks and commas
GUARD_INTERVAL = 60.0  # seconds between two looks whether somebody flushed our rules


class Networks:
    """Every network, and who is in it."""

    def __init__(self, layout: Layout, config: Config, database: Database, events: Events) -> None:
        self._layout = layout
        self._config = config
        self._events = events
        self.catalog = Catalog(config, database)
        self.places = Places(self.catalog)
        self._kernel: Kernel | None = None
        self._worker = ThreadPoolExecutor(1, "networks")
        self._attached: dict[str, Container] = {}
        self._joining: dict[str, Container] = {}
        self._changing = asyncio.Lock()
        self._has_names = False
        self._guard_task: asyncio.Task[None] | None = None

    async def open(self, running: Iterable[Container]) -> None:
        """Take back the places of the containers that run, and remove what is left of others."""
        await self.catalog.open()
        self._kernel = await self._run(Kernel, self._layout)
        for container in running:
            self._attached[container.id] = container
            self.places.take_back(container)
        kept = {container.id for container in self._attached.values()}
        outers = {each.interface for container in self._attached.values() for each in container.endpoints.values()}
        names: dict[str, dict[str, Entry]] = {}
        for named in (each for container in self._attached.values() for each in self._names(container)):
            names.setdefault(named.network.id, {})[named.container_id] = named.entry
        await self._run(self._kernel.restore, self.catalog.all(), self.places.ports.all(), kept, outers, names)
        self._guard_task = asyncio.get_running_loop().create_task(self._keep_guard(), name="networks guard")

    async def close(self) -> None:
        """Stop working; networks, rules and names stay for the containers that run. Without any, nothing stays."""
        if self._guard_task:
            self._guard_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._guard_task
        self.places.ports.close()
        if self._kernel:
            if not self._attached:
                await self._run(self._kernel.clear)
            await self._run(self._kernel.close)
            self._kernel = None
        self._worker.shutdown(wait=True)

    # A container's life

    def prepare(self, container: Container, networking_config: dict[str, Any] | None = None) -> None:
        """Fill `container.endpoints` from its NetworkMode and NetworkingConfig.EndpointsConfig.

        A network that does not exist is told at start, as Docker does. Raises InvalidArgument, Conflict.
        """
        self.places.prepare(container, networking_config or {})

    async def attach(self, container: Container) -> Path | None:
        """Make the container's network; the path of its namespace, None for the host's own.

        Fills `endpoints` and `ports`, which the caller saves. Raises NotFound, Conflict, Internal: nothing is left.
        """
        mode = container.network_mode
        if mode.startswith("container:"):
            other = self._shared(mode)
            self._attached[container.id] = container
            return None if other.network_mode == HOST else self._path(other)
        if mode == HOST:
            await self._run(self._host_files(container).write)
            self._attached[container.id] = container
            return None
        await self.detach(container)
        self._joining[container.id] = container
        try:
            joins = self.places.take(container)
            kernel = self._open_kernel()
            contents, names = self._files(container), self._names(container)
            published = self.places.ports.of(container.id)
            await self._run(kernel.attach, self._path(container), contents, joins, published, names)
        except BaseException:
            # Also after a cancellation, which lets the kernel's work end first.
            with contextlib.suppress(EngineError):  # the first failure is the one to tell
                await asyncio.shield(self._undo(container))
            raise
        finally:
            del self._joining[container.id]
        self._attached[container.id] = container
        for network, _ in self.places.of(container):
            self._tell(network, "connect", container)
        for other in tuple(self._attached.values()):
            if any(str(link).startswith(container.id) for link in other.host_config.get("Links") or ()):
                await self.rewrite(other)
        return self._path(container)

    async def detach(self, container: Container) -> None:
        """Take the container out of its networks, after its process has gone. Does nothing the second time."""
        was_there = self._attached.pop(container.id, None) is not None
        mode = container.network_mode
        if mode == HOST or mode.startswith("container:"):
            if mode == HOST and was_there:
                self._tell(self.catalog.get(HOST), "disconnect", container)
            return
        networks = [net for net, endpoint in self.places.of(container) if endpoint.ip or net.name == NONE]
        if not was_there and not self._path(container).exists() and not any(net.name != NONE for net in networks):
            return
        await self._undo(container)
        for network in networks:
            self._tell(network, "disconnect", container)

    async def _undo(self, container: Container) -> None:
        """Take everything of a container down that may be there. Raises the first EngineError, with the rest done."""
        outers = [each.interface for each in container.endpoints.values() if each.interface]
        named = [network.id for network, _ in self.places.of(container) if network.has_names]
        published = self.places.give_back(container)
        shares = any(each.network_mode == f"container:{container.id}" for each in self._attached.values())
        now, later = (outers, []) if shares else ([], outers)
        await self._run(self._open_kernel().detach, container.id, self._path(container), now, published, named)
        if later:
            # The kernel frees them with the namespace, beside the request path: by hand it takes 35 ms.
            asyncio.get_running_loop().call_later(LINGER, self._remove_lingering, later)

    def files(self, container: Container) -> dict[str, Path]:
        """The files of a container's network on this host, by their path inside it."""
        mode = container.network_mode
        owner = self._shared(mode) if mode.startswith("container:") else container
        return files.paths(self._layout.container(owner.id))

    def is_attached(self, container: Container) -> bool:
        """Whether it has a network now."""
        return container.id in self._attached

    def namespace(self, container: Container) -> Path | None:
        """The namespace a running container uses, another's too; None for the host's own, or one whose owner ended."""
        mode = container.network_mode
        try:
            owner = self._shared(mode) if mode.startswith("container:") else container
        except Conflict:
            return None
        return None if owner.network_mode == HOST else self._path(owner)

    async def rewrite(self, container: Container) -> None:
        """Its links, or the addresses of those it is linked to, are others now."""
        if container.id in self._attached:
            with contextlib.suppress(Conflict):  # one of them does not run: its line stays as it was
                await self._run(self._files(container).write)

    async def renamed(self, container: Container) -> None:
        """The container has another name: its networks answer to that."""
        if container.id in self._attached and (names := self._names(container)):
            await self._run(self._open_kernel().set_names, names)

    # Networks as such

    async def create(self, body: dict[str, Any]) -> Network:
        """Make a network as POST /networks/create asks. Raises as `Catalog.plan`."""
        kernel = self._open_kernel()
        taken = await self._run(kernel.subnets)
        async with self._changing:
            network = self.catalog.plan(body, taken)
            # The row first, and last when it is removed: a row without a bridge gets one when it is needed; a bridge
            # without a row would stay for ever.
            await self.catalog.add(network)
            try:
                await self._run(kernel.add_network, network)
            except BaseException:
                async with self.catalog.removing(network):
                    pass
                raise
        self._events.publish("network", "create", network.id, name=network.name, type=network.driver)
        return network

    async def remove(self, name_or_id: str) -> Network:
        """Remove a network nobody is in. Raises NotFound, Forbidden."""
        async with self._changing:
            network = self.catalog.get(name_or_id)
            if network.is_builtin:
                raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
            if self.members(network):
                what = f"network {network.name} id {network.id}"
                raise Forbidden(f"error while removing network: {what} has active endpoints")
            async with self.catalog.removing(network):
                await self._run(self._open_kernel().remove_network, network)
            self.places.forget(network)
        self._events.publish("network", "destroy", network.id, name=network.name, type=network.driver)
        return network

    def members(self, network: Network) -> list[tuple[Container, Endpoint]]:
        """Who is in it now, with their places."""
        return [
            (container, endpoint)
            for container in (*self._attached.values(), *self._joining.values())
            for found, endpoint in self.places.of(container)
            if found.id == network.id
        ]

    async def connect(self, network: Network, container: Container, settings: dict[str, Any]) -> None:
        """Put a container into one more network, now if it runs. The caller saves it.

        Raises Forbidden, InvalidArgument as Docker does.
        """
        mode = container.network_mode
        if mode == HOST or mode.startswith("container:"):
            raise Forbidden(
                "container sharing network namespace with another container or host cannot be connected to any other"
                " network"
            )
        if network.driver != "bridge" or mode == NONE:
            raise Forbidden(
                "container cannot be connected to multiple networks with one of the networks in private (none) mode"
                if NONE in (network.name, mode)
                else "container cannot be disconnected from host network or connected to host network"
            )
        if any(found.id == network.id for found, _ in self.places.of(container)):
            raise Forbidden(f"endpoint with name {container.name} already exists in network {network.name}")
        self.places.add(container, network.name, settings, "")
        if container.id not in self._attached:
            return
        endpoint = container.endpoints[network.name]
        try:
            join = self.places.take_one(container, network, endpoint)
            await self._run(self._files(container).write)
            named = [each for each in self._names(container) if each.network.id == network.id]
            await self._run(self._open_kernel().join, self._path(container), join, named)
        except BaseException:
            self.places.give_back_one(network, container.endpoints.pop(network.name))
            raise
        await self._publish(container)
        self._tell(network, "connect", container)

    async def disconnect(self, network: Network, container: Container, *, force: bool = False) -> None:
        """Take a container out of a network, now if it runs. The caller saves it. Raises Forbidden."""
        if network.name == HOST or container.network_mode == HOST:
            raise Forbidden("container cannot be disconnected from host network or connected to host network")
        name = next((key for key in container.endpoints if self.catalog.find(key) is network), None)
        if name is None:
            raise Forbidden(f"container {container.id} is not connected to network {network.name}")
        endpoint = container.endpoints.pop(name)
        if container.id not in self._attached or not endpoint.interface:
            return
        main = self.places.main(container)
        gateway = main[0].gateway if main else ""
        await self._publish(container)
        await self._run(self._files(container).write)
        arguments = (self._path(container), endpoint.interface, gateway, network, container.id)
        await self._run(self._open_kernel().leave, *arguments)
        self.places.give_back_one(network, endpoint)
        self._tell(network, "disconnect", container)

    async def _publish(self, container: Container) -> None:
        """After a change of its networks: publish a running container's ports at the address that leads outwards."""
        old, new = self.places.move_ports(container)
        if old != new:
            await self._run(self._open_kernel().publish, old, new)

    # Files and names

    def _names(self, container: Container) -> list[Named]:
        servers = tuple(str(each) for each in container.host_config.get("Dns") or self._config.dns)
        found = []
        for network, endpoint in self.places.of(container):
            if network.has_names and endpoint.ip:
                names = dict.fromkeys([container.name, *endpoint.aliases, container.id[:SHORT]])
                found.append(
                    Named(network, container.id, Entry(endpoint.ip, tuple(filter(NAME.fullmatch, names)), servers))
                )
        return found

    def _files(self, container: Container) -> Contents:
        """The container's hosts, resolv.conf and hostname, for the networks it is in now."""
        inside = [(network, endpoint) for network, endpoint in self.places.of(container) if endpoint.ip]
        main = self.places.main(container)
        gateway = main[0].gateway if main else "127.0.0.1"
        hosts = files.hosts_text(container, [end.ip for _, end in inside], gateway, self._linked(container))
        answering = [network.gateway for network, _ in inside if network.has_names and self.has_names]
        resolver = files.resolver_of(container, answering, self._config.dns)
        hostname = container.config.get("Hostname") or container.id[:SHORT]
        return Contents(self._layout.container(container.id), hosts, resolver.text(), f"{hostname}\n")

    def _host_files(self, container: Container) -> Contents:
        """The same for the host's own network."""
        hosts = files.host_hosts_text(container)
        resolver = files.resolver_of(container, (), self._config.dns, is_host=True)
        hostname = container.config.get("Hostname") or socket.gethostname()
        return Contents(self._layout.container(container.id), hosts, resolver.text(), f"{hostname}\n")

    def _linked(self, container: Container) -> list[str]:
        """Lines of /etc/hosts for `--link other:alias`. Raises Conflict for one that does not run, as Docker does."""
        lines = []
        links = [
            *(container.host_config.get("Links") or ()),
            *(link for _, end in self.places.of(container) for link in end.links),
        ]
        for link in dict.fromkeys(links):
            name, _, alias = str(link).partition(":")
            name, alias = name.lstrip("/"), alias.rpartition("/")[2] or name.lstrip("/")
            other = self._running(name)
            if other is None:
                raise Conflict(f"Cannot link to a non running container: /{name} AS /{container.name}/{alias}")
            if main := self.places.main(other):
                lines.append(f"{main[1].ip}\t" + " ".join(dict.fromkeys([alias, other.id[:SHORT], other.name])))
        return lines

    # Little things

    @property
    def has_names(self) -> bool:
        """Whether names are answered here: aardvark-dns is installed."""
        self._has_names = self._has_names or dns.command() is not None
        return self._has_names

    def _running(self, name_or_id: str) -> Container | None:
        if found := self._attached.get(name_or_id):
            return found
        return next((each for each in self._attached.values() if each.name == name_or_id), None)

    def _shared(self, mode: str) -> Container:
        """Whose network a container with mode container:X uses. Raises Conflict unless X runs."""
        seen: set[str] = set()
        while True:
            name = mode.partition(":")[2]
            other = self._running(name)
            if other is None or other.id in seen:
                raise Conflict(f"cannot join network of a non running container: {name}")
            seen.add(other.id)
            mode = other.network_mode
            if not mode.startswith("container:"):
                return other

    def _path(self, container: Container) -> Path:
        return self._layout.netns / container.id

    def _open_kernel(self) -> Kernel:
        assert self._kernel is not None, "networks.open() comes first"
        return self._kernel

    def _tell(self, network: Network, action: str, container: Container) -> None:
        self._events.publish(
            "network", action, network.id, container=container.id, name=network.name, type=network.driver
        )

    def _remove_lingering(self, outers: Sequence[str]) -> None:
        if self._kernel:
            with contextlib.suppress(RuntimeError):  # closed in the meantime: the next engine sweeps
                self._worker.submit(self._kernel.remove_lingering, outers)

    async def guard(self) -> None:
        """Put back rules that somebody flushed, or that another firewall started after us holds back."""
        await self._run(self._open_kernel().guard)

    async def _keep_guard(self) -> None:
        while True:
            await asyncio.sleep(GUARD_INTERVAL)
            try:
                await self.guard()
            except EngineError as exc:
                log.error("the firewall's rules could not be put back: %s", exc.message)

    async def _run(self, work: Callable[..., T], *arguments: object) -> T:
        """Do blocking work in the worker. A caller that is cancelled waits for its end: half of it is no state."""
        future = asyncio.get_running_loop().run_in_executor(self._worker, work, *arguments)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise
