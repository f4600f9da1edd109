"""The agent and its own engine: started as its child, started again, ended with it, told of in `status`."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gantry_agent import keys, native
from gantry_agent.state import Enrolment, State

from tests.support import unixhttp
from tests.support.images import busybox
from tests.support.own_engine import OwnEngine
from tests.support.scratch import discard, make_scratch
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(native.why_not()), reason=native.why_not()),
]


class Agent:
    """`gantry-agent run` with the native engine; its gateway is nobody."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = OwnEngine(folder)
        self.socket = self.engine.socket
        self.state = State(self.engine.config.parent)
        self.state.prepare()
        self.state.save_enrolment(keys.generate(), Enrolment("7", "box", "http://127.0.0.1:1", ["ws://127.0.0.1:1"]))
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        command = [sys.executable, "-m", "gantry_agent", "run", "--state", str(self.state.folder)]
        command += ["--engine-root", str(self.engine.root), "--engine-socket", str(self.socket)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *(options or ("--engine", "native"))], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        eventually(self.answers, timeout=20, what=f"the engine answers; {self.log}")

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            return unixhttp.request(self.socket, "GET", "/_ping", timeout=2)[0] == 200
        except OSError:
            return False

    def call(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """One request to its engine; the answer's body. AssertionError on an error."""
        status, answer = unixhttp.request(self.socket, method, path, body, **query)
        assert status < 400, f"{method} {path}: {status} {answer}"
        return answer

    def end(self, how: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(15)
        self.process = None

    def engine_pid(self) -> int:
        """Of the process that listens on the engine's socket."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.socket))
            credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int.from_bytes(credentials[:4], sys.byteorder)

    def status(self) -> str:
        command = [sys.executable, "-m", "gantry_agent", "status", "--state", str(self.state.folder)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def agent() -> Iterator[Agent]:
    folder = make_scratch()
    agent = Agent(folder)
    with agent.engine:
        try:
            yield agent
        finally:
            if agent.process is not None:
                agent.end(signal.SIGTERM)
            discard(folder)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_status_tells_of_it(agent: Agent) -> None:
    agent.start()
    assert "engine: Gantry native" in agent.status()
    eventually(lambda: f"engine: Gantry native, {agent.socket}" in agent.status(), what="its socket is told")


def test_a_killed_engine_is_started_again(agent: Agent) -> None:
    agent.start()
    pid = agent.engine_pid()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: agent.answers() and agent.engine_pid() != pid, timeout=30, what="another engine answers")


def test_it_ends_with_a_killed_agent_and_the_next_has_its_own(agent: Agent) -> None:
    agent.start()
    pid = agent.engine_pid()
    agent.end(signal.SIGKILL)
    eventually(lambda: not is_alive(pid), timeout=30, what="the engine has ended")
    agent.start()
    assert agent.engine_pid() != pid


def test_it_ends_in_order_with_the_agent(agent: Agent) -> None:
    agent.start()
    pid = agent.engine_pid()
    agent.end(signal.SIGTERM)
    assert not is_alive(pid)
    assert not agent.socket.exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_containers_outlive_the_agent(agent: Agent, how: signal.Signals) -> None:
    """The next agent's engine, started without being told which, finds them running, and stops and removes them."""
    agent.start()
    agent.call("POST", "/images/load", busybox().archive("busybox:agent"))
    count = "i=0; while :; do i=$((i+1)); echo $i; usleep 20000; done"
    order = {"Image": "busybox:agent", "Cmd": ["sh", "-c", count], "HostConfig": {"NetworkMode": "none"}}
    agent.call("POST", "/containers/create", order, name="counter")
    agent.call("POST", "/containers/counter/start")
    before = agent.call("GET", "/containers/counter/json")["State"]
    agent.end(how)
    assert is_alive(before["Pid"])
    agent.start("--engine", "")
    after = agent.call("GET", "/containers/counter/json")["State"]
    assert (after["Pid"], after["StartedAt"], after["Running"]) == (before["Pid"], before["StartedAt"], True)
    agent.call("POST", "/containers/counter/stop", t="0")
    assert not is_alive(before["Pid"])
    assert agent.call("GET", "/containers/counter/json")["State"]["ExitCode"] == 137
    logs = agent.call("GET", "/containers/counter/logs", stdout="1")
    numbers = [int(number) for number in re.findall(r"(\d+)\n", logs)]
    assert numbers == list(range(1, len(numbers) + 1))
    agent.call("DELETE", "/containers/counter")


def test_two_engines_never_share_a_root(agent: Agent) -> None:
    agent.start()
    command = [sys.executable, "-m", "gantry_agent", "engine", "--root", str(agent.engine.root)]
    done = subprocess.run(
        [*command, "--socket", str(agent.folder / "second.sock")], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert "another engine uses" in done.stderr
    assert not (agent.folder / "second.sock").exists()
