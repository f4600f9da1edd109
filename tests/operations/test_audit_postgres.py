"""The tests of the chain once more, on PostgreSQL: its locks and triggers are others than SQLite's."""

from __future__ import annotations

import os

import pytest

from tests.support.postgres import again_on_postgres

FILES = [f"tests/operations/test_audit_{name}.py" for name in ("chain", "verify", "migration", "environments")]


@pytest.mark.timeout(900)
@pytest.mark.skipif("DATABASE_URL" in os.environ, reason="this is the run on PostgreSQL")
def test_the_trail_is_kept_on_postgresql_too() -> None:
    again_on_postgres(FILES)
