"""The agent's own engine as a child process: what it needs, and keeping it running.

The engine ends with the agent, whatever ends the agent: the next one finds socket and store free. Containers
belong to neither; each lives below its own conmon, and the next engine takes them back.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from .engine_client import Engine, answers

log = logging.getLogger(__name__)

NATIVE = "native"  # the word of --engine
ROOT = Path("/var/lib/gantry-engine")
SOCKET = Path("/run/gantry-engine.sock")
CONFIG = "engine.json"  # the engine's configuration, in the agent's state folder when there is one

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds before a dead engine is started again: doubled each time
PROVEN = 30.0  # seconds of running after which the pause begins anew
GRACE = 3.5  # seconds to end by itself; `./gantry up` gives the agent 5
LOOK_EVERY = 2.0  # seconds between two looks whether some engine answers by now

_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_PASSED_ON = (
    *("HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONUNBUFFERED"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)
_PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True)
class Part:
    """A program the engine starts: any of `programs` will do. `package`: Debian's and Ubuntu's name."""

    package: str
    programs: tuple[str, ...]

    def is_here(self) -> bool:
        path = ":".join([os.environ.get("PATH", ""), *_SBIN])
        return any(Path(name).exists() if "/" in name else shutil.which(name, path=path) for name in self.programs)


PARTS = (
    Part("crun", ("crun", "runc")),
    Part("conmon", ("conmon", "/usr/libexec/podman/conmon")),
    Part("aardvark-dns", ("/usr/lib/podman/aardvark-dns", "/usr/libexec/podman/aardvark-dns", "aardvark-dns")),
    Part("nftables", ("nft",)),
    Part("golang-github-containers-common", ("/usr/share/containers/seccomp.json",)),
)

# It runs without: only containers that ask for an init of their own need it.
WISHES = (Part("catatonit", ("docker-init", "catatonit", "tini")),)


def lacking(parts: Sequence[Part] = PARTS) -> list[str]:
    """The packages that are missing here."""
    return [part.package for part in parts if not part.is_here()]


def why_not() -> str:
    """Why the native engine cannot run here, and what to do; empty when it can."""
    if os.geteuid() != 0:
        return "Gantry's native engine needs root: it mounts layers and makes namespaces. Start the agent as root."
    status = Path("/proc/self/status").read_text()
    if _lacks_powers(status):
        return "Gantry's native engine needs all of root's rights; here, in a container perhaps, some are withheld."
    if _is_confined(status):
        return "Gantry's native engine cannot run confined as the agent's service is: install the agent again."
    if missing := lacking():
        return f"Gantry's native engine needs more packages: apt-get install {' '.join(missing)}"
    return ""


def _lacks_powers(status: str) -> bool:
    """Whether root here may not mount or make interfaces: CAP_SYS_ADMIN and CAP_NET_ADMIN, capabilities(7)."""
    held = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    needed = 1 << 21 | 1 << 12
    return int(held, 16) & needed != needed


def _is_confined(status: str) -> bool:
    """Whether this process may gain no privileges, nor may any container then (prctl(2), PR_SET_NO_NEW_PRIVS):
    so systemd starts the agent where it found another engine (unit.py)."""
    return "NoNewPrivs:\t1\n" in status


@dataclass(frozen=True)
class Places:
    """Where the engine keeps its data, where it serves, and its configuration file (None: the defaults)."""

    root: Path = ROOT
    socket: Path = SOCKET
    config: Path | None = None

    def holds_containers(self) -> bool:
        """Whether an engine has made containers there; they would vanish from sight under another engine."""
        with contextlib.suppress(OSError):
            return any((self.root / "containers").iterdir())
        return False

    def command(self) -> list[str]:
        """The engine's command line."""
        words = ["--parent", str(os.getpid()), "--root", str(self.root), "--socket", str(self.socket)]
        return [*PROGRAM, *words, *(["--config", str(self.config)] if self.config else [])]


PROGRAM = (sys.executable, "-s", "-P", "-m", f"{__package__}.engine")
"""The engine in this very Python; `environment` tells it where this package lies: an installed agent has a folder
of its own."""


def environment() -> dict[str, str]:
    """The engine's, and that of the helpers it starts in turn: this package, and programs in sbin, are found.

    Of ours only what it has a use for: below `./gantry up` there are addresses with passwords among the rest.
    """
    kept = {name: value for name, value in os.environ.items() if name.upper() in _PASSED_ON}
    folder = str(Path(__file__).resolve().parent.parent)
    return {**kept, "PYTHONPATH": folder, "PATH": ":".join([os.environ.get("PATH", ""), *_SBIN])}


def become(words: Sequence[str]) -> NoReturn:
    """Replace this process by `gantry-agent engine WORDS`."""
    os.execve(PROGRAM[0], [*PROGRAM, *words], environment())


class NativeEngine:
    """Keeps `gantry-agent engine` running; `pid` is the present process's."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.pid: int | None = None

    async def run(self) -> None:
        """Until cancelled; then the engine has ended, and its containers go on."""
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            ending = await self._once()
            if time.monotonic() - began > PROVEN:
                pause = FIRST_PAUSE
            log.warning("the native engine %s; starting it again in %.1f s", ending, pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _once(self) -> str:
        """One process from start to end; how it ended, in words."""
        try:
            # A session of its own: Ctrl-C on the agent's terminal must not reach containers by way of the group.
            process = await asyncio.create_subprocess_exec(
                *self.places.command(),
                env=environment(),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        except OSError as exc:
            return f"could not be started ({exc})"
        self.pid = process.pid
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await _end(process)
            raise
        finally:
            self.pid = None
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


async def _end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, and SIGKILL after GRACE: its store is whole either way."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(GRACE):
            await process.wait()
    except TimeoutError:
        log.warning("the native engine did not stop within %g s and is killed", GRACE)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def end_with(parent: int) -> None:
    """Ask the kernel to kill this process when `parent`, a pid, is gone. Call it in the main thread, once started.

    SIGKILL and not SIGTERM: an engine that takes its time to end would meet its own successor.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before the prctl
        raise SystemExit(1)


async def is_choice(choice: str, places: Places) -> bool:
    """Whether `run --engine CHOICE`, started now, would come to the native engine, its parts once there."""
    return choice == NATIVE or (not choice and (places.holds_containers() or not await answers()))


async def lacking_for(choice: str, places: Places) -> list[str]:
    """The packages to install before `run --engine CHOICE` here."""
    return lacking((*PARTS, *WISHES)) if await is_choice(choice, places) else []


async def choose(engine: Engine, places: Places, *, asked: bool, changed: Callable[[], None]) -> None:
    """Settle which engine this host has, and run ours if it is ours. Until cancelled.

    Asked for, ours runs. Otherwise the first socket that answers is taken, and ours where none does and its
    parts are there; but where ours holds containers already it stays, whatever else was installed since.
    """
    while not asked and not places.holds_containers():
        if await answers():
            engine.problem = ""
            await asyncio.Event().wait()
        if not (problem := why_not()):
            break
        if problem != engine.problem:
            log.warning("no container engine found on this host yet; looking again all the time. %s", problem)
        engine.problem = f"No container engine answers on this host. {problem}"
        await asyncio.sleep(LOOK_EVERY)
    engine.chosen, engine.is_native = f"unix://{places.socket}", True
    while problem := why_not():
        if problem != engine.problem:
            log.warning("%s", problem)
        engine.problem = problem
        changed()
        await asyncio.sleep(LOOK_EVERY)
    engine.problem = ""
    log.info("this host's engine is Gantry's own, on %s, its data in %s", places.socket, places.root)
    changed()
    await NativeEngine(places).run()
