"""Further hosts beside this machine's own: real agents, each with a state folder of its own.

with joined(up, "liar", liar.socket) as agent:      # a host row, its token, `enrol`, `run`
    agent.host; agent.freeze(); agent.thaw(); agent.kill()
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.home import ROOT
from tests.support.netns import NetworkNamespace
from tests.support.up import Up


@dataclass
class Agent:
    """One agent's process. `where`: a namespace it runs in."""

    up: Up
    host: int
    name: str
    token: str
    engine: Path
    where: NetworkNamespace | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def state(self) -> Path:
        return self.up.home.path / "agents" / self.name

    def _command(self, *arguments: str) -> list[str]:
        command = [sys.executable, "-m", "gantry_agent", *arguments, "--state", str(self.state)]
        return self.where.command(*command) if self.where else command

    def _environment(self) -> dict[str, str]:
        """Without GANTRY_HOME: it is no part of Gantry's own machine, and `Up.kill("agent")` is not meant for it."""
        return {name: value for name, value in os.environ.items() if not name.startswith(("GANTRY_", "DOCKER_"))}

    def enrol(self) -> None:
        command = self._command("enrol", "--url", self.up.url, "--token", self.token, "--name", self.name)
        if self.up.tls:
            command += ["--fingerprint", fingerprint(self.up)]
        done = subprocess.run(command, env=self._environment(), cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        with (self.state / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command("run", "--engine", f"unix://{self.engine}"),
                env=self._environment(),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def freeze(self) -> None:
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def fingerprint(up: Up) -> str:
    """Of the self-made certificate, as the pasted line pins it."""
    certificate = ssl.PEM_cert_to_DER_cert((up.home.path / "tls" / "cert.pem").read_text())
    return f"sha256:{hashlib.sha256(certificate).hexdigest()}"


def add_hosts(up: Up, names: Sequence[str], pull_limit: int = 3) -> dict[str, tuple[int, str]]:
    """Hosts that wait for their agents: name → (id, enrolment token)."""
    code = (
        "import json; from hosts.models import EnrolmentToken, Host; made = {}\n"
        f"for name in {list(names)!r}:\n"
        f"    host = Host.objects.create(name=name, pull_limit={pull_limit})\n"
        "    made[name] = (host.pk, EnrolmentToken.issue(host)[1])\n"
        "print(json.dumps(made))"
    )
    made: dict[str, tuple[int, str]] = json.loads(up.manage("shell", "--no-imports", "-c", code))
    return made


@contextmanager
def joined(
    up: Up, name: str, engine: Path, *, where: NetworkNamespace | None = None, pull_limit: int = 3
) -> Iterator[Agent]:
    """One more host, whose agent is killed at the end."""
    with fleet(up, [name], engine, where=where, pull_limit=pull_limit) as agents:
        yield agents[0]


@contextmanager
def fleet(
    up: Up, names: Sequence[str], engine: Path, *, where: NetworkNamespace | None = None, pull_limit: int = 3
) -> Iterator[list[Agent]]:
    """Several at once, all on one engine."""
    made = add_hosts(up, names, pull_limit)
    with ExitStack() as stack:
        agents = [Agent(up, pk, name, token, engine, where) for name, (pk, token) in made.items()]
        for agent in agents:
            agent.enrol()
            stack.callback(agent.kill)
            agent.start()
        yield agents
