"""What a container changed in its image's files."""

import json
from pathlib import Path

from gantry_agent.engine.errors import Internal

from .changes_walk import MAX_CHANGES
from .pack import View, output_of


async def changes(upper: Path, lowers: View | None) -> list[tuple[int, str]]:
    """(kind, path), kind 0 modified, 1 added, 2 deleted, as `docker diff`; in order of paths. Raises Internal."""
    found: list[tuple[int, str]] = []
    rest = b""
    async for chunk in output_of({"do": "changes", "upper": str(upper), "lowers": lowers}):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            kind, path = json.loads(line)
            found.append((kind, path))
        if len(found) > MAX_CHANGES:
            raise Internal(f"the container has changed more than {MAX_CHANGES} files")
    return found
