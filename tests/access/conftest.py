"""People of both roles."""

from __future__ import annotations

import pytest

from controlplane.access.models import Standing, User

UNUSABLE = "!"  # hashing a password for every test would take most of its time


@pytest.fixture
def ada(db: None) -> User:
    """An administrator, the only one."""
    return User.objects.create(username="ada", password=UNUSABLE, standing=Standing.ADMINISTRATOR)


@pytest.fixture
def vic(db: None) -> User:
    """A viewer."""
    return User.objects.create(username="vic", password=UNUSABLE, standing=Standing.VIEWER)
