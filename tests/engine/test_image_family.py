"""Images made of images: what commit, history, rmi and prune say is what Docker says, word for word."""

import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.conftest import need
from tests.support.engines import Dockerd, EngineProcess, Native
from tests.support.images import busybox, busybox_why_not

pytestmark = [pytest.mark.root, pytest.mark.docker]

NAMES = "{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}}"
STEPS = "{{.ID}}|{{.CreatedBy}}|{{.Size}}|{{.Comment}}"
STORY = [
    ["run", "--network=none", "--name", "cc", "base:1", "sh", "-c", "echo 1 > /one"],
    ["commit", "-m", "first", "cc", "mid:1"],
    ["rmi", "base:1"],
    ["rm", "cc"],
    ["run", "--network=none", "--name", "cc", "mid:1", "sh", "-c", "echo 2 > /two"],
    ["commit", "-a", "me", "-c", 'CMD ["x"]', "cc", "top:1"],
    ["rmi", "top:1", "mid:1"],
    ["commit", "cc", "top:1"],
    ["rm", "cc"],
    ["history", "--format", STEPS, "top:1"],
    ["images", "-a", "--format", NAMES],
    ["images", "--format", NAMES],
    ["rmi", "BASE"],
    ["rmi", "-f", "BASE"],
    ["image", "prune", "-f"],
    ["images", "-a", "--format", NAMES],
    ["tag", "top:1", "top:2"],
    ["tag", "top:1", "other:2"],
    ["rmi", "top:1"],
    ["images", "--format", NAMES, "top"],
    ["rmi", "--no-prune", "top:2", "other:2"],
    ["images", "-a", "--format", NAMES],
    ["image", "prune", "-f"],
    ["images", "-a", "--format", NAMES],
    ["tag", "base:1", "root:1"],
    ["run", "--network=none", "--name", "cc", "base:1", "true"],
    ["commit", "cc", "last:1"],
    ["rm", "cc"],
    ["image", "prune", "-a", "-f", "--filter", "label=none"],
    ["image", "prune", "-a", "-f", "--filter", "until=2020-01-01"],
    ["rmi", "top:1"],
    ["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"],
]


def told(engine: EngineProcess, image_id: str) -> Iterator[tuple[str, int, str]]:
    """Each command with its status and all it says; ids are numbered as they come up."""
    seen: dict[str, str] = {}

    def numbered(match: re.Match[str]) -> str:
        return seen.setdefault(match[1][:12], f"<{len(seen)}>")

    for words in STORY:
        words = [image_id[7:19] if word == "BASE" else word for word in words]
        command = ["docker", "-H", f"unix://{engine.socket}", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = re.sub(r"(?:sha256:)?\b([0-9a-f]{64}|[0-9a-f]{12})\b", numbered, done.stdout + done.stderr)
        if words[0] == "images":  # Docker sorts by the second
            said = "\n".join(sorted(said.splitlines()))
        # What Docker reclaims is files' sizes; here also the compressed layers.
        yield " ".join(words), done.returncode, re.sub(r"(reclaimed space: ).*[1-9].*", r"\1some", said)


def test_a_family_of_images_lives_and_goes_as_in_docker() -> None:
    need(Native.why_not(), Dockerd.why_not(), busybox_why_not())
    image = busybox()
    with Native() as native, Dockerd() as docker:
        for engine in (native, docker):
            engine.load(image.archive("base:1"))
        ours, theirs = list(told(native, image.id)), list(told(docker, image.id))
    for one, other in zip(ours, theirs, strict=True):
        assert one == other
