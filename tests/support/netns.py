"""A host of its own on the network: a namespace joined to this machine by a veth pair.

with NetworkNamespace() as there:
    there.outside                 # "10.215.N.1": this machine, as seen from there (let servers listen on it)
    there.inside                  # "10.215.N.2": the host itself
    Dockerd(netns=there.name)     # an engine in it; unix sockets are reachable from everywhere as ever
    subprocess.Popen(there.command("gantry-agent", "run", …))
    there.cut(); there.heal()     # drop every packet silently, as a dead line does; TCP stays half-open
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Self

from tests.support.scratch import remove_link
from tests.support.waiting import hold


class NetworkNamespace:
    """A named network namespace with one interface; a context manager."""

    def __init__(self) -> None:
        for number in range(64):
            self.name = f"gtn{number}"
            if held := hold(self.name):
                self._held = held
                break
        else:
            raise RuntimeError("every namespace gtn0…63 is held by a test")
        self.outside, self.inside = f"10.215.{number}.1", f"10.215.{number}.2"

    @staticmethod
    def why_not() -> str:
        """Empty when namespaces can be made here, else the reason for a skip."""
        if os.geteuid() != 0:
            return "network namespace: needs root"
        missing = [name for name in ("ip", "nsenter", "nft") if not shutil.which(name)]
        return f"network namespace: not installed: {', '.join(missing)}" if missing else ""

    def __enter__(self) -> Self:
        self._remove()
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def command(self, *arguments: str) -> list[str]:
        """A command line that runs ``arguments`` in here (same files, same processes, other network)."""
        return ["nsenter", f"--net=/run/netns/{self.name}", *arguments]

    def cut(self) -> None:
        """Drop every packet to and from the namespace, without telling either side."""
        rules = (
            "table inet cut {"
            " chain in { type filter hook input priority -300; iifname != lo drop; };"
            " chain out { type filter hook output priority -300; oifname != lo drop; }; }"
        )
        self._run(*self.command("nft", "-f", "-"), text=rules)

    def heal(self) -> None:
        """Let packets through again."""
        self._run(*self.command("nft", "delete", "table", "inet", "cut"))

    def close(self) -> None:
        """Remove the namespace; processes in it keep running without a way out."""
        self._remove()
        self._held.close()

    def _make(self) -> None:
        end = f"{self.name}x"
        self._run("ip", "netns", "add", self.name)
        self._run("ip", "link", "add", self.name, "type", "veth", "peer", "name", end, "netns", self.name)
        self._run("ip", "address", "add", f"{self.outside}/30", "dev", self.name)
        self._run("ip", "link", "set", self.name, "up")
        for arguments in (
            ["link", "set", "lo", "up"],
            ["address", "add", f"{self.inside}/30", "dev", end],
            ["link", "set", end, "up"],
            ["route", "add", "default", "via", self.outside],
        ):
            self._run("ip", "-n", self.name, *arguments)

    def _remove(self) -> None:
        remove_link(self.name)
        if Path(f"/run/netns/{self.name}").exists():
            self._run("ip", "netns", "delete", self.name)

    def _run(self, *command: str, text: str = "") -> None:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
