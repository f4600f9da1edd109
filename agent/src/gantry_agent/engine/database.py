"""The engine's metadata: SQLite in WAL mode, one reader in the event loop, one writer in a thread.

Reads are single indexed lookups (microseconds) and are made where they are needed. Writes are callbacks run one after
another, each in a transaction of its own; a killed process leaves the last whole one.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
BUSY_TIMEOUT = 5.0  # seconds


class Database:
    """One open database file. Each package hands its `CREATE TABLE IF NOT EXISTS` statements in as `schema`."""

    def __init__(self, path: Path, schema: Sequence[str]) -> None:
        self._writer = ThreadPoolExecutor(1, "database")
        self._write_connection = _connect(path)
        self._reader = _connect(path)
        with self._write_connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            for statement in schema:
                connection.execute(statement)

    def read(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """The rows of a SELECT. For indexed lookups and small tables only: it runs on the event loop."""
        return self._reader.execute(sql, values).fetchall()

    async def write(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = False) -> T:
        """Run `work(connection)` in one transaction and return its answer. An exception rolls back.

        `durable` also survives loss of power (an fsync); without it, only the death of the process.
        A caller that is cancelled does not undo the write.
        """
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._writer, self._run, work, durable))

    def write_now(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = False) -> T:
        """`write` for callers outside the event loop."""
        return self._writer.submit(self._run, work, durable).result()

    def _run(self, work: Callable[[sqlite3.Connection], T], durable: bool) -> T:
        connection = self._write_connection
        connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            return work(connection)

    def close(self) -> None:
        """Finish what is queued and close the file."""
        self._writer.shutdown(wait=True)
        self._reader.close()
        self._write_connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection
