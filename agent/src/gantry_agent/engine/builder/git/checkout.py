"""A repository at one commit as a folder, submodules included.

Nothing in it is run and nothing it says is believed: git starts without hooks and without anybody's configuration, and
each submodule is a source of its own, held to the rules of the first.
"""

import asyncio
import base64
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gantry_agent.engine.config import Config
from gantry_agent.engine.errors import Forbidden, InvalidArgument, Unavailable
from gantry_agent.engine.runtime.rootfs import open_inside

from .addresses import GitSource, shown
from .relay import Relay
from .sandbox import GitFailed, Sandbox

TIMEOUT = 1800.0  # seconds for a source with all its submodules
MAX_DEPTH = 512  # folders in a name
MAX_NESTED = 10  # submodules of submodules
TREE = "tree"
GITLINK = b"160000"
TOKEN, HEADER = "GIT_AUTH_TOKEN", "GIT_AUTH_HEADER"  # secrets, as BuildKit calls them; also with .HOST behind
SETTINGS = {
    "protocol.allow": "never",
    "protocol.http.allow": "always",
    "protocol.https.allow": "always",
    "protocol.git.allow": "always",
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.autocrlf": "false",
    "core.symlinks": "true",
    "core.logAllRefUpdates": "false",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    "submodule.recurse": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "init.defaultBranch": "main",
    "advice.detachedHead": "false",
}


@dataclass(frozen=True)
class Checkout:
    """`folder` holds the files, all root's; `commit` is its whole name."""

    folder: Path
    commit: str

    def inside(self, folder: str) -> Path:
        """A folder of the tree, links followed in it alone. Blocks. Raises InvalidArgument."""
        try:
            descriptor = open_inside(self.folder, folder or "/", os.O_PATH | os.O_DIRECTORY)
        except OSError as exc:
            raise InvalidArgument(f"the repository has no folder {folder}: {os.strerror(exc.errno or 0)}") from exc
        try:
            return Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        finally:
            os.close(descriptor)


async def check_out(
    config: Config, source: GitSource, folder: Path, secrets: Mapping[str, bytes], *, keeps_git_dir: bool = False
) -> Checkout:
    """Fetch a source into the new folder `folder`; what it needs besides is left beside it, in the same folder.

    Raises Forbidden, InvalidArgument, Unavailable, Unsupported.
    """
    if config.build_fetches == "off":
        raise Forbidden(f"{source.url}: this engine builds from what it is sent alone (build-fetches is off)")
    await asyncio.to_thread(folder.mkdir, 0o755)
    work = _Work(config, source, folder, secrets, keeps_git_dir=keeps_git_dir)
    try:
        async with asyncio.timeout(TIMEOUT):
            commit = await work.repository(source, TREE)
            await work.forget()
    except TimeoutError as exc:
        raise Unavailable(f"{source.url} is not fetched within {TIMEOUT:g} s") from exc
    await asyncio.to_thread(_own, folder)
    return Checkout(folder / TREE, commit)


class _Work:
    """What the repository and its submodules have in common."""

    def __init__(
        self, config: Config, source: GitSource, folder: Path, secrets: Mapping[str, bytes], *, keeps_git_dir: bool
    ) -> None:
        self._config = config
        self._main = source
        self._secrets = secrets
        self._keeps_git_dir = keeps_git_dir
        self._bytes, self._entries = config.max_layer_size, config.max_layer_entries
        self._places: list[str] = []
        self._sandbox = Sandbox(folder, config.max_layer_size, SETTINGS)

    async def repository(self, source: GitSource, place: str, depth: int = 0) -> str:
        """Check out a source in the folder `place`; its commit. `depth`: of how many others it is a submodule."""
        if depth > MAX_NESTED:
            raise InvalidArgument(f"{source.url}: more than {MAX_NESTED} submodules within one another")
        self._places.append(place)
        try:
            await self._sandbox.run("git", "init", "--quiet", "--template=", "--", place)
            if self._keeps_git_dir:
                await self._git(place, "remote", "add", "origin", source.url)
            commit = await self._fetch(source, place)
            links = await self._weigh(source, place, commit)
            await self._git(place, "checkout", "--quiet", "--force", "--detach", commit)
        except GitFailed as exc:
            raise Unavailable(f"{shown(source.url)}: {exc.message}") from exc
        for path, linked in links.items():
            below = source.submodule(await self._url(source, place, commit, path), linked)
            await self.repository(below, f"{place}/{path}", depth + 1)
        return commit

    async def forget(self) -> None:
        """Leave the files alone, unless what git keeps for itself is wanted."""
        if not self._keeps_git_dir:
            await self._sandbox.run("rm", "-rf", "--", *(f"{place}/.git" for place in self._places))

    async def _git(self, place: str, *arguments: str) -> bytes:
        return await self._sandbox.run("git", "-C", place, *arguments)

    # Fetching

    async def _fetch(self, source: GitSource, place: str) -> str:
        """The commit meant, fetched without its history where the server can do that. Raises GitFailed."""
        try:
            await self._ask(source, place, [source.ref or "HEAD"], "--depth=1", "--no-tags")
            found = "FETCH_HEAD"
        except GitFailed:
            if not source.may_be_commit:
                raise
            # A commit's name cut short, or a server that gives none but the tips: then everything is asked for.
            await self._ask(source, place, ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"])
            found = source.ref
        said = await self._git(place, "rev-parse", "--verify", f"{found}^{{commit}}")
        return said.decode().strip()

    async def _ask(self, source: GitSource, place: str, refs: Sequence[str], *options: str) -> None:
        """One fetch."""
        env = {}
        async with self._relay(source) as relay:
            settings = {"http.proxy": f"socks5h://127.0.0.1:{relay.port}", **self._login(source)}
            if source.scheme == "git":
                settings[f"url.git://127.0.0.1:{relay.port}/.insteadOf"] = source.site
                env["GIT_OVERRIDE_VIRTUAL_HOST"] = source.site.partition("://")[2].rstrip("/")
            try:
                await self._sandbox.run(
                    *("git", "-C", place, "fetch", "--quiet", *options, "--", source.url, *refs),
                    settings=settings,
                    env=env,
                    network=relay.namespace,
                )
            except GitFailed as exc:
                if relay.failure:
                    raise Unavailable(f"{shown(source.url)}: {relay.failure}") from exc
                raise

    @asynccontextmanager
    async def _relay(self, source: GitSource) -> AsyncIterator[Relay]:
        target = (source.host, source.port) if source.scheme == "git" else None
        allowed = self._config.build_fetches == "any"
        async with Relay(is_any_allowed=allowed, most=self._config.max_layer_size, target=target) as relay:
            yield relay

    def _login(self, source: GitSource) -> dict[str, str]:
        """The header that opens a private repository, for its own site; one that has it follows no redirect."""
        value = ""
        if source.login:
            value = f"Basic {_base64(source.login)}"
        elif source.site == self._main.site:
            for name in (f".{source.host}", ""):
                if header := self._secrets.get(HEADER + name):
                    value = value or header.decode(errors="replace").strip()
                if token := self._secrets.get(TOKEN + name):
                    value = value or f"Basic {_base64('x-access-token:' + token.decode(errors='replace').strip())}"
        if not value or source.scheme == "git":
            return {}
        if re.search(r"[\x00-\x1f]", value):
            raise InvalidArgument(f"the secret for {source.site} is no line of text")
        return {f"http.{source.site}.extraHeader": f"Authorization: {value}", "http.followRedirects": "false"}

    # What is in it

    async def _weigh(self, source: GitSource, place: str, commit: str) -> dict[str, str]:
        """Look at all of a tree before it is written: its submodules, path → commit. Raises InvalidArgument."""
        links: dict[str, str] = {}
        rest = b""
        listing = self._sandbox.output("git", "-C", place, "ls-tree", "-r", "-l", "-z", "--full-tree", commit)
        async with aclosing(listing) as chunks:
            async for chunk in chunks:
                *entries, rest = (rest + chunk).split(b"\0")
                for entry in entries:
                    facts, _, path = entry.partition(b"\t")
                    mode, _, name, size = facts.split()
                    self._count(source, path, int(size) if size.isdigit() else 0)
                    if mode == GITLINK:
                        links[os.fsdecode(path)] = name.decode()
        return links

    def _count(self, source: GitSource, path: bytes, size: int) -> None:
        self._entries -= 1
        self._bytes -= size
        if self._entries < 0 or self._bytes < 0:
            most = f"{self._config.max_layer_size} bytes or {self._config.max_layer_entries} files"
            raise InvalidArgument(f"{source.url} has more than {most}")
        if path.count(b"/") >= MAX_DEPTH:
            raise InvalidArgument(f"{source.url}: {path[:100]!r}… lies too deep")

    async def _url(self, source: GitSource, place: str, commit: str, path: str) -> str:
        """Where .gitmodules says a submodule comes from. Raises InvalidArgument."""
        try:
            said = await self._git(place, "config", "--blob", f"{commit}:.gitmodules", "--null", "--list")
        except GitFailed as exc:
            raise InvalidArgument(f"{source.url}: submodule {path}: {exc.message}") from exc
        settings: dict[str, dict[str, str]] = {}
        for each in said.decode(errors="surrogateescape").split("\0"):
            key, _, value = each.partition("\n")
            name, _, field = key.rpartition(".")
            settings.setdefault(name, {})[field] = value
        for found in settings.values():
            if found.get("path") == path and found.get("url"):
                return found["url"]
        raise InvalidArgument(f"{source.url}: .gitmodules has no address for the submodule {path}")


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _own(folder: Path) -> None:
    """Give all below the folder to root; links themselves, not what they lead to. Blocks."""
    for _, folders, names, here in os.fwalk(folder):
        for name in (*folders, *names):
            os.chown(name, 0, 0, dir_fd=here, follow_symlinks=False)
