"""Real engines for tests: a Docker Engine, a Podman service or Gantry's native engine, each on folders, a socket
and a bridge of its own.

    with Dockerd() as engine:                 # or Podman(), or Native(**keys of its configuration file)
        engine.socket                         # Path of the unix socket, plain Engine API
        engine.request("GET", "/info")        # (status, JSON): a second opinion beside hosts.engine
        engine.cli("ps", "-a")                # the docker CLI on that socket; returns its stdout
        engine.run("busybox", "top", name="a")  # create and start, returns the container's id
        engine.kill(); engine.start()         # SIGKILL and again; Docker's containers live on (live-restore)

Any number works side by side. All tests share the session fixtures ``docker_engine``, ``podman_engine`` and
``native_engine`` (tests/conftest.py): name your containers with ``unique()``, and never stop those engines. Registries
on 127.0.0.1 and on the machine's addresses towards test namespaces (10.215.N.1) need no TLS.
``netns=`` starts the engine in a named network namespace (tests/support/netns.py).
"""

import contextlib
import json
import os
import resource
import secrets
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar, Self

from tests.support import unixhttp
from tests.support.scratch import Bridge, discard, discard_native, make_scratch
from tests.support.waiting import eventually

INSECURE = ("127.0.0.0/8", "10.215.0.0/16")


def unique(prefix: str = "t") -> str:
    """A container name nobody else uses on a shared engine."""
    return f"{prefix}-{secrets.token_hex(4)}"


class EngineProcess:
    """One engine under test; a context manager. ``why_not()`` says what this machine lacks for it."""

    kind: ClassVar[str]
    binaries: ClassVar[tuple[str, ...]]

    def __init__(self, *, netns: str | None = None) -> None:
        self.netns = netns
        self.folder = make_scratch()
        self.socket = self.folder / "engine.sock"
        self.log = self.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.bridge: Bridge | None = None

    @classmethod
    def why_not(cls) -> str:
        """Empty when this engine can be started here, else the reason for a skip."""
        if os.geteuid() != 0:
            return f"{cls.kind}: needs root to start an engine of its own"
        missing = [name for name in (*cls.binaries, "ip") if not shutil.which(name)]
        return f"{cls.kind}: not installed: {', '.join(missing)}" if missing else ""

    def __enter__(self) -> Self:
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def prepare(self) -> None:
        """Make the bridge and the configuration files."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """The engine's command line."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """The engine's environment."""
        return dict(os.environ)

    def start(self) -> None:
        """Start the process and wait until it answers (at most 20 s)."""
        enter = ["nsenter", f"--net=/run/netns/{self.netns}"] if self.netns else []
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*enter, *self.command()],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self.answers, timeout=20, what=f"{self.kind} answers on {self.socket}")

    def answers(self) -> bool:
        """Whether the engine answers a ping; RuntimeError with its last words when it has died."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.kind} ended at once:\n{self.log.read_text()[-2000:]}")
        try:
            return self.request("GET", "/_ping", timeout=2)[0] == 200
        except OSError:
            return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the engine's process (its data stay); killed when it has not gone after 15 s."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def kill(self) -> None:
        """End the engine with SIGKILL."""
        self.stop(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: connections are accepted by the kernel and never answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT after `freeze`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Remove every container, end the engine, and leave nothing of it on the machine."""
        try:
            if self.process is not None:
                self.thaw()
                with contextlib.suppress(OSError, RuntimeError):
                    self.remove_containers()
            self.stop()
        finally:
            self.discard()
            if self.bridge:
                self.bridge.close()

    def discard(self) -> None:
        """Leave nothing of an ended engine on the machine."""
        discard(self.folder)

    def request(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        """One request; answers (status, JSON or text)."""
        return unixhttp.request(self.socket, method, path, body, **query)

    def expect(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """As `request`, but answers the body alone and raises RuntimeError on an error."""
        status, answer = self.request(method, path, body, **query)
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {answer}")
        return answer

    def cli(self, *arguments: str, input: bytes | None = None, check: bool = True) -> str:
        """Run the docker CLI against this engine; returns its standard output."""
        command = ["docker", "-H", f"unix://{self.socket}", *arguments]
        done = subprocess.run(command, input=input, capture_output=True, check=False, timeout=120)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.returncode}: {done.stderr.decode().strip()}")
        return done.stdout.decode()

    def run(self, image: str, *command: str, name: str = "", **body: Any) -> str:
        """Create and start a container (``body``: further fields of the create request); returns its id."""
        made = self.expect(
            "POST",
            "/containers/create",
            {"Image": image, "Cmd": list(command) or None, **body},
            name=name or unique(),
        )
        self.expect("POST", f"/containers/{made['Id']}/start")
        return str(made["Id"])

    def load(self, archive: bytes) -> None:
        """Load an image from a docker-save archive (tests/support/images.py)."""
        self.expect("POST", "/images/load", archive)

    def remove_containers(self) -> None:
        """Force the removal of every container with its anonymous volumes."""
        for container in self.expect("GET", "/containers/json", all="true"):
            self.request("DELETE", f"/containers/{container['Id']}", force="true", v="true")


class Dockerd(EngineProcess):
    """A Docker Engine with its own containerd. Ports are published by its user-land proxy, not iptables."""

    kind = "docker"
    binaries = ("dockerd", "containerd", "runc")

    def prepare(self) -> None:
        """Make a bridge with a subnet of its own and an empty configuration file."""
        self.bridge = Bridge(self.folder, "gtd", 213, self.netns)
        (self.folder / "daemon.json").write_text("{}")

    def kill(self) -> None:
        """End the engine with SIGKILL, and wait for its containerd, which dies with it: a new dockerd that finds
        the old one still there waits for it in vain.
        """
        pid = (self.folder / "exec/containerd/containerd.pid").read_text()
        super().kill()
        eventually(lambda: not Path(f"/proc/{pid}").exists(), what="containerd has ended")

    def command(self) -> list[str]:
        """dockerd, all of whose state lies in our folder."""
        folder = self.folder
        assert self.bridge
        return [
            "dockerd",
            f"--config-file={folder}/daemon.json",
            f"--data-root={folder}/data",
            f"--exec-root={folder}/exec",
            f"--pidfile={folder}/pid",
            f"--host=unix://{self.socket}",
            f"--bridge={self.bridge.name}",
            "--iptables=false",
            "--ip6tables=false",
            "--storage-driver=overlay2",
            "--live-restore",
            "--log-level=warn",
            # Without CAP_SYS_RESOURCE a hard limit above our own cannot be set, and runc fails.
            f"--default-ulimit=nofile={_open_files()}",
            *(f"--insecure-registry={network}" for network in INSECURE),
        ]


class Podman(EngineProcess):
    """A rootful Podman service with runc (crun refuses hybrid cgroups) and file locks of its own."""

    kind = "podman"
    binaries = ("podman", "conmon", "runc")

    def prepare(self) -> None:
        """Write containers.conf, storage.conf, registries.conf and the default network."""
        folder = self.folder
        self.bridge = Bridge(folder, "gtp", 214, self.netns)
        (folder / "containers.conf").write_text(
            "[containers]\n"
            f'default_ulimits = ["nofile={_open_files()}", "nproc=4096:4096"]\n'
            "[engine]\n"
            'runtime = "runc"\n'
            'cgroup_manager = "cgroupfs"\n'
            'events_logger = "file"\n'
            'lock_type = "file"\n'
            f'volume_path = "{folder}/volumes"\n'
        )
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\nrunroot = "{folder}/run"\ngraphroot = "{folder}/data"\n'
        )
        # A location matches up to a separator ("127.0.0.1" is every port of it); there are no address ranges.
        addresses = ["127.0.0.1", *(f"10.215.{number}.1" for number in range(64))]
        (folder / "registries.conf").write_text(
            'unqualified-search-registries = ["docker.io"]\n'
            + "".join(f'[[registry]]\nlocation = "{address}"\ninsecure = true\n' for address in addresses)
        )
        network = {
            "name": "podman",
            "id": secrets.token_hex(32),
            "driver": "bridge",
            "network_interface": self.bridge.name,
            "created": "2026-01-01T00:00:00Z",
            "subnets": [{"subnet": f"{self.bridge.subnet}.0/24", "gateway": f"{self.bridge.subnet}.1"}],
            "ipv6_enabled": False,
            "internal": False,
            "dns_enabled": False,
            "ipam_options": {"driver": "host-local"},
        }
        (folder / "networks").mkdir()
        (folder / "networks" / "podman.json").write_text(json.dumps(network))

    def command(self) -> list[str]:
        """Podman system service, all of whose state lies in our folder."""
        folder = self.folder
        return [
            "podman",
            f"--root={folder}/data",
            f"--runroot={folder}/run",
            f"--tmpdir={folder}/tmp",
            f"--network-config-dir={folder}/networks",
            "system",
            "service",
            "--time=0",
            f"unix://{self.socket}",
        ]

    def environment(self) -> dict[str, str]:
        """Point Podman at our configuration files alone."""
        return {
            **os.environ,
            "CONTAINERS_CONF": f"{self.folder}/containers.conf",
            "CONTAINERS_STORAGE_CONF": f"{self.folder}/storage.conf",
            "CONTAINERS_REGISTRIES_CONF": f"{self.folder}/registries.conf",
        }


class Native(EngineProcess):
    """Gantry's own engine. ``keys`` are further keys of its configuration file, dashes as underscores."""

    kind = "native"
    binaries = ("conmon", "nft")

    def __init__(self, *, netns: str | None = None, **keys: Any) -> None:
        super().__init__(netns=netns)
        self.keys = {name.replace("_", "-"): value for name, value in keys.items()}

    @classmethod
    def why_not(cls) -> str:
        """Also one of the two OCI runtimes is needed."""
        if reason := super().why_not():
            return reason
        return "" if shutil.which("crun") or shutil.which("runc") else "native: neither crun nor runc is installed"

    @property
    def root(self) -> Path:
        """Its images, layers and containers."""
        return self.folder / "data"

    @property
    def run_folder(self) -> Path:
        """Its run-time state."""
        return self.folder / "run"

    @property
    def config(self) -> Path:
        """Its configuration file."""
        return self.folder / "engine.json"

    def prepare(self) -> None:
        """Write its configuration: a bridge, and address pools for user networks, that are this engine's alone."""
        self.bridge = Bridge(self.folder, "gte", 212, self.netns, make=False)
        pool = self.bridge.subnet.replace("10.212.", "10.211.")
        settings = {
            "bridge": self.bridge.name,
            "bip": f"{self.bridge.subnet}.1/24",
            "default-address-pools": [{"base": f"{pool}.0/24", "size": 28}],
            "insecure-registries": list(INSECURE),
        }
        self.config.write_text(json.dumps({**settings, **self.keys}))

    def command(self) -> list[str]:
        """The agent's program that stands beside this Python; all of its state lies in our folder."""
        return [
            str(Path(sys.executable).with_name("gantry-agent")),
            "engine",
            f"--root={self.root}",
            f"--socket={self.socket}",
            f"--run={self.run_folder}",
            f"--config={self.config}",
        ]

    def remove_containers(self) -> None:
        """Also the networks people made, whose bridges would stay."""
        super().remove_containers()
        for network in self.expect("GET", "/networks"):
            if network["Name"] not in ("bridge", "host", "none"):
                self.request("DELETE", f"/networks/{network['Id']}")

    def discard(self) -> None:
        """Its firewall rules and control groups outlive it when it is killed."""
        discard_native(self.folder)


def _open_files() -> str:
    """soft:hard open files below this process's own hard limit; equal, for Podman 4.3 swaps the two."""
    number = min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    return f"{number}:{number}"
