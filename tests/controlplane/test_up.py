"""`up` as a whole: every part, one folder, one supervisor, healed and stopped."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery

from controlplane.lib.parts import NAMES
from tests.controlplane.gantry import Up
from tests.support.process import children
from tests.support.waiting import eventually, free_port

pytestmark = pytest.mark.timeout(300)  # several starts in a test, beside others on a small machine
PARTS = ("redis", *NAMES, "agent")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("up") / "home") as up:
        yield up


def test_healthz_names_every_part(running: Up) -> None:
    status, body = running.health()
    assert status == 200
    assert body["status"] == "up"
    assert set(body["parts"]) == {"database", "redis", *NAMES}
    assert set(body["parts"].values()) == {"up"}


def test_all_state_is_in_one_folder_that_nobody_else_reads(running: Up) -> None:
    assert stat.S_IMODE(running.home.stat().st_mode) == 0o700
    assert stat.S_IMODE((running.home / "secret_key").stat().st_mode) == 0o600
    assert (running.home / "gantry.sqlite3").exists()


def test_it_prints_where_it_is_and_which_redis_it_uses(running: Up) -> None:
    printed = running.printed()
    assert f": {running.url}\n" in printed
    assert "Redis: " in printed


def test_it_says_that_there_is_no_engine(running: Up) -> None:
    assert "No engine on this machine" in running.printed()


def test_the_first_start_prints_a_link_that_makes_an_administrator(running: Up) -> None:
    status, page = running.get(running.link().removeprefix(running.url))
    assert status == 200
    assert b"password" in page.lower()


def test_this_machine_is_a_host_without_a_pasted_token(running: Up) -> None:
    eventually(running.tunnel_is_up, timeout=30)


def test_a_second_supervisor_on_the_same_home_is_refused_by_the_first_ones_pid(running: Up) -> None:
    other = [*running.command[:-4], "--listen", f"127.0.0.1:{free_port()}"]
    refused = subprocess.run(other, env=running.environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert f"pid {running.process.pid}" in refused.stderr
    assert running.url in refused.stderr


def test_a_port_in_use_is_told_with_who_listens(running: Up, tmp_path: Path) -> None:
    second = Up(tmp_path / "home")
    second.listen = running.listen
    refused = subprocess.run(
        second.command, env=second.environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert refused.returncode == 1
    port = running.listen.rpartition(":")[2]
    assert f"Port {port} is in use by " in refused.stderr
    assert f"(pid {running.part('web')})" in refused.stderr
    assert "--listen" in refused.stderr


@pytest.mark.parametrize("name", PARTS)
def test_a_killed_part_comes_back(running: Up, name: str) -> None:
    eventually(running.is_healthy, timeout=60)
    pid = eventually(lambda: running.part(name))
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: (new := running.part(name)) and new != pid, timeout=60, what=f"a new {name}")
    eventually(running.is_healthy, timeout=60, what="/healthz answers 200 again")


@pytest.mark.parametrize("name", ["redis", "worker"])
def test_the_queue_is_worked_off_again_after_a_kill(running: Up, name: str) -> None:
    """A worker may live and beat, and yet have lost its subscription: what counts is that it takes tasks."""
    eventually(running.is_healthy, timeout=60)
    os.kill(eventually(lambda: running.part(name)), signal.SIGKILL)
    path = f"{running.home}/run/redis.sock"
    with redis.Redis(unix_socket_path=path, retry_on_error=[redis.ConnectionError]) as queue:
        eventually(lambda: _answers(queue), timeout=60)
        with Celery(broker=f"redis+socket://{path}") as app:
            app.send_task("operations.sweep")
        eventually(lambda: queue.llen("celery") == 0, timeout=60, what="the worker takes the task")


def _answers(queue: redis.Redis) -> bool:
    try:
        return bool(queue.ping())
    except redis.ConnectionError:
        return False


def test_ctrl_c_stops_everything_in_order_and_a_later_start_finds_all_again(tmp_path: Path) -> None:
    up = Up(tmp_path / "home")
    with up:
        parts = {name: up.part(name) for name in PARTS}
        hosts = up.rows("SELECT id, public_key FROM hosts_host")
        assert None not in parts.values()
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(40) == 0
    assert "Stopped." in up.printed()
    assert "was killed" not in up.printed()
    assert [name for name, pid in parts.items() if Path(f"/proc/{pid}").exists()] == []
    up.choose_ports()
    with up:
        assert up.rows("SELECT id, public_key FROM hosts_host") == hosts
        assert up.printed().count("Enrolled as") == 1
        assert up.printed().count("The database's tables are made.") == 1
        connected = f"connected to ws://{up.gateway}"
        eventually(lambda: connected in up.printed(), timeout=30, what="the agent follows the addresses")


def test_the_parts_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    with Up(tmp_path / "home") as up:
        parts = children(up.process.pid)
        assert len(parts) == len(PARTS)
        up.process.kill()
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in parts))


def test_with_tls_pages_gateway_and_agent_speak_it(tmp_path: Path) -> None:
    with Up(tmp_path / "home", "--tls") as up:
        assert up.health()[0] == 200
        assert re.search(r"Certificate: sha256:[0-9a-f]{64}", up.printed())
        assert stat.S_IMODE((up.home / "tls" / "key.pem").stat().st_mode) == 0o600
        eventually(up.tunnel_is_up, timeout=30)
        connected = f"connected to wss://{up.gateway}"
        eventually(lambda: connected in up.printed(), timeout=30, what="the agent says so")
