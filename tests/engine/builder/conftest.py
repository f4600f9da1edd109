"""One engine for the builds of all files here that need no other, with a base image."""

from collections.abc import Iterator

import pytest

from tests.conftest import need
from tests.engine.builder.building import BASE
from tests.support.engines import Native
from tests.support.images import busybox, busybox_why_not


@pytest.fixture(scope="package")
def engine() -> Iterator[Native]:
    need(Native.why_not(), busybox_why_not())
    with Native(build_fetches="any") as engine:
        engine.load(busybox().archive(BASE))
        yield engine
