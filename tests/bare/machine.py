"""A bare Debian 12 to start Gantry in: debootstrap's minbase with python3 and git, and nothing else.

It is a folder, made the root of a mount and a process namespace of its own (engines cannot work below a mere chroot:
they pivot their root themselves), with a shell as its first process: like an init, it reaps what others leave behind.
The network is the machine's. What is downloaded is kept below GANTRY_TEST_CACHE (/var/cache/gantry-tests), so that
a second run costs no second download; what is installed goes with the machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("GANTRY_TEST_CACHE", "/var/cache/gantry-tests"))
MIRROR = os.environ.get("GANTRY_TEST_MIRROR", "http://deb.debian.org/debian")

# Where the network asks for it: a proxy, and a bundle of root certificates (a company's own authority).
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_BUNDLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
_BUNDLE = "/etc/root-certificates-of-the-test.pem"

_ENTER = """
set -e
root=$1; shift
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount --bind "$REPOSITORY" "$root/src"
mount --bind "$CACHE/uv" "$root/root/.cache/uv"
cd "$root"
pivot_root . mnt
exec chroot . /bin/sh -c 'umount -l /mnt; /usr/bin/env -i "$@"; exit $?' enter "$@"
"""


def why_not() -> str:
    """The reason no such machine can be made here, or empty."""
    if os.geteuid() != 0:
        return "making a bare Debian needs root"
    if not (_base().is_dir() or shutil.which("debootstrap")):
        return "debootstrap is not installed"
    return ""


def _base() -> Path:
    return CACHE / "bookworm"


def _ensure_base() -> Path:
    base = _base()
    if not base.is_dir():
        partial = base.with_suffix(f".{os.getpid()}")
        command = ["debootstrap", "--variant=minbase", "--include=python3,git", "bookworm", str(partial), MIRROR]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        partial.rename(base)
    return base


def tree() -> Path:
    """The base itself, for those who only read it."""
    return _ensure_base()


def _sweep() -> None:
    """Delete the machines of test runs that were killed; their namespaces, and mounts, went with them."""
    for left in CACHE.glob("run-*"):
        if not Path("/proc", left.name.split("-")[1]).exists():
            shutil.rmtree(left)


class BareDebian:
    """A fresh copy of the base; deleted at the end. Use as a context manager."""

    def __init__(self, name: str) -> None:
        self.root = CACHE / f"run-{os.getpid()}-{name}"
        self._environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            **{proxy: os.environ[proxy] for proxy in _PROXIES if proxy in os.environ},
        }

    def __enter__(self) -> BareDebian:
        base = _ensure_base()
        _sweep()
        for folder in ("archives", "uv"):
            (CACHE / folder).mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(self.root)], check=True)
        for folder in ("src", "root/.cache/uv"):
            (self.root / folder).mkdir(parents=True)
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")
        # Nothing that is installed may start a service: the network is the machine's (policy-rc.d, invoke-rc.d(8)).
        policy = self.root / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        (self.root / "etc/dpkg/dpkg.cfg.d/unsafe-io").write_text("force-unsafe-io\n")  # it is thrown away
        self._pass_on_certificates()
        self._link_packages(CACHE / "archives", self.root / "var/cache/apt/archives")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link_packages(self.root / "var/cache/apt/archives", CACHE / "archives")
        # What was mounted lived in namespaces that are gone with their last process.
        shutil.rmtree(self.root)

    @staticmethod
    def _link_packages(source: Path, target: Path) -> None:
        """Hard links and no shared folder: apt locks that, and two machines may be in use at once."""
        for package in source.glob("*.deb"):
            if not (target / package.name).exists():
                os.link(package, target / package.name)

    def _pass_on_certificates(self) -> None:
        given = {name: os.environ[name] for name in _BUNDLES if Path(os.environ.get(name, "/")).is_file()}
        if given:
            shutil.copy(next(iter(given.values())), self.root / _BUNDLE.lstrip("/"))
            self._environment |= dict.fromkeys(given, _BUNDLE)

    def start(self, *command: str, log: Path) -> subprocess.Popen[bytes]:
        """Run `command` inside, without a terminal; its output goes to `log`. Killing it ends all of it."""
        environment = [f"{name}={value}" for name, value in self._environment.items()]
        enter = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _ENTER, "enter"]
        with log.open("wb") as output:
            return subprocess.Popen(
                [*enter, str(self.root), *environment, *command],
                env={**os.environ, "REPOSITORY": str(REPOSITORY), "CACHE": str(CACHE)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def run(self, *command: str, log: Path, timeout: float = 900) -> str:
        """Run `command` to its end; give back what it printed. Raises AssertionError when it fails."""
        process = self.start(*command, log=log)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
            process.wait()
        printed = log.read_text(errors="replace")
        assert code == 0, f"{' '.join(command)} ended with {code}:\n{printed[-6000:]}"
        return printed

    def has(self, programs: Sequence[str]) -> list[str]:
        """Those of `programs` that are installed inside."""
        folders = [self.root / folder for folder in ("usr/local/bin", "usr/sbin", "usr/bin", "usr/lib/podman")]
        return [name for name in programs if any((folder / name).exists() for folder in folders)]
