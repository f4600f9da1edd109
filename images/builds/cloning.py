"""Fetching one commit from a git server, by git itself, in a folder of its own and with nothing of this machine.

The sandbox: an empty HOME, no configuration but ours, no hooks, no helpers, no prompts, only the protocols that
`addresses` allows and only the address that was looked at, no redirects; run as `nobody` where we are root, within
limits of size and time. What the repository holds is written, and nothing of it is run.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from controlplane.lib.errors import Conflict, GantryError, InvalidArgument, Unavailable
from images.builds.addresses import PORTS, Address, beside, parse

REF = re.compile(r"(?!-)(?!.*\.\.)(?!.*@\{)[\w./@+#-]{1,250}")
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
MOST_SUBMODULES = 50
DEEPEST = 4  # submodules in submodules
LARGEST_FILE = 4 << 30  # bytes; also of a pack as it comes
LONGEST_OUTPUT = 20_000  # bytes kept of what git complains of
LONGEST_ANSWER = 1 << 20  # bytes kept of what git answers
LEAST_FREE = 512 << 20  # bytes of the disk that no repository gets

_UNPRIVILEGED = 65534
_CONFIG = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.symlinks": "true",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "protocol.allow": "never",
    "protocol.https.allow": "always",
    "protocol.http.allow": "always",
    "protocol.ssh.allow": "always",
    "protocol.git.allow": "always",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "60",
    "transfer.fsckObjects": "true",
    "fetch.fsck.zeroPaddedFilemode": "ignore",  # of old repositories; harmless
    "submodule.recurse": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "credential.helper": "",
    "advice.detachedHead": "false",
    "filter.lfs.process": "",
    "filter.lfs.smudge": "",
    "filter.lfs.required": "false",
    "safe.directory": "*",
}


@dataclass(frozen=True)
class Login:
    """What the server is shown: a token, or an SSH key. Only the server it is for gets to see it."""

    server: str
    username: str = ""
    token: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    known_hosts: str = ""


@dataclass(frozen=True)
class Clone:
    """What was fetched: the folder to build in, and the whole commit id."""

    folder: Path
    commit: str
    branch: str


def check_ref(ref: str) -> None:
    """Raises InvalidArgument unless `ref` can name a branch, a tag or a commit."""
    if ref and not REF.fullmatch(ref):
        raise InvalidArgument(f"Expected a branch, a tag or a commit, found “{ref[:80]}”.")


def check_folder(folder: str) -> None:
    """Raises InvalidArgument unless `folder` stays in the repository by its name."""
    if folder.startswith("/") or ".." in folder.split("/") or "\0" in folder:
        raise InvalidArgument(f"Expected a folder of the repository, found “{folder[:80]}”.", "Such as services/web.")


async def clone(
    url: str,
    ref: str,
    target: Path,
    say: Callable[[str], None],
    *,
    folder: str = "",
    submodules: bool = False,
    login: Login | None = None,
) -> Clone:
    """Fetch `ref` (empty: HEAD) of `url` below the empty folder `target`. Cancelling ends git.

    Raises InvalidArgument, Unavailable, or Conflict with what git said.
    """
    check_ref(ref)
    check_folder(folder)
    if shutil.which("git") is None:
        raise Unavailable("git is not installed on the machine that runs Gantry’s worker.", "apt-get install git")
    git = _Git(target, say, login)
    await git.prepare()
    checkout = target / "tree"
    await git.fetch(parse(url), ref, checkout)
    commit = (await git.run("rev-parse", "HEAD", cwd=checkout)).strip()
    if submodules:
        await git.submodules(url, checkout)
    found = (checkout / folder).resolve()
    if not found.is_relative_to(checkout.resolve()) or not found.is_dir():
        raise InvalidArgument(f"The repository has no folder {folder} at {commit[:12]}.")
    return Clone(found, commit, "" if COMMIT.fullmatch(ref) else ref or await git.default_branch(url))


class _Git:
    """git with our environment alone."""

    def __init__(self, target: Path, say: Callable[[str], None], login: Login | None) -> None:
        self._home = target / "home"
        self._target = target
        self._say = say
        self._login = login
        self._count = 0
        self._is_full = False
        self._unprivileged = os.geteuid() == 0

    async def prepare(self) -> None:
        self._home.mkdir(mode=0o700)
        if self._login and self._login.key:
            self._write("key", self._login.key.rstrip("\n") + "\n")
            self._write("known_hosts", self._login.known_hosts)
        if self._unprivileged:
            for path in (self._target, self._home, *self._home.iterdir()):
                os.chown(path, _UNPRIVILEGED, _UNPRIVILEGED)

    def _write(self, name: str, text: str) -> None:
        path = self._home / name
        path.touch(mode=0o600)
        path.write_text(text)

    async def fetch(self, address: Address, ref: str, checkout: Path) -> None:
        """One commit, without its history, checked out at `checkout`."""
        self._say(f"Fetching {address.url}{f' at {ref}' if ref else ''} …")
        await self.run("init", "--quiet", "--template=", "--initial-branch=gantry", str(checkout), cwd=self._target)
        config = await self._config_for(address)
        fetch = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--depth=1", "--", address.url)
        await self.run(*fetch, ref or "HEAD", cwd=checkout, config=config)
        await self.run("checkout", "--quiet", "--detach", "FETCH_HEAD", cwd=checkout)

    async def default_branch(self, url: str) -> str:
        """What HEAD is called at the server; "" when it does not say."""
        address = parse(url)
        listed = await self.run(
            "ls-remote", "--symref", "--", address.url, "HEAD", cwd=self._target, config=await self._config_for(address)
        )
        match = re.match(r"ref: refs/heads/(\S+)\tHEAD", listed)
        return match[1] if match else ""

    async def submodules(self, url: str, checkout: Path, depth: int = 0) -> None:
        """Fetch what .gitmodules names, each from an address that is held to the same rules."""
        modules = checkout / ".gitmodules"
        if modules.is_symlink() or not modules.is_file():
            return
        if depth >= DEEPEST:
            raise InvalidArgument(f"Expected submodules at most {DEEPEST} deep, found more.")
        for path, address_text in await self._listed(checkout):
            self._count += 1
            if self._count > MOST_SUBMODULES:
                raise InvalidArgument(f"Expected at most {MOST_SUBMODULES} submodules, found more.")
            commit = await self._pinned(checkout, path)
            if commit:
                inner = self._inside(checkout, path)
                address = beside(url, address_text)
                await self.fetch(address, commit, inner)
                await self.submodules(address.url, inner, depth + 1)

    async def _listed(self, checkout: Path) -> list[tuple[str, str]]:
        """(path, URL) of each submodule."""
        listing = ("config", "--file", ".gitmodules", "--null", "--get-regexp", r"^submodule\..*\.(path|url)$")
        found: dict[str, dict[str, str]] = {}
        for entry in (await self.run(*listing, cwd=checkout)).split("\0"):
            key, _, value = entry.partition("\n")
            name, _, what = key.rpartition(".")
            if name:
                found.setdefault(name, {})[what] = value
        return [(each["path"], each["url"]) for each in found.values() if {"path", "url"} <= each.keys()]

    async def _pinned(self, checkout: Path, path: str) -> str:
        """The commit the parent wants there, "" when it wants none."""
        listed = await self.run("ls-tree", "-z", "HEAD", "--", path, cwd=checkout)
        match = re.match(r"160000 commit ([0-9a-f]{40,64})\t", listed)
        return match[1] if match else ""

    @staticmethod
    def _inside(checkout: Path, path: str) -> Path:
        inner = checkout / path
        if not inner.resolve().is_relative_to(checkout.resolve()) or ".git" in Path(path).parts or inner.is_symlink():
            raise InvalidArgument(f"A submodule lies at “{path[:80]}”, which is outside the repository.")
        return inner

    async def _config_for(self, address: Address) -> dict[str, str]:
        """Where git may connect to, and what it shows there."""
        ip = await asyncio.to_thread(address.resolve)
        shown = f"[{ip}]" if ":" in ip else ip
        # An address in numbers is not looked up; curl does not even take it as a name.
        config = {} if ip == address.host else {"http.curloptResolve": f"{address.host}:{address.port}:{shown}"}
        login = self._login
        usual = address.port == PORTS[address.scheme]
        names = (f"{address.host}:{address.port}", *([address.host] if usual or address.scheme == "ssh" else []))
        mine = login is not None and login.server in names
        if login and mine and login.token and address.scheme == "https":
            basic = base64.b64encode(f"{login.username or 'git'}:{login.token}".encode()).decode()
            parts = urlsplit(address.url)
            config[f"http.{parts.scheme}://{parts.netloc}/.extraHeader"] = f"Authorization: Basic {basic}"
        elif login and mine and login.token and address.scheme == "http":
            raise InvalidArgument("A token is sent over https only.", "Change the address, or leave the token out.")
        config["core.sshCommand"] = self._ssh(address, ip, with_key=bool(mine and login and login.key))
        if address.scheme == "git" and ip != address.host:
            config[f"url.git://{shown}:{address.port}{urlsplit(address.url).path}.insteadOf"] = address.url
        return config

    def _ssh(self, address: Address, ip: str, *, with_key: bool) -> str:
        """ssh without anything of this machine: no agent, no configuration, no keys but the given one."""
        strict = "yes" if self._login and self._login.known_hosts else "accept-new"
        options = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "StrictHostKeyChecking": strict,
            "UserKnownHostsFile": str(self._home / "known_hosts"),
            "GlobalKnownHostsFile": "/dev/null",
            "HostName": ip,
            # As a known_hosts file spells it; an alias is looked up to the letter.
            "HostKeyAlias": address.host if address.port == PORTS["ssh"] else f"[{address.host}]:{address.port}",
            "CheckHostIP": "no",
            "ConnectTimeout": "20",
            "PermitLocalCommand": "no",
            "ClearAllForwardings": "yes",
        }
        key = f" -i {self._home / 'key'}" if with_key else " -i /dev/null"
        return "ssh -F /dev/null" + key + "".join(f" -o {name}={value}" for name, value in options.items())

    async def run(self, *arguments: str, cwd: Path, config: dict[str, str] | None = None) -> str:
        """What git prints. Raises Conflict with its own words when it fails."""
        process = await asyncio.create_subprocess_exec(
            *self._limited(),
            "git",
            *arguments,
            cwd=cwd,
            env=self._environment({**_CONFIG, **(config or {})}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            user=_UNPRIVILEGED if self._unprivileged else None,
            group=_UNPRIVILEGED if self._unprivileged else None,
            extra_groups=[] if self._unprivileged else None,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with asyncio.TaskGroup() as tasks:
                printed = tasks.create_task(_read(process.stdout, LONGEST_ANSWER))
                errors = tasks.create_task(_read(process.stderr, LONGEST_OUTPUT))
                watch = tasks.create_task(self._watch_disk(process))
                code = await process.wait()
                watch.cancel()
        finally:
            if process.returncode is None:
                _end(process)
                await process.wait()
        if self._is_full:
            raise Conflict(
                f"Fetching stopped: less than {LEAST_FREE >> 20} MiB are free where Gantry keeps its files.",
                "Free some, or build from a smaller repository.",
            )
        if code:
            raise _failed(errors.result())
        return printed.result()

    async def _watch_disk(self, process: asyncio.subprocess.Process) -> None:
        """End git before it fills the disk that Gantry's own database is on."""
        while shutil.disk_usage(self._target).free > LEAST_FREE:  # noqa: ASYNC110  nobody tells of a disk
            await asyncio.sleep(0.5)
        self._is_full = True
        _end(process)

    @staticmethod
    def _limited() -> Sequence[str]:
        limit = shutil.which("prlimit")
        return (limit, f"--fsize={LARGEST_FILE}", "--core=0", "--") if limit else ()

    def _environment(self, config: dict[str, str]) -> dict[str, str]:
        """Configuration goes by variables, which no list of processes shows."""
        passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
        pairs: dict[str, str] = {}
        for number, (key, value) in enumerate(config.items()):
            pairs |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        return {
            **passed,
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._home),
            "XDG_CONFIG_HOME": str(self._home),
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "SSH_ASKPASS": "/bin/false",
            "GIT_CONFIG_COUNT": str(len(config)),
            **pairs,
        }


# A company's own authority, and its way out.
_PASSED = ("SSL_CERT_FILE", "GIT_SSL_CAINFO", "https_proxy", "http_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY")


async def _read(stream: asyncio.StreamReader, most: int) -> str:
    """The first `most` bytes; the rest is read and dropped, so that git does not wait for us."""
    found = bytearray()
    while piece := await stream.read(65536):
        found += piece[: most - len(found)]
    return found.decode(errors="replace")


def _end(process: asyncio.subprocess.Process) -> None:
    """git and the helpers it started."""
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        pass


def _failed(said: str) -> GantryError:
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("hint:")]
    words = " ".join(lines[-3:]) or "it said nothing"
    for pattern, hint in _HINTS:
        if pattern in said:
            return Conflict(f"git could not fetch it: {words}", hint)
    return Conflict(f"git could not fetch it: {words}", "Check the address, the branch and the credential.")


_HINTS = (
    ("couldn't find remote ref", "There is no such branch, tag or commit; commits are given in full."),
    ("not our ref", "There is no such commit, or the server gives out only what a branch or tag points to."),
    ("could not read Username", "The repository is private, or does not exist: choose a credential for its server."),
    ("Authentication failed", "The server refused the credential: is it for this repository, and still valid?"),
    ("Permission denied (publickey", "The server knows no such key: is the deploy key added there?"),
    ("Host key verification failed", "The server shows another key than the known hosts of the credential."),
    ("unable to access", "The server was not reached, or sent us elsewhere: redirects are not followed."),
    ("transport", "Only https, http, ssh and git are fetched from."),
)
