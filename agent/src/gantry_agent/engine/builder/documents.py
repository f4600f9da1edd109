"""The image after a step, as its configuration (OCI image-spec, config.md; Docker's history)."""

import json
import time
from collections.abc import Mapping
from typing import Any

from gantry_agent import __version__
from gantry_agent.engine.images.moments import rfc3339
from gantry_agent.engine.oci import Digest, Platform
from gantry_agent.engine.store import Image

NOTE = "#(nop) "


def document(
    parent: Image | None,
    config: Mapping[str, Any],
    created_by: str,
    diff_id: Digest | None,
    *,
    platform: Platform,
    author: str = "",
    epoch: int | None = None,
    comment: str = "",
) -> bytes:
    """The configuration of the image that the step `created_by` makes of `parent`. `diff_id`: of its layer, None when
    it brings none. `epoch`: seconds, instead of the present time."""
    created = rfc3339(epoch * 10**9 if epoch is not None else time.time_ns())
    entry: dict[str, Any] = {"created": created, "created_by": created_by}
    if author:
        entry["author"] = author
    if comment:
        entry["comment"] = comment
    if diff_id is None:
        entry["empty_layer"] = True
    diff_ids = [*(parent.config.diff_ids if parent else ()), *([diff_id] if diff_id else ())]
    found: dict[str, Any] = {
        "architecture": platform.architecture,
        "os": platform.os,
        "created": created,
        "author": author,
        "docker_version": __version__,
        "config": {name: value for name, value in config.items() if value not in (None, "", [], {})},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [*(parent.config.history if parent else ()), entry],
    }
    if platform.variant:
        found["variant"] = platform.variant
    return json.dumps({name: value for name, value in found.items() if value != ""}).encode()


def note(shell: list[str], text: str) -> str:
    """How history tells of a step that runs nothing."""
    return " ".join([*shell, NOTE + text])
