"""Folders for engines under test, and getting rid of everything that lives in them.

A scratch folder's name carries the process id of the test run that made it, so that a later run can clear
away what a killed one left behind. The names are short: engines put unix sockets below (107 bytes at most).
"""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.cgroups import groups_of
from tests.support.waiting import eventually, hold

_NAME = re.compile(r"gt(\d+)-")


def make_scratch() -> Path:
    """A new empty folder ``/tmp/gt<pid>-…``, mode 0700."""
    return Path(tempfile.mkdtemp(prefix=f"gt{os.getpid()}-", dir="/tmp"))


def discard(folder: Path) -> None:
    """Kill what was started from ``folder`` (and its children), unmount all below it, and delete it."""
    kill_processes(processes_of(folder))
    unmount_below(folder)
    # A process that is just going may still create files: one more try settles it.
    for _ in range(3):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        unmount_below(folder)
    shutil.rmtree(folder)


def sweep() -> None:
    """Discard the scratch folders of test runs whose process is gone."""
    for folder in Path("/tmp").glob("gt*-*"):
        owner = _NAME.match(folder.name)
        if owner and folder.is_dir() and not Path(f"/proc/{owner[1]}").exists():
            _discard_bridge(folder / "bridge")
            discard_native(folder)


def processes_of(folder: Path) -> set[int]:
    """Processes whose command line names ``folder`` (never this one), and all their descendants.

    That finds containerd, its shims and conmon by their arguments, and containers as their children.
    """
    needle = os.fsencode(f"{folder}/")
    parents: dict[int, int] = {}
    found: set[int] = set()
    for pid, parent, arguments in _process_table():
        parents[pid] = parent
        if needle in arguments and pid != os.getpid():
            found.add(pid)
    ours = {os.getpid(), *_ancestors(os.getpid(), parents)}
    grown = True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in found} - found
        grown = bool(children)
        found |= children
    return found - ours


def kill_processes(pids: set[int]) -> None:
    """SIGKILL each and wait until it is gone or a zombie of somebody else."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: not any(_alive(pid) for pid in pids), what=f"processes {sorted(pids)} die")


def unmount_below(folder: Path) -> None:
    """Lazily unmount every mount at or below ``folder``, innermost first."""
    prefix = f"{folder}/"
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((point for point in points if f"{point}/".startswith(prefix)), reverse=True):
        subprocess.run(["umount", "-l", point], check=False, capture_output=True)


class Bridge:
    """A network bridge ``<prefix><n>`` of its own, and a subnet 10.<block>.<n>.0/24 to go with it.

    The number is held by an abstract unix socket: it frees itself when the process dies, and it stays ours
    while an engine removes and makes the interface as it pleases. With ``make=False`` the engine makes it.
    """

    def __init__(self, folder: Path, prefix: str, block: int, netns: str | None = None, *, make: bool = True) -> None:
        self.netns = netns
        for number in range(256):
            self.name, self.subnet = f"{prefix}{number}", f"10.{block}.{number}"
            if held := hold(self.name):
                self._held = held
                break
        else:
            raise RuntimeError(f"every bridge {prefix}0…255 is held by a test")
        if netns is None:
            remove_link(self.name)
            (folder / "bridge").write_text(self.name)
        ip = ["ip", "-n", netns] if netns else ["ip"]
        if not make:
            return
        for arguments in (
            ["link", "add", self.name, "type", "bridge"],
            ["address", "add", f"{self.subnet}.1/24", "dev", self.name],
            ["link", "set", self.name, "up"],
        ):
            subprocess.run([*ip, *arguments], check=True, capture_output=True)

    def close(self) -> None:
        """Delete the interface and let the number go."""
        if self.netns is None:
            remove_link(self.name)
        self._held.close()


def _discard_bridge(note: Path) -> None:
    """Delete the bridge of a dead test run, unless a living one has taken its name since."""
    if note.exists() and (held := hold(note.read_text())):
        remove_link(note.read_text())
        held.close()


def remove_link(name: str) -> None:
    """Delete a network interface if it is still there."""
    subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)


def discard_native(folder: Path) -> None:
    """`discard`, and what a native engine that was killed leaves outside of it: on ``folder/data``, or on
    ``folder/engine``, where `./gantry up` has it."""
    roots = (folder / "data", folder / "engine")
    containers = [path.name for root in roots for path in root.glob("containers/*")]
    discard(folder)
    for root in roots:
        forget_engine(root)
    for container in containers:
        _remove_cgroups(container)


def forget_engine(root: Path) -> None:
    """Remove the firewall rules and the run-time folder of the native engine that had this root: the root's hash
    names them."""
    mark = hashlib.sha256(str(root).encode()).hexdigest()[:12]
    run = Path("/run/gantry-engine") / mark
    unmount_below(run)
    shutil.rmtree(run, ignore_errors=True)
    remove_tables(mark)


def _remove_cgroups(container: str) -> None:
    """Delete the emptied control groups of a container, version 1 or 2."""
    for group in groups_of(container):
        for path in (*sorted(group.rglob("*/"), reverse=True), group):
            with contextlib.suppress(OSError):
                path.rmdir()


def remove_tables(mark: str) -> None:
    """Delete the nftables tables of native engines that have ``mark`` in their names, and rules that name them."""
    listed = subprocess.run(["nft", "list", "tables"], check=False, capture_output=True, text=True).stdout
    for line in listed.splitlines():
        if "gantry" in line and mark in line:
            subprocess.run(["nft", "delete", *line.split()], check=False, capture_output=True)
    for command in ("iptables-nft", "iptables-legacy"):
        if not shutil.which(command):
            continue
        listed = subprocess.run([command, "-S", "FORWARD"], check=False, capture_output=True, text=True).stdout
        for line in listed.splitlines():
            if "gantry" in line and mark in line:
                subprocess.run([command, "-D", *line.split()[1:]], check=False, capture_output=True)


def _process_table() -> Iterator[tuple[int, int, bytes]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                yield int(entry.name), int(stat[1]), (entry / "cmdline").read_bytes()


def _ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    while (pid := parents.get(pid, 0)) > 0:
        yield pid


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
