"""Lets Django empty the audit trail between two tests, and nobody else: its triggers refuse it, as they should.

A test that needs real transactions ends with a flush of all tables. The triggers are taken away for that moment.
"""

from typing import Any

from django.db import connection
from django.db.backends.base.operations import BaseDatabaseOperations

from controlplane.operations import guards


def allow_flush() -> None:
    """For the whole run."""
    flush = BaseDatabaseOperations.execute_sql_flush

    def unguarded(self: BaseDatabaseOperations, sql_list: list[str]) -> Any:
        guards.remove(self.connection)
        try:
            return flush(self, sql_list)
        finally:
            guards.install(self.connection)

    BaseDatabaseOperations.execute_sql_flush = unguarded  # type: ignore[method-assign]


def empty_trail() -> None:
    """For a test that compares pages with all of its rows and with others."""
    guards.remove(connection)
    try:
        with connection.cursor() as cursor:
            for table in (guards.ENTRIES, guards.HEAD):
                cursor.execute(f"DELETE FROM {table}")
    finally:
        guards.install(connection)
