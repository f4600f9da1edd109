"""The choice of the engine, and what the native one needs. Its process is tested in tests/engine/test_agent.py."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gantry_agent import cli, engine_client, native
from gantry_agent.engine_client import Engine
from gantry_agent.native import Part, Places


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without Docker and Podman; the path where one would answer."""
    other = tmp_path / "docker.sock"
    here = engine_client.candidates
    monkeypatch.setattr(engine_client, "candidates", lambda chosen="": here(chosen) if chosen else [str(other)])
    return other


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "why_not", lambda: "")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "root", tmp_path / "own.sock")


class Started(Exception):
    """The native engine would run now."""


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(self: native.NativeEngine) -> None:
        raise Started

    monkeypatch.setattr(native.NativeEngine, "run", run)


async def starts(engine: Engine, places: Places, *, asked: bool = False) -> bool:
    """Let the choice be made; whether the native engine was started."""
    try:
        async with asyncio.timeout(10):
            await native.choose(engine, places, asked=asked, changed=lambda: None)
    except Started:
        return True
    return False


async def waits(engine: Engine, places: Places, *, asked: bool = False, problem: str = "") -> bool:
    """Let it look for an engine for a while, and until it names the problem; whether it goes on looking."""
    choice = asyncio.ensure_future(native.choose(engine, places, asked=asked, changed=lambda: None))
    try:
        await asyncio.wait([choice], timeout=0.3)
        async with asyncio.timeout(10):
            while problem not in engine.problem and not choice.done():  # noqa: ASYNC110, nothing tells
                await asyncio.sleep(0.01)
        return not choice.done()
    finally:
        choice.cancel()
        await asyncio.wait([choice])


async def listen(path: Path) -> asyncio.Server:
    return await asyncio.start_unix_server(lambda reader, writer: writer.close(), path)


async def test_where_nothing_answers_it_is_the_engine(alone: Path, able: None, places: Places) -> None:
    engine = Engine()
    assert await starts(engine, places)
    assert engine.is_native
    assert engine.chosen == f"unix://{places.socket}"


async def test_a_file_on_which_nobody_answers_is_no_engine(alone: Path, able: None, places: Places) -> None:
    server = await listen(alone)
    server.close()
    await server.wait_closed()
    assert await starts(Engine(), places)


async def test_another_engine_that_answers_is_taken(alone: Path, able: None, places: Places) -> None:
    async with await listen(alone):
        engine = Engine()
        assert await waits(engine, places)
        assert (engine.chosen, engine.is_native) == ("", False)


async def test_asked_for_it_runs_beside_another(alone: Path, able: None, places: Places) -> None:
    async with await listen(alone):
        assert await starts(Engine(), places, asked=True)


async def test_where_it_holds_containers_it_stays_whatever_was_installed(
    alone: Path, able: None, places: Places
) -> None:
    (places.root / "containers" / "0123").mkdir(parents=True)
    async with await listen(alone):
        assert await starts(Engine(), places)


async def test_what_is_missing_is_said_where_an_engine_is_asked_for(
    alone: Path, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "why_not", lambda: "It needs conmon.")
    engine = Engine()
    assert await waits(engine, places, problem="It needs conmon.")
    with pytest.raises(engine_client.EngineUnreachable, match=r"It needs conmon\."):
        engine.required()


async def test_asked_for_without_its_parts_it_waits_and_says_so(
    alone: Path, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "why_not", lambda: "It needs conmon.")
    engine = Engine()
    assert await waits(engine, places, asked=True, problem="It needs conmon.")
    assert engine.problem == "It needs conmon."


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native.os, "geteuid", lambda: 1000)
    assert "needs root" in native.why_not()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")
@pytest.mark.parametrize(
    ("options", "words"),
    [(["--no-new-privs"], "install the agent again"), (["--bounding-set=-net_admin"], "withheld")],
)
def test_a_confined_root_is_told(options: list[str], words: str) -> None:
    code = "from gantry_agent import native; print(native.why_not())"
    command = ["setpriv", *options, sys.executable, "-c", code]
    assert words in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_missing_part_is_named_by_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = (Part("coreutils", ("no-such-program", "ls")), Part("a-package", ("/no/such", "no-such-program")))
    assert native.lacking(parts) == ["a-package"]


def test_a_unit_for_the_native_engine_leaves_containers_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """No setting that its containers would inherit, and no mount namespace that changes with each start."""
    cli.main(["unit", "--program", "/opt/g", "--state", "/s", "--engine", "native"])
    text = capsys.readouterr().out
    assert "ExecStart=/opt/g run --state /s --engine native\n" in text
    assert "KillMode=process\n" in text
    assert "Delegate=yes\n" in text
    for word in ("NoNewPrivileges", "Protect", "Private", "Restrict", "OOMScoreAdjust", "ReadWritePaths"):
        assert word not in text


def test_a_unit_before_another_engine_is_confined(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["unit", "--program", "/opt/g", "--state", "/s", "--engine", "unix:///run/docker.sock"])
    text = capsys.readouterr().out
    assert "NoNewPrivileges=yes\n" in text
    assert "ReadWritePaths=/s\n" in text
