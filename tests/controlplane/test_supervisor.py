"""The supervisor with toy children: order, restart, output, stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from io import StringIO
from pathlib import Path

import pytest

from controlplane.supervisor.output import Output
from controlplane.supervisor.supervisor import Part, Supervisor
from tests.support.waiting import eventually_async as until

_FOREVER = "import signal; signal.pause()"


def script(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def logs_its_end(log: Path, name: str) -> tuple[str, ...]:
    """A child that says in `log` that it was asked to stop, and stops."""
    return script(
        "import signal, sys\n"
        "def end(*_):\n"
        f"    with open({str(log)!r}, 'a') as file: file.write({name!r} + '\\n')\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('armed', flush=True)\n"
        "while True: signal.pause()\n"
    )


def file_appears(path: Path) -> Callable[[int], Awaitable[bool]]:
    async def ready(pid: int) -> bool:
        return path.exists()

    return ready


@pytest.fixture
def said() -> StringIO:
    return StringIO()


@pytest.fixture
async def supervisor(said: StringIO) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(Output(said), dict(os.environ))
    supervisor.first_delay = 0.05
    async with asyncio.timeout(60), supervisor:
        yield supervisor
        supervisor.hurry.set()


async def test_it_prefixes_every_line_with_the_part_that_printed_it(supervisor: Supervisor, said: StringIO) -> None:
    supervisor.add([Part("web", script("import sys; print('one\\ntwo'); sys.stderr.write('three')"))])
    await until(lambda: "three" in said.getvalue())
    assert said.getvalue().splitlines()[:3] == [
        "web      │ one",
        "web      │ two",
        "web      │ three",
    ]


async def test_it_cuts_an_endless_line_instead_of_keeping_it(supervisor: Supervisor, said: StringIO) -> None:
    supervisor.add([Part("web", script("import sys; sys.stdout.write('x' * 100_000 + '\\nend\\n')"))])
    await until(lambda: "│ end" in said.getvalue())
    lines = said.getvalue().splitlines()
    assert max(map(len, lines)) < 70_000
    assert sum(line.count("x") for line in lines) >= 100_000


async def test_a_part_starts_only_when_those_it_waits_for_are_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    sign = tmp_path / "ready"
    supervisor.add(
        [
            Part("store", script(_FOREVER), ready=file_appears(sign)),
            Part("web", script(_FOREVER), after=("store",)),
        ]
    )
    await until(lambda: supervisor.pid("store"))
    assert supervisor.pid("web") is None
    assert supervisor.waiting() == ["store", "web"]
    sign.touch()
    await supervisor.ready()
    assert supervisor.pid("web") is not None
    assert supervisor.waiting() == []


async def test_a_part_cannot_wait_for_one_that_is_not_there(supervisor: Supervisor) -> None:
    with pytest.raises(ValueError, match="web waits for store"):
        supervisor.add([Part("web", script(_FOREVER), after=("store",))])


async def test_a_killed_child_is_started_again(supervisor: Supervisor, said: StringIO) -> None:
    supervisor.add([Part("web", script(_FOREVER))])
    first = await until(lambda: supervisor.pid("web"))
    os.kill(first, signal.SIGKILL)
    second = await until(lambda: (pid := supervisor.pid("web")) and pid != first and pid)
    assert second != first
    assert "web was ended by SIGKILL; starting it again in 0.05 s." in said.getvalue()


async def test_it_waits_longer_after_each_death_in_a_row(supervisor: Supervisor, said: StringIO) -> None:
    supervisor.add([Part("web", script("raise SystemExit(3)"))])
    await until(lambda: "in 0.4 s" in said.getvalue())
    waits = [line.split(" in ")[-1] for line in said.getvalue().splitlines() if "exit code 3" in line]
    assert waits[:4] == ["0.05 s.", "0.1 s.", "0.2 s.", "0.4 s."]


async def test_a_child_that_ran_for_long_is_started_again_at_once(supervisor: Supervisor, said: StringIO) -> None:
    supervisor.proven = 0.0
    supervisor.add([Part("web", script("raise SystemExit(3)"))])
    await until(lambda: said.getvalue().count("exit code 3") >= 3)
    assert said.getvalue().count("in 0.05 s") >= 3


async def test_a_program_that_is_not_there_is_named(supervisor: Supervisor, said: StringIO) -> None:
    supervisor.add([Part("web", ("/nonexistent/program",))])
    await until(lambda: "/nonexistent/program" in said.getvalue())
    assert "could not be started (No such file or directory: /nonexistent/program)" in said.getvalue()


async def test_readiness_that_fails_is_told_and_does_not_stop_the_part(supervisor: Supervisor, said: StringIO) -> None:
    async def broken(pid: int) -> bool:
        raise RuntimeError("no such sign")

    supervisor.add([Part("web", script("input()"), ready=broken)])
    await until(lambda: "no such sign" in said.getvalue())


async def test_it_stops_stage_by_stage(supervisor: Supervisor, said: StringIO, tmp_path: Path) -> None:
    log = tmp_path / "log"
    stages = {"redis": 3, "web": 0, "worker": 1, "gateway": 2}
    supervisor.add(
        [Part(name, logs_its_end(log, name), stage=stage) for name, stage in stages.items()],
    )
    await until(lambda: said.getvalue().count("armed") == 4)
    await supervisor.stop()
    assert log.read_text().split() == ["web", "worker", "gateway", "redis"]
    assert [name for name in stages if supervisor.pid(name)] == []


async def test_nothing_is_restarted_once_it_stops(supervisor: Supervisor, said: StringIO) -> None:
    supervisor.add([Part("web", script(_FOREVER)), Part("worker", script("raise SystemExit(1)"))])
    await until(lambda: "worker ended" in said.getvalue())
    await supervisor.stop()
    told = said.getvalue()
    assert supervisor.pid("web") is None
    assert supervisor.pid("worker") is None
    assert "web was ended" not in told


_DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('armed', flush=True)\n" + (
    "while True: signal.pause()"
)


async def test_a_child_that_does_not_stop_is_killed_after_its_grace(supervisor: Supervisor, said: StringIO) -> None:
    supervisor.add([Part("web", script(_DEAF), grace=0.2)])
    await until(lambda: "armed" in said.getvalue())
    pid = supervisor.pid("web")
    await supervisor.stop()
    assert "web did not stop within 0.2 s and was killed." in said.getvalue()
    with pytest.raises(ProcessLookupError):
        os.kill(pid or 0, 0)


async def test_a_second_signal_hurries(supervisor: Supervisor, said: StringIO) -> None:
    supervisor.add([Part("web", script(_DEAF), grace=3600)])
    await until(lambda: "armed" in said.getvalue())
    stopping = asyncio.create_task(supervisor.stop())
    supervisor.hurry.set()
    await stopping
    assert supervisor.pid("web") is None


async def test_what_a_child_leaves_behind_goes_with_it(supervisor: Supervisor, said: StringIO) -> None:
    child = f"[sys.executable, '-c', {_FOREVER!r}]"
    code = f"import subprocess, sys; print(subprocess.Popen({child}).pid, flush=True)"
    supervisor.add([Part("web", script(code))])
    stray = int(await until(lambda: "│ " in said.getvalue() and said.getvalue().split("│ ")[1].split()[0]))
    await until(lambda: not _runs(stray))


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):  # before it is opened, or after
        return False
    return state != "Z"


async def test_the_children_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    """Nobody is left to stop them: the kernel does."""
    code = (
        "import asyncio, sys\n"
        "from controlplane.supervisor.output import Output\n"
        "from controlplane.supervisor.supervisor import Part, Supervisor\n"
        "async def main():\n"
        "    supervisor = Supervisor(Output())\n"
        f"    supervisor.add([Part('web', (sys.executable, '-c', {_FOREVER!r}))])\n"
        "    await supervisor.ready()\n"
        "    print('child', supervisor.pid('web'), flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        *script(code), stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert parent.stdout is not None
    child = int((await parent.stdout.readline()).split()[1])
    assert _runs(child)
    parent.kill()
    await parent.wait()
    await until(lambda: not _runs(child))


class Gone(StringIO):
    """Standard output after `./gantry up | head -1`."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


async def test_a_reader_that_goes_away_stops_nothing() -> None:
    async with Supervisor(Output(Gone()), dict(os.environ)) as supervisor:
        supervisor.add([Part("web", script(f"print('x', flush=True)\n{_FOREVER}"))])
        await supervisor.ready()
        pid = supervisor.pid("web")
        assert pid is not None
        assert _runs(pid)


def test_colours_go_to_terminals_only() -> None:
    stream = StringIO()
    Output(stream).line("web", "text")
    assert "\x1b" not in stream.getvalue()


async def test_the_parts_run_in_the_folder_they_are_given(said: StringIO, tmp_path: Path) -> None:
    async with Supervisor(Output(said), dict(os.environ), tmp_path) as supervisor:
        supervisor.add([Part("web", script("import os; print(os.getcwd())"))])
        await until(lambda: str(tmp_path) in said.getvalue())
