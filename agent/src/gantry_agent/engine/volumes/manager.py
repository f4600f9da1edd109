"""Volumes of this engine: made, found, listed, removed; and the mounts a container asks for.

The life of a container calls:
    await volumes.prepare(container, view)      at create: fills container.mounts; anonymous volumes are made now
    await volumes.mount(container)              before each start: sources are there
    await volumes.unmount(container)            after its process has gone
    await volumes.release(container, remove_anonymous)   when it is removed
"""

import asyncio
import contextlib
import json
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from weakref import WeakValueDictionary

from gantry_agent.engine.containers.model import Container, MountPoint
from gantry_agent.engine.database import Database
from gantry_agent.engine.errors import Conflict, EngineError, InvalidArgument, NotFound
from gantry_agent.engine.events import Events
from gantry_agent.engine.layers.places import Places
from gantry_agent.engine.layout import Layout
from gantry_agent.engine.store import files

from . import requests
from .copyup import copy_up, copy_up_whole, is_empty
from .model import Volume
from .options import check_options, mount_volume, unmount_volume

log = logging.getLogger(__name__)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]+")
MAX_NAME = 255
DATA = "_data"
ANONYMOUS = "com.docker.volume.anonymous"  # the label Docker gives

View = Callable[[], AbstractAsyncContextManager[Path]]
"""The root of a container's files, mounted while inside: where copy-up reads."""


class Volumes:
    """Every volume, by name, and which containers use it."""

    def __init__(self, layout: Layout, database: Database, events: Events) -> None:
        self._layout = layout
        self._database = database
        self._events = events
        self._volumes: dict[str, Volume] = {}
        self._users: dict[str, dict[str, Container]] = {}
        self._mounted: dict[str, set[str]] = {}
        self._containers: dict[str, Container] = {}
        self._changing = asyncio.Lock()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def open(self, containers: Iterable[Container]) -> None:
        """Read what there is; folders that a killed engine began and never wrote down, or had removed, go."""
        for row in self._database.read("SELECT * FROM volumes"):
            values = {**dict(row), "labels": json.loads(row["labels"]), "options": json.loads(row["options"])}
            self._volumes[row["name"]] = Volume(**{**values, "is_anonymous": bool(row["is_anonymous"])})
        for container in containers:
            self._use(container)
            if container.is_running:
                for volume in self._volumes_of(container):
                    self._mounted.setdefault(volume.name, set()).add(container.id)
        adopted, lost = await asyncio.to_thread(self._sweep)
        for volume in adopted:
            await self._write_down(volume)
        for name in lost:
            await self._strike_out(name)

    def _sweep(self) -> tuple[list[Volume], list[str]]:
        """Folders without a row, that hold something, and rows without a folder; empty folders are removed.

        A killed engine leaves a folder it has just begun, or a row whose folder it has just taken away. A folder with
        content is a volume whatever the database says: content is never removed because a row is missing.
        """
        adopted: list[Volume] = []
        for folder in self._layout.volumes.iterdir():
            if folder.name in self._volumes or not NAME.fullmatch(folder.name):
                continue
            if not (folder / DATA).is_dir() or not os.listdir(folder / DATA):
                _remove_tree(folder, self._layout.tmp)
            else:
                log.warning("the volume %s was not in the database; it is again", folder.name)
                adopted.append(Volume(folder.name, folder.stat().st_mtime_ns))
        lost = [name for name in self._volumes if not (self._layout.volumes / name).is_dir()]
        for name, volume in self._volumes.items():
            if volume.options and name not in self._mounted and name not in lost:
                unmount_volume(self.path(name))
        return adopted, lost

    # Volumes as such

    def path(self, name: str) -> Path:
        """Where a volume's content is."""
        return self._layout.volumes / name / DATA

    def all(self) -> list[Volume]:
        return list(self._volumes.values())

    def get(self, name: str) -> Volume:
        """Raises NotFound."""
        if name not in self._volumes:
            raise NotFound(f"get {name}: no such volume")
        return self._volumes[name]

    def users(self, name: str) -> list[Container]:
        """The containers that have it among their mounts, running or not."""
        return list(self._users.get(name, {}).values())

    async def create(
        self,
        name: str = "",
        labels: dict[str, str] | None = None,
        options: dict[str, str] | None = None,
        driver: str = "local",
    ) -> Volume:
        """Make a volume; one that is there already is returned as it is. Without a name it is anonymous.

        Raises InvalidArgument, NotFound (driver), Conflict (there with other options).
        """
        if driver not in ("", "local", "default"):
            raise NotFound(f'error looking up volume plugin {driver}: plugin "{driver}" not found')
        if name and not (NAME.fullmatch(name) and len(name) <= MAX_NAME):
            raise InvalidArgument(
                f'create {name}: "{name}" includes invalid characters for a local volume name, only'
                ' "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
            )
        check_options(options or {})
        async with self._changing:
            if found := self._volumes.get(name):
                if options and options != found.options:
                    raise Conflict(f"create {name}: conflict: a volume of this name has other options")
                return found
            labels = dict(labels or {}) if name else {ANONYMOUS: "", **(labels or {})}
            volume = Volume(name or secrets.token_hex(32), time.time_ns(), not name, labels, options or {})
            await asyncio.to_thread(self._make, volume.name)
            await self._write_down(volume)
        self._events.publish("volume", "create", volume.name, driver="local")
        return volume

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a volume nobody uses. Raises NotFound (not with `force`), Conflict saying by whom it is used."""
        async with self._changing:
            if force and name not in self._volumes:
                return
            self.get(name)
            if users := self.users(name):
                who = ", ".join(user.id for user in users)
                raise Conflict(f"remove {name}: volume is in use - [{who}]")
            # The folder first, in one step: a row without one is struck out at the next start.
            away = await asyncio.to_thread(_take_away, self._layout.volumes / name, self._layout.tmp)
            await self._strike_out(name)
        if away:
            await asyncio.to_thread(shutil.rmtree, away, True)
        self._events.publish("volume", "destroy", name, driver="local")

    async def _write_down(self, volume: Volume) -> None:
        row = [volume.name, volume.created_at, int(volume.is_anonymous)]
        row += [json.dumps(volume.labels), json.dumps(volume.options)]
        await self._database.write(lambda connection: connection.execute("INSERT INTO volumes VALUES (?,?,?,?,?)", row))
        self._volumes[volume.name] = volume

    async def _strike_out(self, name: str) -> None:
        await self._database.write(lambda connection: connection.execute("DELETE FROM volumes WHERE name=?", [name]))
        self._volumes.pop(name, None)

    def _make(self, name: str) -> None:
        folder = self._layout.volumes / name
        if folder.exists():
            _remove_tree(folder, self._layout.tmp)
        folder.mkdir(mode=0o701)
        (folder / DATA).mkdir(mode=0o755)
        (folder / DATA).chmod(0o755)

    # A container's life

    async def prepare(self, container: Container, view: View | None = None) -> list[MountPoint]:
        """Fill `container.mounts` from its Binds, Mounts, Tmpfs, VolumesFrom and its image's Volumes; make what is new.

        An empty volume gets what the image has at its place; `view` is entered only then. Raises InvalidArgument,
        NotFound, Conflict, Internal; volumes that were made for it are gone then, unless others use them already.
        """
        wanted = requests.wanted(container, self._find_container)
        made: list[str] = []
        try:
            for mount in wanted:
                await self._provide(container, mount, made)
            container.mounts = [wish.mount for wish in wanted]
            await self._fill(container, wanted, view)
        except BaseException:
            container.mounts = []
            await self.release(container)
            for name in made:
                await self._remove_unused(name)
            raise
        self._use(container)
        return container.mounts

    async def mount(self, container: Container) -> None:
        """Before each start: volumes with options are mounted. Raises Internal when one cannot be."""
        for volume in self._volumes_of(container):
            async with self._lock(volume.name):
                users = self._mounted.setdefault(volume.name, set())
                is_first = not users
                users.add(container.id)  # before it is, so that `unmount` takes off what a cancelled start has mounted
                if volume.options and is_first:
                    try:
                        await _to_the_end(mount_volume, self.path(volume.name), volume.options)
                    except (EngineError, OSError):
                        users.discard(container.id)
                        raise
        for mount in container.mounts:
            if mount.kind == "volume":
                propagation = {"propagation": mount.propagation, "read/write": str(mount.writable).lower()}
                self._events.publish(
                    "volume",
                    "mount",
                    mount.name,
                    container=container.id,
                    destination=mount.target,
                    driver="local",
                    **propagation,
                )

    async def unmount(self, container: Container) -> None:
        """After its process has gone: volumes with options that nobody else uses are unmounted. Twice is fine."""
        for volume in self._volumes_of(container):
            async with self._lock(volume.name):
                users = self._mounted.get(volume.name, set())
                if container.id in users:
                    users.discard(container.id)
                    if volume.options and not users:
                        await _to_the_end(unmount_volume, self.path(volume.name))
        for mount in container.mounts:
            if mount.kind == "volume":
                self._events.publish("volume", "unmount", mount.name, container=container.id, driver="local")

    async def release(self, container: Container, remove_anonymous: bool = False) -> None:
        """The container is being removed: it uses nothing any more; its anonymous volumes go when asked."""
        self._containers.pop(container.id, None)
        for name in list(self._users):
            self._users[name].pop(container.id, None)
        for mount in container.mounts:
            if remove_anonymous and mount.is_anonymous and mount.name in self._volumes and not self.users(mount.name):
                await self.remove(mount.name)

    async def _provide(self, container: Container, wish: requests.Wish, made: list[str]) -> None:
        """Have the source of one mount."""
        mount = wish.mount
        if mount.kind == "bind":
            if wish.make_source:
                await asyncio.to_thread(_make_folder, mount.source)
            elif not os.path.exists(mount.source):
                raise InvalidArgument(
                    f'invalid mount config for type "bind": bind source path does not exist: {mount.source}'
                )
        elif mount.kind == "volume":
            is_new = mount.name not in self._volumes
            volume = await self.create(mount.name, wish.labels, wish.options, wish.driver)
            # In use from here on, before anybody else's turn: a prune may be waiting for it.
            self._users.setdefault(volume.name, {})[container.id] = container
            if is_new:
                made.append(volume.name)
            mount.name, mount.source = volume.name, str(self.path(volume.name))

    async def _fill(self, container: Container, wishes: list[requests.Wish], view: View | None) -> None:
        """Copy what the image has at the place of each empty volume.

        A working folder inside one is made before, as Docker does: in a read-only volume the start could not.
        """
        if view is None:
            return
        async with contextlib.AsyncExitStack() as stack:
            root: Path | None = None
            for mount in (wish.mount for wish in wishes if wish.mount.kind == "volume" and not wish.mount.no_copy):
                if self._volumes[mount.name].options:
                    continue
                async with self._lock(mount.name):
                    if not await asyncio.to_thread(is_empty, Path(mount.source)):
                        continue
                    if root is None:
                        root = await stack.enter_async_context(view())
                    await self._copy_up(root, mount, str(container.config.get("WorkingDir") or "/"))

    async def _copy_up(self, root: Path, mount: MountPoint, working_folder: str) -> None:
        """With the volume's lock. A volume that runs with a container keeps its folder, and is filled in place."""
        if working_folder.startswith(f"{mount.target}/"):
            await asyncio.to_thread(_make_inside, root, working_folder)
        if self._mounted.get(mount.name):
            await _to_the_end(copy_up, root, mount.target, Path(mount.source))
        else:
            staged = files.temporary(self._layout.tmp, "volume")
            await _to_the_end(copy_up_whole, root, mount.target, Path(mount.source), staged)

    def _lock(self, name: str) -> asyncio.Lock:
        """Of one volume: held while it is filled, mounted or unmounted."""
        return self._locks.setdefault(name, asyncio.Lock())

    async def _remove_unused(self, name: str) -> None:
        """One that was made for a container which cannot be; why it cannot is what people are to hear."""
        if name not in self._volumes or self.users(name):
            return
        try:
            await self.remove(name)
        except (EngineError, OSError) as exc:
            log.error("the volume %s, made for a container that could not be, stays: %s", name, exc)

    def _use(self, container: Container) -> None:
        self._containers[container.id] = container
        for mount in container.mounts:
            if mount.kind == "volume":
                self._users.setdefault(mount.name, {})[container.id] = container

    def _volumes_of(self, container: Container) -> list[Volume]:
        names = dict.fromkeys(mount.name for mount in container.mounts if mount.kind == "volume")
        return [self._volumes[name] for name in names if name in self._volumes]

    def _find_container(self, name_or_id: str) -> Container:
        """For VolumesFrom. Raises InvalidArgument: not 404, which makes the docker command line pull the image."""
        found = [
            each
            for each in self._containers.values()
            if name_or_id in (each.name, each.id) or (len(name_or_id) > 3 and each.id.startswith(name_or_id))
        ]
        if not found:
            raise InvalidArgument(f"No such container: {name_or_id}")
        return found[0]


async def _to_the_end(function: Callable[..., object], *arguments: object) -> None:
    """Call it in a thread. Who is cancelled still waits for it: nobody else may begin before."""
    work = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        if failure := work.exception():
            log.error("what was being done for a cancelled request failed: %s", failure)
        raise


def _make_folder(path: str) -> None:
    """The source of a `-v` bind, made when it is missing, as Docker does. Raises InvalidArgument."""
    try:
        os.makedirs(path, mode=0o755, exist_ok=True)
    except FileExistsError:
        pass  # a file, a socket: bound as it is
    except OSError as exc:
        raise InvalidArgument(f"error while creating mount source path '{path}': {exc.strerror}") from exc


def _make_inside(root: Path, folder: str) -> None:
    """A folder below `root`, if it can be: what is in its way is told at start."""
    with contextlib.suppress(OSError), Places(root) as places:
        places.make(folder)


def _take_away(folder: Path, tmp: Path) -> Path | None:
    """Move a volume's folder out of its place in one step, to where it is swept at start; None when it is not there.

    Raises Internal when something stays mounted on it: that content is not ours to remove.
    """
    unmount_volume(folder / DATA)
    away = tmp / f"volume-{secrets.token_hex(8)}"
    try:
        folder.rename(away)
    except FileNotFoundError:
        return None
    return away


def _remove_tree(folder: Path, tmp: Path) -> None:
    if away := _take_away(folder, tmp):
        shutil.rmtree(away, ignore_errors=True)
