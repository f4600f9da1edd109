"""Processes that are forked from this one before it does anything else, and become a Python program when told to.

Importing Django and Gantry is most of a part's start: a second of a core, for each of five parts. This process has
imported both already, and so have its forks. Forking is safe only while there is one thread, no loop and nothing open:
so all are forked at once, at the very beginning, and each is used once. A part that is started again later is a new
process like that of any other program.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import runpy
import sys
from collections.abc import Iterable, Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import IO, NoReturn, cast

from setproctitle import setproctitle, setthreadtitle

from controlplane.supervisor.process import die_with

_ORDERS = 3  # the descriptor on which a spare is told what to be


def fork_spares(names: Iterable[str]) -> dict[str, Spare]:
    """One for each of `names`, or fewer where no more processes may be made.

    When its program ends, SystemExit goes through the caller in the fork, too: call it outside any `with`.
    """
    gc.freeze()  # what all of them share is no work for anybody's collector
    spares = {}
    for name in names:
        try:
            spares[name] = Spare()
        except OSError:
            break
    return spares


class Spare:
    """One such process, seen from the one that forked it: a `Process` that does nothing until it is told to."""

    def __init__(self) -> None:
        """Fork. In the new process this never returns: it waits, becomes the program and ends with it."""
        # Numbers, not files: a later fork closes them, and a file would some day close what has its number then.
        told, self._tell = os.pipe()
        self._output, prints = os.pipe()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _live(parent, told, prints)
        os.close(told)
        os.close(prints)
        self.stdout: IO[bytes] | None = None
        self._code: int | None = None

    def become(self, command: Sequence[str], environment: Mapping[str, str], folder: Path | None) -> None:
        """Let it run `command`: a Python, then `-m MODULE` or a script, and arguments. One that died stays dead."""
        order = {"command": [*command], "environment": {**environment}, "folder": str(folder or "")}
        self.stdout = open(self._output, "rb", buffering=0)  # noqa: SIM115 - its reader closes it
        try:
            with open(self._tell, "w", encoding="ascii") as tell:
                tell.write(json.dumps(order) + "\n")
        except BrokenPipeError:
            pass

    def poll(self) -> int | None:
        """The exit code (negative: the signal that ended it), None while it runs."""
        if self._code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # reaped by somebody else: Popen, too, calls that 0
                self._code = 0
            else:
                self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code


def _live(parent: int, told: int, prints: int) -> NoReturn:
    """The fork's whole life. Nothing but SystemExit leaves it: whatever its program fails with is nobody else's."""
    try:
        die_with(parent)
        _wait(told, prints)
    except SystemExit:
        raise
    except BaseException:  # noqa: BLE001 - as the interpreter ends with one
        sys.excepthook(*sys.exc_info())
        sys.exit(1)


def _wait(told: int, prints: int) -> NoReturn:
    """Until it is told what to be. It ends with its parent, and when the parent lets go of the pipe."""
    os.setsid()
    # Where a standard stream of the parent was closed, its number is one of the pipes'.
    told, prints = (fcntl.fcntl(each, fcntl.F_DUPFD, _ORDERS + 1) for each in (told, prints))
    nothing = os.open(os.devnull, os.O_RDONLY)
    for ours, its in ((nothing, 0), (prints, 1), (prints, 2), (told, _ORDERS)):
        os.dup2(ours, its)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > _ORDERS:
            try:
                os.close(int(name))
            except OSError:  # that of the listing itself
                pass
    with open(_ORDERS, "rb") as orders:
        order = orders.readline()
    if not order:
        os._exit(0)
    _become(**json.loads(order))


def _become(command: Sequence[str], environment: Mapping[str, str], folder: str) -> NoReturn:
    # What `ps` and `top` show of a new process (Celery has words of its own for both kinds). It is written where the
    # environment still stands, so before that is replaced.
    setproctitle(os.fsencode(" ".join(command)).decode(errors="replace"))
    setthreadtitle(Path(command[0]).name)
    os.environ.clear()
    os.environ.update(environment)
    if folder:
        os.chdir(folder)
    _open_standard_streams()
    _, *words = command
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
    sys.exit(0)


def _open_standard_streams() -> None:
    """Those of the parent have its settings, and are None where it was started with one closed."""
    read, out, err = (
        cast(TextIOWrapper, open(number, mode, buffering=1, errors="backslashreplace", closefd=False))  # noqa: SIM115
        for number, mode in enumerate("rww")
    )
    sys.stdin = sys.__stdin__ = read  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = out  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = err  # type: ignore[misc]
