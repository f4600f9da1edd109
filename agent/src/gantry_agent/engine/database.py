"""The engine's metadata: SQLite in WAL mode, one reader in the event loop, one writer in a thread.

Reads are single indexed lookups (microseconds) and are made where they are needed. Writes are callbacks run one after
another, each in a transaction of its own; a killed process leaves the last whole one.

Some room is set aside in a file beside the database and given up when the disk is full: so containers' states can still
be written then, and images removed to make room.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from .errors import Internal

T = TypeVar("T")
BUSY_TIMEOUT = 5.0  # seconds
MODE = 0o600
RESERVE = 4 << 20  # bytes: some hundred transactions


class Database:
    """One open database file. Each package hands its `CREATE TABLE IF NOT EXISTS` statements in as `schema`."""

    def __init__(self, path: Path, schema: Sequence[str]) -> None:
        self._writer = ThreadPoolExecutor(1, "database")
        self._reserve = path.with_name("reserve")
        _make_private(path)
        self._write_connection = _connect(path)
        self._reader = _connect(path)
        with self._write_connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            for statement in schema:
                connection.execute(statement)
        self.keep_reserve()

    def keep_reserve(self) -> None:
        """Set room aside, if there is any."""
        try:
            with self._reserve.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE)
        except OSError:
            self._reserve.unlink(missing_ok=True)

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
        self._write_connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        try:
            try:
                return self._transaction(work)
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._reserve.exists():
                    raise
                self._reserve.unlink()
                return self._transaction(work)
        except sqlite3.OperationalError as exc:  # the disk is full, or fails
            raise Internal(f"the engine's database cannot be written: {exc}") from exc

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._write_connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            return work(connection)

    def close(self) -> None:
        """Finish what is queued and close the file."""
        self._writer.shutdown(wait=True)
        self._reader.close()
        self._write_connection.close()


def _make_private(path: Path) -> None:
    """For root alone: it holds the environments of containers. SQLite gives the files it makes beside it the same mode;
    those of an earlier version are changed."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, MODE))
    for each in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        with suppress(FileNotFoundError):
            each.chmod(MODE)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection
