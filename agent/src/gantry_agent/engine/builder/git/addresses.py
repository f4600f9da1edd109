"""Addresses of git repositories, as `docker build` and ADD take them.

Rules: "docker build" reference, "Git repositories"; Dockerfile reference, "ADD"; BuildKit's util/gitutil. Behind a `#`
stand a branch, tag or commit, and behind a colon a folder.
"""

import re
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

from gantry_agent.engine.errors import InvalidArgument, Unsupported

SCHEMES = {"http": 80, "https": 443, "git": 9418}
_SSH = re.compile(r"ssh://|[\w-]+@[\w.-]+:", re.IGNORECASE)
_GIT = re.compile(rf"{_SSH.pattern}|git://|https?://[^?#]*\.git(?:[?#]|\Z)", re.IGNORECASE)
_GITHUB = "github.com/"
# What git-check-ref-format(1) refuses, and what fetch takes for more than a name: options, patterns, `+`, `^`.
_NO_REF = re.compile(r"[-+^/]|.*[\x00-\x20\x7f~^:?*\[\\]|.*\.\.|.*@\{|.*(?:/|\.|\.lock)\Z", re.DOTALL)
_NO_URL = re.compile(r"[\x00-\x20\x7f\\]")
_COMMIT = re.compile(r"[0-9a-f]{7,64}\Z")


@dataclass(frozen=True)
class GitSource:
    """What to check out. `url` holds no login; that is in `login`, "user:password" or "" without one."""

    url: str
    ref: str = ""
    """A branch, a tag, a commit or the full name of any ref; "" is the default branch."""
    folder: str = ""
    """A folder of the tree; "" is all of it."""
    login: str = ""

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme

    @property
    def host(self) -> str:
        """Without the port."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or SCHEMES[self.scheme]

    @property
    def site(self) -> str:
        """Scheme, host and port: where a login belongs."""
        return f"{self.scheme}://{urlsplit(self.url).netloc}/"

    @property
    def may_be_commit(self) -> bool:
        """Whether `ref` could be a commit, whole or shortened."""
        return bool(_COMMIT.match(self.ref))

    def submodule(self, url: str, commit: str) -> "GitSource":
        """The repository a submodule's `url` means: relative ones count from this one, as git-submodule(1) says.

        Raises InvalidArgument, Unsupported.
        """
        if not url.startswith(("./", "../")):
            return replace(_repository(url), ref=commit)
        base = self.url.rstrip("/")
        while url.startswith(("./", "../")):
            if url.startswith("../"):
                base = base.rpartition("/")[0]
            url = url.partition("/")[2]
        if not base.startswith(self.site.rstrip("/")):
            raise InvalidArgument(f"{self.url}: the address of a submodule leaves its host")
        found = _repository(f"{base}/{url}")
        return replace(found, ref=commit, login=self.login if found.site == self.site else "")


def is_git(address: str, *, is_context: bool = False) -> bool:
    """Whether an address is a git repository's. Only as a context may the https:// of github.com be left out: to ADD
    that is a path."""
    return bool(_GIT.match(address)) or (is_context and address.startswith(_GITHUB))


def parse(address: str) -> GitSource:
    """Take an address apart. Raises InvalidArgument, Unsupported."""
    whole, _, fragment = address.partition("#")
    ref, _, folder = fragment.partition(":")
    if whole.startswith(_GITHUB):
        whole = f"https://{whole}"
    if ref and _NO_REF.match(ref):
        raise InvalidArgument(f"{shown(address)}: {ref!r} is no name of a branch, tag or commit")
    if "\0" in folder:
        raise InvalidArgument(f"{shown(address)}: {folder!r} is no folder")
    return replace(_repository(whole), ref=ref, folder=folder)


def _repository(url: str) -> GitSource:
    if _SSH.match(url):
        raise Unsupported(
            f"{shown(url)}: ssh needs a key, and a build has none: name the repository by https, and give the secret"
            " GIT_AUTH_TOKEN where it is private"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise InvalidArgument(f"{shown(url)}: {exc}") from exc
    host = parts.hostname or ""
    if parts.scheme not in SCHEMES or not host or host.startswith("-") or _NO_URL.search(url):
        raise InvalidArgument(f"{shown(url)}: a git repository is named by an http, https or git address")
    if parts.query or parts.fragment:
        raise InvalidArgument(f"{shown(url)}: a git address has no query: branch and folder stand behind a #")
    login = unquote(parts.netloc.rpartition("@")[0])
    site = f"[{host}]" if ":" in host else host
    return GitSource(f"{parts.scheme}://{site}{f':{port}' if port else ''}{parts.path}", login=login)


def shown(address: str) -> str:
    """An address for people, without the login in it."""
    return re.sub(r"(?<=://)[^/@]*@", "", address)[:200]
