"""The docker CLI through the tunnel: every kind of conversation it holds with an engine."""

import contextlib
import fcntl
import hashlib
import os
import pty
import re
import select
import signal
import struct
import subprocess
import tarfile
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.engines import EngineProcess, unique
from tests.support.tunnel import AgentHost, Tunnel
from tests.support.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.docker]


@pytest.fixture(scope="module")
def host(docker_engine: EngineProcess) -> Iterator[AgentHost]:
    """A host behind the tunnel, with the shared engine."""
    with Tunnel() as tunnel:
        agent = tunnel.enrol(docker_engine.socket)
        agent.start()
        yield agent


@pytest.fixture
def image(docker_engine: EngineProcess, busybox_loaded: Callable[[EngineProcess], str]) -> str:
    return busybox_loaded(docker_engine)


@pytest.fixture
def container(docker_engine: EngineProcess, image: str) -> Iterator[str]:
    """A running container that does nothing."""
    name = unique()
    docker_engine.run(image, "sleep", "600", name=name)
    yield name
    docker_engine.request("DELETE", f"/containers/{name}", force="true")


def command(host: AgentHost, *arguments: str) -> list[str]:
    return ["docker", "-H", f"unix://{host.engine}", *arguments]


def docker(host: AgentHost, *arguments: str, input: bytes | None = None) -> bytes:
    """Run the CLI to its end; its output. Fails the test when it fails."""
    done = subprocess.run(
        command(host, *arguments),
        input=input,
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class Typist:
    """The CLI on a terminal of its own: type, and wait for what appears."""

    def __init__(self, arguments: list[str], columns: int = 100, rows: int = 30) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvp(arguments[0], arguments)
        self.seen = b""
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.fd, keys)

    def expect(self, pattern: bytes, timeout: float = 10.0) -> None:
        """Wait for a pattern, and forget everything up to its end."""
        deadline = time.monotonic() + timeout
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no {pattern!r} in {self.seen!r}"
            self.seen += os.read(self.fd, 65536)
        self.seen = self.seen[found.end() :]

    def close(self) -> int:
        """Wait for its end; the exit status."""
        with contextlib.suppress(OSError):
            while os.read(self.fd, 65536):
                pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_it_lists_containers_as_the_engine_does(host: AgentHost, container: str) -> None:
    assert container in docker(host, "ps", "--format", "{{.Names}}").decode().split()


def test_a_shell_with_a_terminal_echoes_resizes_and_gives_its_exit_code(host: AgentHost, container: str) -> None:
    shell = Typist(command(host, "exec", "-it", container, "sh"))
    shell.expect(rb"# ")
    shell.type(b"echo a$((20+3))b\r")
    shell.expect(rb"a23b")
    # The CLI passes a size on in its own time, and loses one that changes before it listens (after the prompt is
    # there): the window is drawn larger and back until the size has arrived.
    for _ in range(50):
        shell.resize(78, 21)
        shell.resize(77, 21)
        shell.type(b"stty size\r")
        with contextlib.suppress(AssertionError):
            shell.expect(rb"21 77", timeout=0.2)
            break
    else:
        pytest.fail("the new size never arrived")
    shell.type(b"exit 7\r")
    assert shell.close() == 7


def test_input_ends_while_output_goes_on(host: AgentHost, container: str) -> None:
    assert docker(host, "exec", "-i", container, "cat", input=b"hi\n") == b"hi\n"
    script = "cat >/dev/null; echo after the end"
    assert docker(host, "exec", "-i", container, "sh", "-c", script, input=b"x") == b"after the end\n"


def test_standard_error_and_exit_code_arrive(host: AgentHost, container: str) -> None:
    done = subprocess.run(
        command(host, "exec", container, "sh", "-c", "echo out; echo err >&2; exit 3"),
        capture_output=True,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 3)


def test_attach_reads_and_writes_a_running_container(host: AgentHost, docker_engine: EngineProcess, image: str) -> None:
    name = unique()
    docker_engine.run(image, "cat", name=name, OpenStdin=True, StdinOnce=True, AttachStdin=True)
    with subprocess.Popen(command(host, "attach", name), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"hello\n"
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(10) == 0


# Docker 20.10 may lose the last line of a container that ends in the same moment.
LINES = "for i in 1 2 3 4 5; do echo line $i; usleep 50000; done; sleep 1"


def test_logs_follow_until_the_container_ends(host: AgentHost, docker_engine: EngineProcess, image: str) -> None:
    name = unique()
    docker_engine.run(image, "sh", "-c", LINES, name=name)
    assert docker(host, "logs", "-f", name) == b"".join(b"line %d\n" % n for n in range(1, 6))


def test_a_log_reader_that_goes_away_is_gone_on_the_host(
    host: AgentHost, docker_engine: EngineProcess, container: str
) -> None:
    """No leaked readers on the engine (field.md 8): its connections are counted."""
    before = connections(docker_engine)
    process = subprocess.Popen(command(host, "logs", "-f", container), stdout=subprocess.PIPE)
    eventually(lambda: connections(docker_engine) - before, what="the reader reaches the engine")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    eventually(lambda: connections(docker_engine) <= before, what="the reader is gone from the engine")


def test_an_attached_client_that_goes_away_is_gone_on_the_host(host: AgentHost, container: str) -> None:
    """Attach is raw bytes, and silence: only a look at the half-closed socket tells that the client died.

    The agent's side is counted: the engine itself keeps such a connection until the command writes.
    """
    before = open_files(host)
    process = subprocess.Popen(
        command(host, "exec", "-i", container, "sleep", "500"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    eventually(lambda: open_files(host) > before)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    eventually(lambda: open_files(host) <= before, what="the agent has let go of the engine")


def open_files(host: AgentHost) -> int:
    """Descriptors of the agent's process."""
    assert host.process
    return len(os.listdir(f"/proc/{host.process.pid}/fd"))


def connections(engine: EngineProcess) -> set[str]:
    """Connections that the engine's own socket has accepted and that still stand, by their inodes."""
    found = subprocess.run(["ss", "-xH", "state", "connected"], capture_output=True, check=True, text=True)
    rows, socket = [line.split() for line in found.stdout.splitlines()], str(engine.socket)
    return {row[row.index(socket) + 1] for row in rows if socket in row}


def test_copy_in_and_out_gives_the_same_bytes(host: AgentHost, container: str, tmp_path: Path) -> None:
    source = tmp_path / "in.bin"
    source.write_bytes(os.urandom(12_000_000))
    docker(host, "cp", str(source), f"{container}:/tmp/file.bin")
    docker(host, "cp", f"{container}:/tmp/file.bin", str(tmp_path / "out.bin"))
    assert (tmp_path / "out.bin").read_bytes() == source.read_bytes()


def test_a_classic_build_sends_its_context_and_shows_its_steps(host: AgentHost, image: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {image}\nCOPY big /big\nRUN wc -c < /big\n")
    (tmp_path / "big").write_bytes(os.urandom(5_000_000))
    tag = f"gantry/{unique()}"
    output = docker(host, "build", "-t", tag, str(tmp_path))
    assert b"5000000" in output
    docker(host, "rmi", tag)


def test_events_arrive_as_they_happen(host: AgentHost, docker_engine: EngineProcess, image: str) -> None:
    """Those from a moment before it asks, too: its question takes longer than what is done beside it."""
    name, since = unique(), str(int(time.time()))
    arguments = ("events", "--since", since, "--filter", f"container={name}", "--format", "{{.Action}}")
    process = subprocess.Popen(command(host, *arguments), stdout=subprocess.PIPE)
    try:
        docker_engine.run(image, "true", name=name)
        found = iter_lines(process)
        lines = [next(found) for _ in range(3)]
        assert lines == ["create", "start", "die"]
    finally:
        process.kill()
        process.communicate()


def iter_lines(process: "subprocess.Popen[bytes]") -> Iterator[str]:
    assert process.stdout
    for line in process.stdout:
        yield line.decode().strip()


def test_save_and_load_carry_a_hundred_megabytes(
    host: AgentHost, docker_engine: EngineProcess, image: str, tmp_path: Path
) -> None:
    name, tag = unique(), f"gantry/{unique()}:1"
    docker_engine.run(image, "sh", "-c", "head -c 100000000 /dev/urandom > /data; sha256sum /data", name=name)
    docker_engine.expect("POST", f"/containers/{name}/wait")
    repository, version = tag.split(":")
    docker_engine.expect("POST", "/commit", {}, container=name, repo=repository, tag=version)
    archive = tmp_path / "image.tar"
    docker(host, "save", "-o", str(archive), tag)
    assert archive.stat().st_size > 100_000_000
    with tarfile.open(archive) as opened:
        assert "manifest.json" in opened.getnames()
    direct = hashlib.sha256(docker_engine_save(docker_engine, tag)).hexdigest()
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == direct
    docker_engine.request("DELETE", f"/containers/{name}", force="true")
    docker(host, "rmi", tag)
    assert tag.encode() in docker(host, "load", "-i", str(archive))
    docker(host, "rmi", tag)


def docker_engine_save(engine: EngineProcess, tag: str) -> bytes:
    """The same archive without the tunnel."""
    direct = ["docker", "-H", f"unix://{engine.socket}", "save", tag]
    return subprocess.run(direct, capture_output=True, check=True).stdout


def test_streams_do_not_hold_each_other_up(host: AgentHost, container: str) -> None:
    """Many clients at once, one of them with a stalled reader of an endless output."""
    with subprocess.Popen(
        command(host, "exec", container, "sh", "-c", "yes a-long-line-of-output"), stdout=subprocess.PIPE
    ) as stalled:
        assert stalled.stdout
        assert stalled.stdout.read(10)
        running = [
            subprocess.Popen(
                command(host, "exec", container, "sh", "-c", f"sleep 0.2; echo {n}"), stdout=subprocess.PIPE
            )
            for n in range(20)
        ]
        for n, process in enumerate(running):
            assert process.communicate(timeout=60)[0].decode().strip() == str(n)
        stalled.kill()
