"""A container that swaps a folder for a link to the host's, while its files are read and written: no byte crosses."""

import os

import pytest

from tests.conftest import need
from tests.engine.tars import entry, tar_of
from tests.engine.test_archives import ask
from tests.support.counts import count
from tests.support.engines import Native
from tests.support.images import TestImage

pytestmark = [pytest.mark.root, pytest.mark.timeout(count(600, 1800))]

ROUNDS = count(150, 2000)
"""Of five requests each."""
SWAPPING = """
mkdir /d; echo in > /d/secret; ln -s ../../../../../../../..{there} /link
while :; do mv -T /d /away; mv -T /link /d; mv -T /d /link; mv -T /away /d; done
"""


def test_nothing_of_the_host_is_read_or_written(busybox_archive: TestImage) -> None:
    need(Native.why_not())
    with Native() as engine:
        engine.load(busybox_archive.archive("gantry/race:1"))
        there = engine.folder / "canary"
        there.mkdir()
        (there / "secret").write_text("HOSTSECRET")
        before = (there.stat().st_mtime_ns, (there / "secret").stat())
        script = SWAPPING.format(there=there)
        engine.cli("run", "-d", "--net=none", "-v", "/d/vol", "--name", "race", "gantry/race:1", "sh", "-c", script)
        place = "/containers/race/archive?path="
        content = tar_of([entry("secret", b"in"), entry("new", b"x"), entry("d/secret", b"in")])
        answered = set()
        for number in range(ROUNDS):
            for path in ("/d/secret", "/d/", "/"):
                status, _, body = ask(engine, "GET", place + path)
                assert b"HOSTSECRET" not in body
                answered.add(status)
            for path in ("/d", "/"):
                ask(engine, "PUT", place + path, content)
            if number % 30 == 0:
                assert b"HOSTSECRET" not in ask(engine, "GET", "/containers/race/export")[2]
                engine.cli("commit", "race", "gantry/swapped:1")
        assert 200 in answered
        assert (there.stat().st_mtime_ns, (there / "secret").stat()) == before
        assert os.listdir(there) == ["secret"]
        engine.cli("rm", "-f", "-v", "race")
