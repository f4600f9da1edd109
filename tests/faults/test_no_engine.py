"""A machine without an engine: said on the terminal and on the pages, and the rest works."""

from __future__ import annotations

import re

import pytest

from tests.conftest import need
from tests.faults.agents import joined
from tests.faults.person import Person
from tests.faults.test_lying_host import PAGES
from tests.support.engines import Dockerd
from tests.support.redis import RedisServer
from tests.support.scratch import discard, make_scratch
from tests.support.up import Up
from tests.support.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.docker, pytest.mark.timeout(240)]


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page.partition("<main")[2]).split())


def test_without_an_engine_it_says_so_and_the_rest_works() -> None:
    need(RedisServer.why_not(), Dockerd.why_not())
    place = make_scratch()
    try:
        with Up("--engine", f"unix://{place}/engine.sock") as up:
            person = Person(up)
            assert "No engine on this machine" in up.output
            eventually(lambda: person.host_state(1) == "unreachable", timeout=30, what="its state says what is known")
            assert "none found" in words(person.get("/hosts/"))
            assert "No engine answers there" in words(person.get("/hosts/1/"))
            assert "Out of contact" not in words(person.get("/hosts/1/")), "its agent is connected"
            for page in PAGES:
                assert "<main" in person.get(page)

            with Dockerd() as engine:
                with joined(up, "other", engine.socket) as other:
                    eventually(lambda: person.host_state(other.host) == "connected", timeout=30)
                (place / "engine.sock").symlink_to(engine.socket)
                eventually(lambda: person.host_state(1) == "connected", timeout=40, what="it is found by itself")
                assert "No engine answers there" not in words(person.get("/hosts/1/"))
                assert "docker" in words(person.get("/hosts/1/")).lower()
    finally:
        discard(place)
