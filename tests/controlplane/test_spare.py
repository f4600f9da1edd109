"""Processes forked ahead of their use. The one that forks is a new Python each time: never the tests' own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import children, read_of
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]

# What each program here says of itself.
TELLS = """
import json, os, sys
print(json.dumps({
    "arguments": sys.argv[1:], "name": __name__, "folder": os.getcwd(), "environment": dict(os.environ),
    "leads": os.getsid(0) == os.getpid(), "input": sys.stdin.read(), "modules": "loaded_before" in sys.modules,
    "shown": open("/proc/self/cmdline").read().rstrip("\\0"), "called": open("/proc/self/comm").read().strip(),
}), flush=True)
"""
# Forks before anything else, as `up` does; what it has imported and opened tells whether the fork has it.
PARENT = """
import os, signal, sys, types
from pathlib import Path
from controlplane.supervisor.spare import Spare
sys.modules["loaded_before"] = types.ModuleType("loaded_before")
os.set_inheritable(os.open("/dev/zero", os.O_RDONLY), True)
first, second = Spare(), Spare()
"""


def parent(code: str, *arguments: str, folder: Path = ROOT, shell: str = "") -> subprocess.Popen[str]:
    """A Python with the code above and `code`; `shell` goes before it, `exec "$@" <&-` say."""
    command = [sys.executable, "-c", PARENT + code, *arguments]
    return subprocess.Popen(
        ["sh", "-c", shell, "sh", *command] if shell else command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ran(code: str, *arguments: str, **options: Any) -> str:
    process = parent(code, *arguments, **options)
    printed, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    return printed


def test_it_becomes_the_script_it_is_told_and_has_what_was_imported(tmp_path: Path) -> None:
    script = tmp_path / "tells.py"
    script.write_text(TELLS)
    command = [sys.executable, str(script), "--listen", "a b"]
    code = (
        f"first.become({command!r}, {{'ONLY': 'this'}}, Path({str(tmp_path)!r})); print(first.stdout.read().decode())"
    )
    told = json.loads(ran(code))
    assert told == {
        "arguments": ["--listen", "a b"],
        "name": "__main__",
        "folder": str(tmp_path),
        "environment": {"ONLY": "this"},
        "leads": True,
        "input": "",
        "modules": True,
        "shown": " ".join(command),
        "called": Path(sys.executable).name,
    }


def test_nothing_open_is_left_to_it(tmp_path: Path) -> None:
    """Least of all the other's pipe: that one would not notice when its parent lets go of it."""
    script = tmp_path / "opens.py"
    script.write_text(
        "import os\n"
        "for name in os.listdir('/proc/self/fd'):\n"
        "    if os.path.exists(f'/proc/self/fd/{name}'): print(os.readlink(f'/proc/self/fd/{name}'))"
    )
    code = "second.become([sys.executable, sys.argv[1]], {}, None); print(second.stdout.read().decode())"
    found = [line.partition(":")[0] for line in ran(code, str(script)).split("\n") if line]
    assert sorted(found) == ["/dev/null", "pipe", "pipe"]


def test_nothing_of_its_parent_closes_what_it_opens(tmp_path: Path) -> None:
    """A file that it has of its parent closes, when its program ends, whatever has got that number since."""
    script = tmp_path / "holds.py"
    script.write_text(
        "import os, sys\n"
        "class Last:\n"
        "    held = [os.open('/dev/null', os.O_RDONLY) for _ in range(40)]\n"
        "    def __del__(self, fstat=os.fstat):\n"
        "        for number in self.held: fstat(number)\n"
        "sys.modules['last'] = Last()\n"
    )
    code = "second.become([sys.executable, sys.argv[1]], {}, None); print(second.stdout.read().decode())"
    assert ran(code, str(script)).strip() == ""


def test_it_becomes_a_module() -> None:
    code = "first.become([sys.executable, '-m', 'json.tool', '--help'], {}, None); print(first.stdout.read().decode())"
    assert "usage: " in ran(code)


def test_a_module_is_not_one_of_the_folder_somebody_stood_in(tmp_path: Path) -> None:
    """`cd /tmp; gantry up`: a uvicorn.py that lies there is not what the web process becomes."""
    (tmp_path / "uvicorn.py").write_text("print('not ours')")
    code = "sys.path.remove('')\nfirst.become([sys.executable, '-m', 'uvicorn', '--version'], {}, Path(sys.argv[1]))\n"
    code += "print(first.stdout.read().decode())"
    assert ran(code, str(ROOT), folder=tmp_path).startswith("Running uvicorn ")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_streams_that_are_closed_are_open_in_it(closed: str, tmp_path: Path) -> None:
    script, printed = tmp_path / "tells.py", tmp_path / "printed"
    script.write_text("import sys\nprint(repr(sys.stdin.read()), sys.__stderr__.fileno())\nprint('x', file=sys.stderr)")
    code = "first.become([sys.executable, sys.argv[1]], {}, None); Path(sys.argv[2]).write_bytes(first.stdout.read())"
    ran(code, str(script), str(printed), shell=f'exec "$@" {closed}')
    assert printed.read_text() == "'' 2\nx\n"


def test_an_order_may_be_longer_than_a_pipe_holds(tmp_path: Path) -> None:
    script = tmp_path / "tells.py"
    script.write_text("import os; print(len(os.environ['LONG']))")
    code = "first.become([sys.executable, sys.argv[1]], {'LONG': 'x' * 100_000}, None); "
    code += "print(first.stdout.read().decode())"
    assert ran(code, str(script)).strip() == "100000"


def test_what_it_fails_with_is_not_taken_for_a_failure_to_make_it(tmp_path: Path) -> None:
    """An OSError of the program must not come out where the fork was made: there would be two of the parent."""
    script = tmp_path / "fails.py"
    script.write_text("raise OSError(5, 'of the program')")
    code = (
        "from controlplane.supervisor.spare import fork_spares\n"
        "third = fork_spares(['web'])['web']\n"
        "print('one', os.getpid(), flush=True)\n"
        "third.become([sys.executable, sys.argv[1]], {}, None)\n"
        "said = third.stdout.read().decode()\n"
        "os.waitid(os.P_PID, third.pid, os.WEXITED | os.WNOWAIT)\n"
        "print(third.poll(), said.count('one'), said.splitlines()[-1])\n"
    )
    assert ran(code, str(script)).splitlines()[1:] == ["1 0 OSError: [Errno 5] of the program"]


def test_what_up_imports_starts_no_thread() -> None:
    """A fork has only the thread that forked: whatever another holds then, a lock say, stays held for ever."""
    code = (
        "import django; django.setup(); import controlplane.supervisor.run; print(len(os.listdir('/proc/self/task')))"
    )
    assert ran(code).split() == ["1"]


def test_its_end_is_told_like_any_process_s(tmp_path: Path) -> None:
    code = (
        "first.become([sys.executable, sys.argv[1], '3'], {}, None)\n"
        "second.become([sys.executable, sys.argv[1], '-9'], {}, None)\n"
        "os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)\n"
        "os.waitid(os.P_PID, second.pid, os.WEXITED | os.WNOWAIT)\n"
        "print(first.poll(), first.poll(), second.poll())"
    )
    script = "import os, sys\nn = int(sys.argv[1])\nif n < 0: os.kill(os.getpid(), -n)\nsys.exit(n)"
    path = tmp_path / "ends.py"
    path.write_text(script)
    assert ran(code, str(path)).split() == ["3", "3", "-9"]


def test_one_that_died_before_its_turn_stays_dead_and_is_told() -> None:
    code = (
        "os.kill(first.pid, 9)\n"
        "os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)\n"
        "first.become([sys.executable, '-m', 'json.tool'], {}, None)\n"
        "print(first.poll())"
    )
    assert ran(code).strip() == "-9"


def test_one_that_is_let_go_ends_by_itself() -> None:
    code = "os.close(first._tell); print(os.waitstatus_to_exitcode(os.waitpid(first.pid, 0)[1]), second.poll())"
    assert ran(code).split() == ["0", "None"]


def test_one_that_was_reaped_already_counts_as_ended() -> None:
    code = "signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.close(first._tell)\n"
    code += "while os.path.exists(f'/proc/{first.pid}'): pass\n"
    assert ran(code + "print(first.poll())").strip() == "0"


def test_one_that_is_not_needed_ends_with_its_parent() -> None:
    process = parent("print('ready', flush=True); signal.pause()")
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        waiting = children(process.pid)
        assert len(waiting) == 2
        process.send_signal(signal.SIGKILL)
    eventually(lambda: not any(read_of(pid, "cmdline") for pid in waiting), what="they are gone")


def test_a_supervisor_uses_one_for_the_first_start_alone(tmp_path: Path) -> None:
    script = tmp_path / "part.py"
    script.write_text("import signal, sys; print('loaded_before' in sys.modules, flush=True); signal.pause()")
    code = """
import asyncio, io
from controlplane.supervisor.output import Output
from controlplane.supervisor.supervisor import Part, Supervisor
said = io.StringIO()
async def until(words):
    while words not in said.getvalue():
        await asyncio.sleep(0.01)
async def main():
    supervisor = Supervisor(Output(said), spares={"web": first})
    supervisor.first_delay = 0.05
    async with supervisor:
        supervisor.add([Part("web", (sys.executable, sys.argv[1]), grace=1)])
        await supervisor.ready()
        assert supervisor.pid("web") == first.pid
        await until("True")
        os.kill(first.pid, signal.SIGKILL)
        await until("False")
asyncio.run(main())
print(said.getvalue())
"""
    lines = [line.partition("│ ")[2] for line in ran(code, str(script)).split("\n") if line]
    assert lines == ["True", "web was ended by SIGKILL; starting it again in 0.05 s.", "False"]
