"""A program at a terminal of its own, as a person sits before it.

with Terminal("docker", "run", "-it", "busybox") as terminal:
    terminal.until("# "); terminal.type("exit 3\\n"); assert terminal.ended() == 3
"""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from typing import Self

PATIENCE = 20.0  # seconds


class Terminal:
    """A child process whose standard streams are one pseudo-terminal."""

    def __init__(self, *command: str, rows: int = 24, columns: int = 80) -> None:
        self._end, inner = pty.openpty()
        self.resize(rows, columns)
        self.process = subprocess.Popen(
            command, stdin=inner, stdout=inner, stderr=inner, start_new_session=True, preexec_fn=_take_terminal
        )
        os.close(inner)
        self.output = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        os.close(self._end)

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self._end, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Another size of the window; the program is told by SIGWINCH."""
        fcntl.ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if hasattr(self, "process"):
            self.process.send_signal(signal.SIGWINCH)

    def until(self, text: str) -> str:
        """Read until the screen has shown `text` since the last such call; what was shown."""
        wanted, deadline = text.encode(), time.monotonic() + PATIENCE
        while wanted not in self.output:
            assert time.monotonic() < deadline, f"no {text!r} in {self.output!r}"
            assert self._read(), f"ended without {text!r}: {self.output!r}"
        shown, _, self.output = self.output.partition(wanted)
        return (shown + wanted).decode(errors="replace")

    def ended(self) -> int:
        """Read to the end; the exit status."""
        deadline = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < deadline, f"still there: {self.output!r}"
        return self.process.wait(PATIENCE)

    def _read(self) -> bool:
        """One piece, or none within a tenth of a second; False at the end."""
        if not select.select([self._end], [], [], 0.1)[0]:
            return True
        try:
            piece = os.read(self._end, 65536)
        except OSError:  # EIO: the other side has closed
            return False
        self.output += piece
        return bool(piece)


def _take_terminal() -> None:
    """In the child: make standard input its controlling terminal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
