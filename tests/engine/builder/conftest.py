"""One engine for the builds of a file, with a base image."""

from collections.abc import Iterator

import pytest

from tests.conftest import need
from tests.engine.builder.building import BASE
from tests.support.engines import Native
from tests.support.images import busybox, busybox_why_not


@pytest.fixture(scope="module")
def engine() -> Iterator[Native]:
    need(Native.why_not(), busybox_why_not())
    with Native(build_fetches="any") as engine:
        engine.load(busybox().archive(BASE))
        yield engine
