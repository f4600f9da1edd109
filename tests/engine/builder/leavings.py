"""What a build could leave behind, before it and after it."""

import contextlib
from pathlib import Path

from tests.support.engines import Native
from tests.support.waiting import eventually


def left(engine: Native) -> dict[str, object]:
    """What a build could leave behind."""
    return {
        "images": sorted(each["Id"] for each in engine.expect("GET", "/images/json")),
        "containers": [each["Id"] for each in engine.expect("GET", "/containers/json", all="true")],
        "tmp": sorted(each.name for each in (engine.root / "tmp").iterdir()),
        "secrets": sorted(each.name for each in engine.run_folder.glob("secrets/*")),
        "mounts": Path("/proc/self/mountinfo").read_text().count(str(engine.root) + "/"),
    }


def settled(engine: Native) -> dict[str, object]:
    """What is there once the folders of builds before are deleted, which happens after their answers."""
    eventually(lambda: not left(engine)["tmp"], what="earlier builds are tidied up")
    return left(engine)


def nothing_left(engine: Native, before: dict[str, object]) -> None:
    """Wait until all is as it was `before`."""
    with contextlib.suppress(AssertionError):
        eventually(lambda: left(engine) == before)
    assert left(engine) == before
