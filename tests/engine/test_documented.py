"""docs/native-engine.md names every key of the configuration, with its default where that is a plain value."""

from __future__ import annotations

import dataclasses
import re

import pytest
from gantry_agent.engine.config import Config

from tests.support.home import ROOT

PAGE = (ROOT / "docs" / "native-engine.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("field", dataclasses.fields(Config), ids=lambda field: field.name)
def test_every_key_is_documented(field: dataclasses.Field[object]) -> None:
    key = f"`{field.name.replace('_', '-')}`"
    row = next((row for row in ROWS if key in row.split("|")[1]), None)
    assert row, f"{key} has no row"
    if isinstance(field.default, str) and field.default:
        assert f"`{field.default}`" in row


def test_no_row_tells_of_a_key_that_is_not_there() -> None:
    table = PAGE.partition("## Configuration")[2].partition("\n## ")[0]
    known = {field.name.replace("_", "-") for field in dataclasses.fields(Config)}
    named = {
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`([^`]+)`", row.split("|")[1])
    }
    assert named == known
