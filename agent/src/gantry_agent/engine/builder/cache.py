"""What was built before: (tenant, image before the step, what the step does) → image after it.

A step is known by what `history` says of it, in which the files it brings are a digest of their content; times are no
part of it. An image that was removed is no hit, so the cache never holds an image back: it goes with `docker image
prune`, as Docker's own.
"""

import hashlib
import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gantry_agent.engine.database import Database
from gantry_agent.engine.errors import NotFound
from gantry_agent.engine.store import Image, Store

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS build_cache (
        tenant TEXT NOT NULL,
        parent TEXT NOT NULL,
        step TEXT NOT NULL,
        image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        made_at INTEGER NOT NULL,
        used_at INTEGER NOT NULL,
        PRIMARY KEY (tenant, parent, step)
    ) STRICT""",
)


@dataclass(frozen=True)
class Key:
    """A step on top of an image. `parent`: its id, "" for scratch; `created_by`: as history tells it."""

    parent: str
    created_by: str
    more: str = ""
    """What else decides the outcome and stands in no history: mounts, flags, a network. No history matches it."""
    exact: str = ""
    """What tells apart steps that history tells of alike: a configuration, words, a platform, a time."""

    @property
    def step(self) -> str:
        return hashlib.sha256(json.dumps([self.created_by, self.more, self.exact]).encode()).hexdigest()


class Cache:
    """One tenant's view of the cache for one build."""

    def __init__(self, store: Store, database: Database, tenant: str, sources: Sequence[Image] = ()) -> None:
        self._store = store
        self._database = database
        self._tenant = tenant
        self._sources = sources
        """Images named as cache sources: their layers may be taken where their history says the same."""
        self._hits: set[str] = set()

    def get(self, key: Key) -> Image | None:
        """The image after the step, if it was made before and is still here."""
        rows = self._database.read(
            "SELECT image FROM build_cache WHERE tenant = ? AND parent = ? AND step = ?",
            self._tenant,
            key.parent,
            key.step,
        )
        for row in rows:
            try:
                found = self._store.images.get(row["image"])
            except NotFound:
                return None
            self._hits.add(found.id)
            return found
        return None

    async def note_uses(self) -> None:
        """Write down when what was found was used, for those who choose what goes."""
        now = time.time_ns()
        rows = [(now, image_id) for image_id in self._hits]
        if rows:
            statement = "UPDATE build_cache SET used_at = ? WHERE image = ?"
            await self._database.write(lambda connection: connection.executemany(statement, rows))

    async def put(self, key: Key, image_id: str) -> None:
        """Remember the image after a step."""
        now = time.time_ns()
        row = (self._tenant, key.parent, key.step, image_id, now, now)

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO build_cache VALUES (?, ?, ?, ?, ?, ?)", row)

        await self._database.write(insert)

    def from_source(self, parent: Image | None, key: Key) -> tuple[Image, int] | None:
        """An image named as a source that did the same on the same layers, and which of its history it is."""
        if key.more:
            return None
        history: list[dict[str, Any]] = parent.config.history if parent else []
        layers = len(parent.config.diff_ids) if parent else 0
        for source in self._sources:
            config = source.config
            if len(config.history) <= len(history) or (parent and config.diff_ids[:layers] != parent.config.diff_ids):
                continue
            same = zip(history, config.history, strict=False)
            if all(ours.get("created_by") == theirs.get("created_by") for ours, theirs in same):
                entry = config.history[len(history)]
                if entry.get("created_by") == key.created_by:
                    return source, len(history)
        return None


def uses(database: Database) -> dict[str, int]:
    """When each image of the cache was last used, in ns since the epoch."""
    rows = database.read("SELECT image, max(used_at) AS used_at FROM build_cache GROUP BY image")
    return {row["image"]: row["used_at"] for row in rows}
