"""Where git runs: a root of its own in which only the programs of the host and one working folder are seen, as a user
with no rights, in a network namespace with nothing in it, or nothing but the relay.

util-linux makes it (unshare, nsenter, setpriv, prlimit): it is there wherever the engine's other parts are.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from gantry_agent.engine.errors import EngineError, Unsupported

USER = 65534  # nobody
WORK = "/work"  # the working folder, inside
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
CHUNK = 256 << 10  # bytes
MAX_ERRORS = 64 << 10  # bytes kept of what git says
_TOOLS = ("git", "unshare", "nsenter", "setpriv", "prlimit", "chroot", "mount", "sh")

_ENTER = """
set -e
umask 022
root=$1 work=$2; shift 2
mount -t tmpfs -o size=1m,mode=755,nosuid,nodev none "$root"
cd "$root"
for each in usr bin sbin lib lib32 lib64 libx32 etc/ssl etc/ca-certificates etc/pki; do
  if [ -L "/$each" ]; then ln -s "$(readlink "/$each")" "$each"
  elif [ -d "/$each" ]; then mkdir -p "$each"; mount -o bind,ro "/$each" "$each"; fi
done
mkdir dev work
for each in null zero urandom; do : > "dev/$each"; mount -o bind "/dev/$each" "dev/$each"; done
mount -o bind,nosuid,nodev "$work" work
mount -o remount,ro "$root"
exec chroot "$root" "$@"
"""


class GitFailed(EngineError):
    """A command in the sandbox ended with another code than 0; the message is what it said."""

    status = 500


class Sandbox:
    """Runs commands with `folder` as their working folder, which is made the sandbox user's. `most`: bytes a file may
    have; `settings`: git's configuration."""

    def __init__(self, folder: Path, most: int, settings: Mapping[str, str]) -> None:
        for tool in _TOOLS:
            if not shutil.which(tool):
                package = "git" if tool == "git" else "util-linux"
                raise Unsupported(f"{tool} is not installed on this host, and git sources need it: install {package}")
        self.folder = folder
        self._root = Path(tempfile.mkdtemp(prefix="root-", dir=folder.parent))
        self._most = most
        self._settings = dict(settings)
        os.chown(folder, USER, USER)

    async def run(
        self, *command: str, settings: Mapping[str, str] | None = None, env: Mapping[str, str] | None = None,
        network: int | None = None,
    ) -> bytes:  # fmt: skip
        """Run to the end; what it printed, which is expected to be little. Raises GitFailed."""
        printed = bytearray()
        async with aclosing(self.output(*command, settings=settings, env=env, network=network)) as chunks:
            async for chunk in chunks:
                printed += chunk
                if len(printed) > CHUNK:
                    raise GitFailed(f"{command[0]} prints more than {CHUNK} bytes")
        return bytes(printed)

    async def output(
        self, *command: str, settings: Mapping[str, str] | None = None, env: Mapping[str, str] | None = None,
        network: int | None = None,
    ) -> AsyncGenerator[bytes, None]:  # fmt: skip
        """What a command prints, as it does. `network`: a descriptor of the namespace it runs in; None is an empty one.

        Raises GitFailed at the end; ending earlier kills the command and all it has started.
        """
        kept = bytearray()
        async with self._started(command, {**self._settings, **(settings or {})}, env or {}, network) as process:
            assert process.stdout
            assert process.stderr
            errors = asyncio.create_task(_collect(process.stderr, kept))
            try:
                while chunk := await process.stdout.read(CHUNK):
                    yield chunk
                await errors
            finally:
                errors.cancel()
            if await process.wait():
                raise GitFailed(_told(bytes(kept)) or f"{command[0]} ended with code {process.returncode}")

    @asynccontextmanager
    async def _started(
        self, command: Sequence[str], settings: Mapping[str, str], env: Mapping[str, str], network: int | None
    ) -> AsyncGenerator[asyncio.subprocess.Process, None]:
        enter = ["unshare", "--net"] if network is None else ["nsenter", f"--net=/proc/self/fd/{network}", "unshare"]
        process = await asyncio.create_subprocess_exec(
            *enter,
            *("--mount", "--ipc", "--uts", "--pid", "--fork", "--kill-child=KILL"),
            *("sh", "-c", _ENTER, "enter", str(self._root), str(self.folder)),
            *("/usr/bin/setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs"),
            # A changed user takes away the signal that --kill-child asked for.
            *("--inh-caps=-all", "--bounding-set=-all", "--pdeathsig=KILL", "--"),
            *("/usr/bin/prlimit", "--core=0", f"--fsize={self._most}", "--"),
            *("/usr/bin/env", f"--chdir={WORK}", *command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**_environment(settings), **env},
            cwd="/",
            pass_fds=() if network is None else (network,),
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(_reaped(process))


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """No configuration but ours, no question to anybody, words that do not change with a language."""
    found = {
        "PATH": PATH,
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    for number, (name, value) in enumerate(settings.items()):
        found[f"GIT_CONFIG_KEY_{number}"], found[f"GIT_CONFIG_VALUE_{number}"] = name, value
    return found


async def _reaped(process: asyncio.subprocess.Process) -> None:
    """Until it is gone; asyncio does not see that before its pipes are read to the end."""
    for stream in (process.stdout, process.stderr):
        while stream and await stream.read(CHUNK):
            pass
    await process.wait()


async def _collect(stream: asyncio.StreamReader, kept: bytearray) -> None:
    """The end of what is said; the rest is read and forgotten."""
    while chunk := await stream.read(CHUNK):
        kept += chunk
        del kept[:-MAX_ERRORS]


def _told(said: bytes) -> str:
    """git's last words without what people cannot use."""
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("fatal:", "error:", "remote:"))] or lines
    return "; ".join(line.removeprefix("fatal: ") for line in told[-3:])
