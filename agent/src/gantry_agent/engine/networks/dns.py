"""Names on user networks, answered by aardvark-dns: one process for all of them, which outlives the engine.

It reads one file per network from its folder (its docs/config.md): the addresses to listen on, then a line per
container: id, IPv4 addresses, IPv6 addresses, names, and the servers for everything else. SIGHUP makes it read again.
It ends by itself when the last file is gone.
"""

import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .model import Network

log = logging.getLogger(__name__)
PLACES = "/usr/lib/podman:/usr/libexec/podman:/usr/local/libexec/podman:/usr/local/lib/podman"
PORT = 53
READY_TIMEOUT = 10  # seconds until it answers
PID_FILE = "aardvark.pid"  # written by aardvark-dns itself


@dataclass(frozen=True)
class Entry:
    """What one container is called on one network."""

    address: str
    names: tuple[str, ...]
    servers: tuple[str, ...] = ()


def command() -> str | None:
    """Where aardvark-dns is, if anywhere."""
    return shutil.which("aardvark-dns", path=f"{os.environ.get('PATH', '')}:{PLACES}")


class Names:
    """The files of aardvark-dns, and its process. Blocks; for one worker thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries: dict[str, dict[str, Entry]] = {}
        self._gateways: dict[str, str] = {}
        self._is_missed = False

    def restore(self, entries: dict[str, dict[str, Entry]], networks: dict[str, Network]) -> None:
        """What is so now, by network id and container id; what an earlier engine wrote and is no longer is removed."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._entries = {key: dict(value) for key, value in entries.items() if value}
        self._gateways = {key: network.gateway for key, network in networks.items()}
        for path in self._folder.iterdir():
            if path.name != PID_FILE and path.name not in self._entries:
                path.unlink()
        for network_id in self._entries:
            self._write(network_id)
        self._tell()

    def add(self, network: Network, container_id: str, entry: Entry) -> None:
        """The container answers to its names from here on."""
        self._gateways[network.id] = network.gateway
        self._entries.setdefault(network.id, {})[container_id] = entry
        self._write(network.id)
        self._tell()

    def remove(self, network_ids: Iterable[str], container_id: str) -> None:
        """It does not any more."""
        changed = [each for each in network_ids if self._entries.get(each, {}).pop(container_id, None)]
        for network_id in changed:
            self._write(network_id)
        if changed:
            self._tell()

    def stop(self) -> None:
        """End the process: nobody asks any more."""
        if pid := self._pid():
            os.kill(pid, signal.SIGTERM)

    def _write(self, network_id: str) -> None:
        entries = self._entries.get(network_id)
        path = self._folder / network_id
        if not entries:
            path.unlink(missing_ok=True)
            self._entries.pop(network_id, None)
            return
        lines = [self._gateways[network_id]]
        for container_id, entry in entries.items():
            line = f"{container_id} {entry.address}  {','.join(entry.names)} {','.join(entry.servers)}"
            lines.append(line.rstrip())
        # Beside the folder: aardvark-dns reads every file that is in it.
        draft = self._folder.with_name(f"{self._folder.name}.tmp")
        draft.write_text("\n".join(lines) + "\n")
        draft.rename(path)

    def _tell(self) -> None:
        """Make the process read the files; start it when it is needed and is not there."""
        if pid := self._pid():
            os.kill(pid, signal.SIGHUP)
        elif self._entries:
            self._start()

    def _start(self) -> None:
        program = command()
        if program is None:
            if not self._is_missed:
                log.warning("aardvark-dns is not installed: containers do not find each other by name")
            self._is_missed = True
            return
        (self._folder / PID_FILE).unlink(missing_ok=True)
        # It forks, and the process started here ends once the other answers.
        done = subprocess.run(
            [program, "--config", str(self._folder), "--port", str(PORT), "run"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            timeout=READY_TIMEOUT,
            check=False,
        )
        if done.returncode or not self._pid():
            log.error("aardvark-dns does not start (exit code %d): names are not answered", done.returncode)

    def _pid(self) -> int:
        """The running process, 0 without one; a number that another program has by now is not it."""
        try:
            pid = int((self._folder / PID_FILE).read_text())
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return 0
        return pid if os.fsencode(self._folder) in arguments else 0
