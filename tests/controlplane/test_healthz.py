"""/healthz: 200 when every part is up, 503 naming what is missing; open to anybody, and tells nothing."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator

import pytest
import redis
from django.conf import settings
from django.test import Client

from controlplane import health
from controlplane.lib import parts
from tests.support.redis import RedisServer
from tests.support.waiting import eventually, eventually_async

pytestmark = [pytest.mark.redis_server, pytest.mark.django_db]


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """The run's Redis without any beats."""
    with redis.from_url(settings.REDIS_URL) as client:
        client.delete("gantry:parts")
        yield client
        client.delete("gantry:parts")


def put_beat(store: redis.Redis, name: str, age: float = 0, pid: int = 1) -> None:
    value = {"part": name, "pid": pid, "started": "2026-01-01T00:00:00+00:00", "version": "0"}
    store.set(parts.key(name, pid), json.dumps(value), ex=parts.LIFETIME)
    store.zadd("gantry:parts", {parts.key(name, pid): time.time() - age})


def test_it_answers_200_when_every_part_beats(client: Client, store: redis.Redis) -> None:
    for name in parts.NAMES:
        put_beat(store, name)
    answer = client.get("/healthz")
    assert answer.status_code == 200
    assert answer.json()["missing"] == []


@pytest.mark.parametrize("name", parts.NAMES)
def test_it_answers_503_and_names_the_part_that_is_missing(client: Client, store: redis.Redis, name: str) -> None:
    for other in set(parts.NAMES) - {name}:
        put_beat(store, other)
    answer = client.get("/healthz")
    assert answer.status_code == 503
    assert answer.json()["missing"] == [name]
    assert answer.json()["parts"][name] == "down"


def test_a_part_that_fell_silent_counts_as_missing(client: Client, store: redis.Redis) -> None:
    for name in parts.NAMES:
        put_beat(store, name, age=parts.LIFETIME + 1 if name == "watch" else 0)
    assert client.get("/healthz").json()["missing"] == ["watch"]


def test_it_counts_processes_and_tells_neither_pid_nor_version(client: Client, store: redis.Redis) -> None:
    put_beat(store, "web", pid=4711)
    put_beat(store, "web", pid=4712)
    answer = client.get("/healthz")
    assert answer.json()["processes"]["web"] == 2
    assert "4711" not in answer.content.decode()
    assert settings.VERSION not in answer.content.decode()


def test_without_redis_it_says_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = redis.from_url("unix:///nonexistent/redis.sock")
    monkeypatch.setattr(health, "_redis", nowhere)
    answer = client.get("/healthz")
    assert answer.status_code == 503
    assert answer.json()["missing"] == ["redis", *parts.NAMES]


def test_it_only_reads(client: Client) -> None:
    assert client.post("/healthz").status_code == 405


def test_a_thread_beats_until_it_is_told_to_stop(store: redis.Redis) -> None:
    stop = parts.beat_in_thread("worker")
    eventually(lambda: [beat for beat in parts.living(store) if beat.part == "worker" and beat.pid == os.getpid()])
    stop.set()


async def test_a_loop_beats(store: redis.Redis) -> None:
    beating = asyncio.create_task(parts.beating("watch"))
    await eventually_async(lambda: any(beat.part == "watch" for beat in parts.living(store)))
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)
