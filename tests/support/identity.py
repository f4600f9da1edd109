"""An OpenID Connect provider of one's own: ``with IdentityProvider() as provider: provider.issuer``.

The provider is `tests.support.identity_server`, in a process of its own.
    provider.add("ann", email="ann@example.org", groups=["ops"])     somebody to sign in as
    provider.lie("no signature")                                     one of its `LIES`; "" is the truth again
    provider.environment()                                           what tells Gantry of it
    provider.approve(address, "ann")                                 a browser's part there; where that leads
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, Self

import requests

from tests.support.home import ROOT
from tests.support.netns import NetworkNamespace
from tests.support.waiting import eventually, free_port

CLIENT_ID, CLIENT_SECRET = "gantry", "a secret between us"


class IdentityProvider:
    """The process; a context manager. At the desk it listens on that namespace's loopback."""

    def __init__(self, desk: NetworkNamespace | None = None) -> None:
        self.port = free_port()
        self.enter = desk.command() if desk else []
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        # Its own world: warnings of its libraries are none of ours.
        command = [*self.enter, sys.executable, "-W", "ignore", "-m", "tests.support.identity_server", str(self.port)]
        env = {**os.environ, "AUTHLIB_INSECURE_TRANSPORT": "1"}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        eventually(self._answers, timeout=30, what="the provider answers")
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def environment(self) -> dict[str, str]:
        return {
            "GANTRY_OIDC_ISSUER": self.issuer,
            "GANTRY_OIDC_CLIENT_ID": CLIENT_ID,
            "GANTRY_OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "GANTRY_OIDC_NAME": "Example ID",
        }

    def add(self, sub: str, **claims: Any) -> None:
        self._say("/people", {"sub": sub, "claims": claims})

    def lie(self, how: str) -> None:
        self._say("/lie", {"lie": how})

    def approve(self, address: str, sub: str) -> str:
        """Choose `sub` on the page at `address`; where that leads."""
        with requests.post(address, {"sub": sub}, allow_redirects=False, timeout=30) as answer:
            assert answer.status_code == 302, answer.text
            return answer.headers["Location"]

    def people(self) -> list[str]:
        with requests.get(f"{self.issuer}/people", timeout=30) as answer:
            return list(answer.json())

    def _say(self, path: str, what: dict[str, Any]) -> None:
        """By a program in its own network: from here its loopback may be another."""
        if not self.enter:
            with requests.post(self.issuer + path, json=what, timeout=30) as answer:
                answer.raise_for_status()
            return
        code = f"import requests; requests.post({self.issuer + path!r}, json={what!r}, timeout=30).raise_for_status()"
        subprocess.run([*self.enter, sys.executable, "-c", code], check=True, timeout=60)

    def _answers(self) -> bool:
        assert self.process
        if self.process.poll() is not None:
            raise RuntimeError("the provider ended at once")
        code = f"import requests; requests.get({self.issuer!r}, timeout=30)"
        done = subprocess.run([*self.enter, sys.executable, "-c", code], capture_output=True, check=False, timeout=60)
        return done.returncode == 0
