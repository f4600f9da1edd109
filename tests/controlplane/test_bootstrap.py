"""What `./gantry` does before there is an environment: what it names, asks, installs and does without."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bootstrap import engine, environment, packages
from bootstrap.packages import Need

ROOT = Path(__file__).resolve().parents[2]
GANTRY = str(ROOT / "gantry")

# Asks `install` for a package that is missing until the pretended apt-get has been there.
_ASK = """
import sys; sys.path.insert(0, {root!r})
from pathlib import Path
from bootstrap.packages import Need, install
left = install([Need("toy", "plays", Path({sign!r}).exists)], "The test")
print("left:", [need.package for need in left])
"""


@pytest.fixture
def system(tmp_path: Path) -> dict[str, str]:
    """An environment whose apt-get and apt-cache only write down how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    sign = tmp_path / "installed"
    scripts = {
        "apt-get": f'echo "$DEBIAN_FRONTEND $*" >> {tmp_path}/calls\n[ "$1" = update ] || touch {sign}\n',
        "apt-cache": "exit 0\n",
    }
    for name, body in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}")
        (folder / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "GANTRY_INSTALL")}
    return {**kept, "PATH": f"{folder}:{os.environ['PATH']}"}


def command(tmp_path: Path) -> list[str]:
    return [sys.executable, "-I", "-c", _ASK.format(root=str(ROOT), sign=str(tmp_path / "installed"))]


def calls(tmp_path: Path) -> list[str]:
    file = tmp_path / "calls"
    return file.read_text().splitlines() if file.exists() else []


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="installing as root is tested as root")


@needs_root
def test_without_a_terminal_it_installs_at_once(system: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        command(tmp_path), env=system, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    assert "toy                plays" in done.stderr
    assert "left: []" in done.stdout
    update, install = calls(tmp_path)
    assert update.startswith("noninteractive update")
    assert install.startswith("noninteractive install -y")
    assert "--no-install-recommends" in install
    assert install.endswith(" toy")


def on_a_terminal(words: list[str], answer: bytes, environment: dict[str, str]) -> str:
    """Run on a pseudo-terminal, type `answer` when it asks, give back all that was printed."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(words, env=environment, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    printed = b""
    while True:
        try:
            chunk = os.read(controller, 4096)
        except OSError:  # EIO: the last one on the other end is gone
            break
        if b"[Y/n]" not in printed and b"[Y/n]" in printed + chunk:
            os.write(controller, answer)
        printed += chunk
        if not chunk:
            break
    os.close(controller)
    process.wait(30)
    return printed.decode()


@needs_root
@pytest.mark.parametrize("answer", [b"\n", b"y\n", b"yes\n"])
def test_on_a_terminal_it_asks_and_yes_installs(system: dict[str, str], tmp_path: Path, answer: bytes) -> None:
    assert "left: []" in on_a_terminal(command(tmp_path), answer, system)
    assert len(calls(tmp_path)) == 2


@needs_root
@pytest.mark.parametrize("answer", [b"n\n", b"no\n", b"\x04", b"what?\n"])
def test_declined_it_installs_nothing_and_says_how(system: dict[str, str], tmp_path: Path, answer: bytes) -> None:
    printed = on_a_terminal(command(tmp_path), answer, system)
    assert "left: ['toy']" in printed
    assert "apt-get install --no-install-recommends toy" in printed
    assert calls(tmp_path) == []


@needs_root
def test_a_ci_run_is_not_asked_even_on_a_terminal(system: dict[str, str], tmp_path: Path) -> None:
    printed = on_a_terminal(command(tmp_path), b"n\n", {**system, "CI": "true"})
    assert "[Y/n]" not in printed
    assert len(calls(tmp_path)) == 2


def test_gantry_install_no_declines_without_a_question(system: dict[str, str], tmp_path: Path) -> None:
    printed = on_a_terminal(command(tmp_path), b"y\n", {**system, "GANTRY_INSTALL": "no"})
    assert "left: ['toy']" in printed
    assert calls(tmp_path) == []


def test_what_is_there_already_is_not_mentioned(capsys: pytest.CaptureFixture[str]) -> None:
    assert packages.install([Need("toy", "plays", lambda: True)], "The test") == []
    assert capsys.readouterr().err == ""


def test_a_program_counts_wherever_it_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    present = packages.program("dockerd-of-a-test", "another-of-a-test")
    assert not present()
    (tmp_path / "another-of-a-test").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert present()


def test_the_environment_is_renewed_when_the_lock_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamp = tmp_path / "stamp"
    monkeypatch.setattr(environment, "_STAMP", stamp)
    assert not environment.current(development=False)
    stamp.write_text(f"{environment.digest()} app\n")
    assert environment.current(development=False)
    assert not environment.current(development=True)
    stamp.write_text(f"{environment.digest()} development\n")
    assert environment.current(development=True)
    stamp.write_text("of an older lock development\n")
    assert not environment.current(development=False)


@pytest.mark.parametrize(
    ("arguments", "native"),
    [
        ((), True),
        (("--engine", "native"), True),
        (("--engine=native", "--tls"), True),
        (("--engine", "none"), False),
        (("--engine=unix:///x",), False),
        (("--listen", "127.0.0.1:1", "--engine", "docker"), False),
    ],
)
def test_the_native_engine_is_prepared_where_it_will_run(
    arguments: tuple[str, ...], native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GANTRY_ENGINE", raising=False)
    monkeypatch.setattr(engine, "all_sockets", lambda: ["/no/docker.sock"])
    assert engine.wants_native(arguments) is native


def test_where_another_engine_answers_the_native_one_is_prepared_on_demand_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GANTRY_ENGINE", raising=False)
    path = tmp_path / "docker.sock"
    monkeypatch.setattr(engine, "all_sockets", lambda: [str(path)])
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert not engine.wants_native(())
        assert engine.wants_native(("--engine", "native"))
        monkeypatch.setenv("GANTRY_ENGINE", "native")
        assert engine.wants_native(())


def test_help_lists_every_command() -> None:
    shown = subprocess.run([GANTRY, "--help"], capture_output=True, text=True, check=True).stdout
    for name in ("up", "test", "check", "bench", "manage"):
        assert f"./gantry {name}" in shown


def test_an_unknown_command_is_refused() -> None:
    refused = subprocess.run([GANTRY, "dance"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "there is no command “dance”" in refused.stderr


def test_it_works_through_a_link_from_another_folder(tmp_path: Path) -> None:
    link = tmp_path / "gantry"
    link.symlink_to(GANTRY)
    shown = subprocess.run([str(link), "--help"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert shown.stdout.startswith("Gantry:")
