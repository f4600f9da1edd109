"""Every container the engine knows, in memory and in the database; found by id, name, or the beginning of an id."""

import asyncio
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from gantry_agent.engine.database import Database
from gantry_agent.engine.errors import Conflict, InvalidArgument, NotFound

from .model import Container

SCHEMA: tuple[str, ...] = (
    "CREATE TABLE IF NOT EXISTS containers (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, data TEXT NOT NULL) STRICT",
)


class Roster:
    """The containers. Lookups are from memory; `save` before an answer that depends on it is given."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._all: dict[str, Container] = {}
        self._names: dict[str, str] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._images: dict[str, dict[str, Container]] = {}

    def open(self) -> None:
        """Read them all."""
        for row in self._database.read("SELECT data FROM containers"):
            container = Container.from_json(json.loads(row["data"]))
            self._put(container)
            self._names[container.name] = container.id

    def all(self) -> list[Container]:
        return list(self._all.values())

    def find(self, container_id: str) -> Container | None:
        """By the whole id."""
        return self._all.get(container_id)

    def get(self, wanted: str) -> Container:
        """By id, name (with or without its slash), or the beginning of an id.

        Raises NotFound, InvalidArgument when several ids begin so.
        """
        if not wanted:
            raise InvalidArgument("No container name or ID supplied")
        if found := self._all.get(wanted):
            return found
        if found := self._all.get(self._names.get(wanted.removeprefix("/"), "")):
            return found
        matches = [each for each in self._all if each.startswith(wanted)]
        if len(matches) > 1:
            raise InvalidArgument(f"Multiple IDs found with provided prefix: {wanted}")
        if not matches:
            raise NotFound(f"No such container: {wanted}")
        return self._all[matches[0]]

    def by_image(self, image_id: str) -> list[Container]:
        """The containers made from an image."""
        return list(self._images.get(image_id, {}).values())

    @property
    def names(self) -> Iterable[str]:
        return self._names.keys()

    def lock(self, container: Container) -> asyncio.Lock:
        """Who changes a container's state holds its lock."""
        return self._locks.setdefault(container.id, asyncio.Lock())

    @contextmanager
    def claim(self, name: str, container_id: str) -> Iterator[None]:
        """Take a name; given back when the block fails. Raises Conflict."""
        if holder := self._names.get(name):
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{holder}".'
                " You have to remove (or rename) that container to be able to reuse that name."
            )
        self._names[name] = container_id
        try:
            yield
        except BaseException:
            if self._names.get(name) == container_id:  # `remove` may have given it back, and somebody else have it
                self.release(name)
            raise

    def release(self, name: str) -> None:
        """Give a name back."""
        self._names.pop(name, None)

    async def add(self, container: Container) -> None:
        """A new one, whose name is claimed."""
        await self.save(container)
        self._put(container)

    async def save(self, container: Container) -> None:
        """Write it down as it is now."""
        row = (container.id, container.name, json.dumps(container.to_json()))
        sql = (
            "INSERT INTO containers VALUES (?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET name = excluded.name, data = excluded.data"
        )
        await self._database.write(lambda connection: connection.execute(sql, row))

    async def remove(self, container: Container) -> None:
        """Forget it."""
        await self._database.write(
            lambda connection: connection.execute("DELETE FROM containers WHERE id = ?", (container.id,))
        )
        self._all.pop(container.id, None)
        self._locks.pop(container.id, None)
        self._names.pop(container.name, None)
        self._images.get(container.image_id, {}).pop(container.id, None)

    def _put(self, container: Container) -> None:
        self._all[container.id] = container
        self._images.setdefault(container.image_id, {})[container.id] = container
