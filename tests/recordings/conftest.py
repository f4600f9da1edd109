"""Recordings go to a folder of the test's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.recordings.casts import lay_folder


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    """The folder of recordings."""
    return lay_folder(tmp_path, settings)
