"""Where workers come from: one process that has loaded everything a worker needs, and forks one for each job.

Loading takes 40 ms of a core, forking 2: an image of eight layers, or a folder copied file by file, tells the
difference. It starts with the first job and ends a while after the last one. It has one thread and none of the engine's
descriptors, so forking is safe there as it would not be in the engine.

A job is one packet: the JSON, with the worker's standard input, standard output and report pipe. The answer is one
packet with a pidfd of the worker, or without one when it has ended already.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

IDLE = 10.0  # seconds without a job until it ends
MAX_JOB = 128 << 10  # bytes
PROGRAM = (
    "import sys; sys.path[:0] = {path!r}; "
    "from gantry_agent.engine.layers import nursery, worker; nursery.serve({control}, worker.run)"
)
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


class Nursery:
    """The engine's end. Its methods block for some milliseconds; any thread may call them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def spawn(self, job: bytes, descriptors: Sequence[int]) -> int | None:
        """Start a worker; its pidfd, None when it has ended already. Raises OSError."""
        if len(job) > MAX_JOB:
            raise OSError(7, "the worker's job is too long")
        with self._lock:
            try:
                return self._ask(job, descriptors)
            except ConnectionError:  # it ended, as it does when it has nothing to do
                self._stop()
                return self._ask(job, descriptors)

    def _ask(self, job: bytes, descriptors: Sequence[int]) -> int | None:
        control = self._control or self._start()
        socket.send_fds(control, [job], list(descriptors))
        answer, found, _, _ = socket.recv_fds(control, 16, 1)
        if not answer:
            raise ConnectionResetError
        for descriptor in found:
            os.set_inheritable(descriptor, False)
        return found[0] if found else None

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        paths = [path for path in sys.path if path]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", PROGRAM.format(path=paths, control=theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=ENVIRONMENT,
                start_new_session=True,  # a Ctrl-C meant for the engine is not for it
            )
        self._control = ours
        return ours

    def _stop(self) -> None:
        if self._control:
            self._control.close()
        if self._process:
            self._process.wait()
        self._control = self._process = None


def serve(control: int, run: Callable[[bytes, int], None]) -> None:
    """The other end: fork a worker for each job until the engine is gone or asks for nothing. Never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps; the engine has the pidfd
    channel = socket.socket(fileno=control)
    while True:
        channel.settimeout(IDLE)
        try:
            job, descriptors, _, _ = socket.recv_fds(channel, MAX_JOB, 3)
        except TimeoutError:
            os._exit(0)
        if not job:
            os._exit(0)
        pid = os.fork()
        if pid == 0:
            channel.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(descriptors[0], 0)
            os.dup2(descriptors[1], 1)
            os.close(descriptors[0])
            os.close(descriptors[1])
            run(job, descriptors[2])
            os._exit(0)
        _answer(channel, pid, descriptors)


def _answer(channel: socket.socket, pid: int, descriptors: list[int]) -> None:
    """Hand the new worker's pidfd over, and let go of what is the worker's."""
    try:
        worker = [os.pidfd_open(pid)]
    except ProcessLookupError:
        worker = []
    channel.settimeout(None)
    socket.send_fds(channel, [b"started"], worker)
    for descriptor in (*worker, *descriptors):
        os.close(descriptor)


nursery = Nursery()
"""The one of this process."""
