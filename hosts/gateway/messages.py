"""Reading the text frames of agents, which may be anything."""

from __future__ import annotations

from typing import Any

from controlplane.lib.foreign import foreign_json


def parse(text: str) -> dict[str, Any]:
    """A frame's object, with a text under "type". Raises ValueError for anything else."""
    try:
        found = foreign_json(text)
    except RecursionError as exc:  # thousands of opening brackets
        raise ValueError("nested too deeply") from exc
    if not isinstance(found, dict) or not isinstance(found.get("type"), str):
        raise ValueError("expected an object with a type")
    return found
