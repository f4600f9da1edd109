"""The decision and its twin in SQL once more, on PostgreSQL: what a list shows must not depend on the database."""

from __future__ import annotations

import os

import pytest

from tests.support.postgres import again_on_postgres

FILES = [
    *(f"tests/access/test_{name}.py" for name in ("decide", "grants", "giving", "explaining", "people")),
    "tests/granting/test_covering.py",
    "tests/security/test_list_queries.py",
    "tests/api/test_lists.py",
    "tests/api/test_at_once.py",
]


@pytest.mark.timeout(900)
@pytest.mark.skipif("DATABASE_URL" in os.environ, reason="this is the run on PostgreSQL")
def test_rights_are_the_same_on_postgresql() -> None:
    again_on_postgres(FILES)
