"""Network namespaces that live without a process: a file, bind-mounted on the namespace (as `ip netns` does).

Entering one changes the calling thread only, so it is done in threads that end afterwards: no pool ever gets a thread
back that is in the wrong network. (os.unshare and os.setns come with Python 3.12; hence ctypes.)
"""

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gantry_agent.engine.errors import Internal

from .netlink import Netlink

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
MS_BIND = 4096
MNT_DETACH = 2
LOOPBACK = 1  # its index in every namespace

libc = ctypes.CDLL(None, use_errno=True)


def make(path: Path) -> Netlink:
    """A new namespace pinned at `path`, its loopback up; a netlink socket inside it. Blocks 1–2 ms."""

    def work() -> Netlink:
        _check(libc.unshare(CLONE_NEWNET), "make a network namespace")
        path.touch(mode=0o400)
        source = f"/proc/self/task/{threading.get_native_id()}/ns/net"
        _check(libc.mount(source.encode(), bytes(path), None, MS_BIND, None), f"mount {path}")
        # Interfaces without an IPv6 network get no address of it, as under Docker; ::1 stays on the loopback.
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
        inside = Netlink()
        inside.set_up(LOOPBACK)
        return inside

    try:
        return in_new_thread(work)
    except BaseException:
        remove(path)
        raise


def unnamed(work: Callable[[], T]) -> tuple[int, T]:
    """A new namespace that lives as long as the descriptor given back, its loopback up; and what `work` returns in it.

    Raises Internal, and what `work` raises.
    """

    def both() -> tuple[int, T]:
        _check(libc.unshare(CLONE_NEWNET), "make a network namespace")
        with Netlink() as inside:
            inside.set_up(LOOPBACK)
        found = work()
        return os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC), found

    return in_new_thread(both)


def enter(path: Path) -> Netlink:
    """A netlink socket inside the namespace at `path`. Raises Internal when there is none."""

    def work() -> Netlink:
        with open(path, "rb") as file:
            _check(libc.setns(file.fileno(), CLONE_NEWNET), f"enter {path}")
        return Netlink()

    return in_new_thread(work)


def remove(path: Path) -> None:
    """Let go of the namespace at `path`; the kernel frees it, links and all, once no process is in it."""
    while libc.umount2(bytes(path), MNT_DETACH) == 0:
        pass  # a killed engine may have mounted twice
    path.unlink(missing_ok=True)


def in_new_thread(work: Callable[[], T]) -> T:
    """What `work` returns or raises, in a thread of its own that ends with it."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as exc:  # noqa: BLE001 - handed to the caller below
            errors.append(exc)

    thread = threading.Thread(target=run, name="netns")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _check(answer: int, what: str) -> None:
    if answer != 0:
        raise Internal(f"cannot {what}: {os.strerror(ctypes.get_errno())}")
