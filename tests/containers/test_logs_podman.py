"""Logs of Podman through the whole chain: it differs from Docker in times (whole seconds) and partial lines."""

from collections.abc import Callable, Iterator

import pytest

from tests.containers.test_logs import Reader, open_readers
from tests.support.engines import EngineProcess, unique
from tests.support.stage import Stage
from tests.support.waiting import eventually

pytestmark = [pytest.mark.podman, pytest.mark.root, pytest.mark.redis_server]


@pytest.fixture(scope="module")
def stage(podman_engine: EngineProcess, busybox_loaded: Callable[[EngineProcess], str]) -> Iterator[Stage]:
    busybox_loaded(podman_engine)
    with Stage(podman_engine) as stage:
        yield stage


def run(stage: Stage, image: str, script: str) -> tuple[int, str]:
    name = unique("log")
    engine_id = stage.engine.run(image, "sh", "-c", script, name=name)
    return stage.add_container(engine_id, name), engine_id


def test_both_streams_arrive_and_the_ending_is_told(stage: Stage, busybox_image: str) -> None:
    pk, _ = run(stage, busybox_image, "echo one; echo two >&2; sleep 1; echo three; exit 3")
    with Reader(stage, pk) as log:
        ended = log.to_the_end()
    assert sorted(log.lines) == [(1, "one"), (1, "three"), (2, "two")]
    assert (ended["type"], ended["running"], ended["exit_code"]) == ("ended", False, 3)


def test_it_can_be_asked_again_from_within_a_second(stage: Stage, busybox_image: str) -> None:
    pk, _ = run(stage, busybox_image, "for i in $(seq 1 50); do echo $i; done; sleep 1000")
    with Reader(stage, pk) as log:
        log.until(lambda: b" 50\n" in log.bytes)
    stamp = log.bytes[8:28].decode()
    seconds = stage.django(f"from datetime import datetime; print(int(datetime.fromisoformat({stamp!r}).timestamp()))")
    with Reader(stage, pk, since=f"{int(seconds.splitlines()[-1]) - 1}.999999000", tail="all") as again:
        again.until(lambda: b" 50\n" in again.bytes)
    assert again.lines == log.lines


def test_closing_the_page_closes_the_reader_on_the_host(stage: Stage, busybox_image: str) -> None:
    pk, engine_id = run(stage, busybox_image, "while :; do echo tick; usleep 50000; done")
    alone = open_readers(stage.engine, engine_id)
    with Reader(stage, pk) as log:
        log.until(lambda: log.count > 200)
        assert open_readers(stage.engine, engine_id) > alone
    eventually(lambda: open_readers(stage.engine, engine_id) == alone, what="the reader has gone")
