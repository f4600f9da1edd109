"""A GANTRY_HOME for one test, with ports nobody else uses, to start Gantry's real processes on.

    with Home() as home:
        subprocess.Popen([sys.executable, "manage.py", "up"], cwd=ROOT, env=home.environment())
        home.url, home.gateway_url       # http://127.0.0.1:…, ws://127.0.0.1:…
        home.django("…")                 # Python inside the control plane; returns what it prints

Leaving it kills what still runs with this home in its command line and deletes the folder.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Self

from tests.support.scratch import discard, make_scratch
from tests.support.waiting import free_port

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""


class Home:
    """A temporary GANTRY_HOME; a context manager."""

    def __init__(self, *, address: str = "127.0.0.1") -> None:
        self.path = make_scratch()
        self.address = address
        self.port, self.gateway_port = free_port(address), free_port(address)
        self.settings: dict[str, str] = {}  # of the environment, for what is started from now on

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        discard(self.path)

    @property
    def url(self) -> str:
        """Where the web listens."""
        return f"http://{self.address}:{self.port}"

    @property
    def gateway_url(self) -> str:
        """Where the gateway listens."""
        return f"ws://{self.address}:{self.gateway_port}"

    def environment(self, **more: str) -> dict[str, str]:
        """The environment for Gantry's processes: ours without any setting of the test run itself."""
        foreign = ("GANTRY_", "DJANGO_", "REDIS_URL", "DATABASE_URL")
        own = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return {
            **own,
            "GANTRY_HOME": str(self.path),
            "GANTRY_LISTEN": f"{self.address}:{self.port}",
            "GANTRY_GATEWAY_LISTEN": f"{self.address}:{self.gateway_port}",
            **self.settings,
            **more,
        }

    def manage(self, *arguments: str, **more: str) -> str:
        """Run manage.py; its standard output. `more`: settings beside the home's own."""
        return self._run("manage.py", *arguments, **more)

    def django(self, code: str) -> str:
        """Run Python inside the control plane's Django; what it prints."""
        return self.manage("shell", "--verbosity=0", "-c", code).strip()

    def program(self, code: str, *arguments: str) -> str:
        """Run a program that sets Django up itself; its standard output."""
        return self._run("-c", code, *arguments, DJANGO_SETTINGS_MODULE="controlplane.settings")

    def _run(self, *command: str, **more: str) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)[:100]}: {done.stderr[-3000:]}")
        return done.stdout
