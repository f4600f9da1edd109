"""Sends the audit trail to a syslog server, as RFC 5424 lines: `GANTRY_SYSLOG`.

    udp://HOST[:514]  tcp://HOST[:514]  tls://HOST[:6514][?ca=FILE]  unix:///dev/log

A worker sends what was committed, from a cursor kept in the database: what could not be sent is sent later, and after a
crash some of it twice. The message is the entry as it is exported, so that the chain can be verified there too.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import secrets
import socket
import ssl
import struct
import termios
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone

from controlplane.lib.syslog_target import SyslogTarget
from controlplane.operations import chain
from controlplane.operations.models import AuditCursor, AuditEntry, Outcome

log = logging.getLogger(__name__)

SECONDS = 5.0  # for each step of a connection
BATCH = 200
MOST_BATCHES = 20  # in one go
HELD = timedelta(seconds=60)  # longer than one batch can take
RETRY = timedelta(seconds=30)
MOST_DATAGRAM = 60_000  # bytes; UDP's own limit is 65,507

LOG_AUDIT = 13  # RFC 5424, table 1
INFORMATIONAL, WARNING = 6, 4


def message(entry: AuditEntry, *, most: int = 0) -> bytes:
    """One entry as RFC 5424 has it. `most`: bytes; a longer one is sent without its detail."""
    severity = INFORMATIONAL if entry.outcome == Outcome.ALLOWED else WARNING
    verb = "".join(c for c in entry.verb if "!" <= c <= "~")[:32] or "-"
    head = f"<{LOG_AUDIT * 8 + severity}>1 {chain.moment(entry.at)} {_hostname()} gantry - {verb} - "
    line = head + chain.line(entry)
    if most and len(line.encode()) > most:
        said = {**chain.fields(entry), "hash": entry.hash, "detail": "too long for a datagram: see the trail"}
        line = head + chain.canonical(said).decode()
    return line.encode()


def _hostname() -> str:
    return "".join(c for c in socket.gethostname() if "!" <= c <= "~")[:255] or "-"


def send(target: SyslogTarget, entries: Sequence[AuditEntry]) -> None:
    """Raises OSError unless all have arrived, as far as the transport can tell (UDP cannot)."""
    with _connected(target) as connection:
        if connection.type == socket.SOCK_DGRAM:
            for entry in entries:
                connection.send(message(entry, most=MOST_DATAGRAM))
            return
        # Octet counting: RFC 6587, 3.4.1, and RFC 5425, 4.3.
        lines = [message(entry) for entry in entries]
        connection.sendall(b"".join(b"%d %s" % (len(line), line) for line in lines))
        _wait_until_read(connection)


@contextmanager
def _connected(target: SyslogTarget) -> Iterator[socket.socket]:
    if target.scheme == "unix":
        plain = _unix(target.path)
    elif target.scheme == "udp":
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM)
        plain = socket.socket(found[0][0], socket.SOCK_DGRAM)
        with _closed_on_error(plain):
            plain.settimeout(SECONDS)
            plain.connect(found[0][4])
    else:
        plain = socket.create_connection((target.host, target.port), timeout=SECONDS)
    with closing(plain):
        if target.scheme != "tls":
            yield plain
            return
        context = ssl.create_default_context(cafile=target.ca or None)
        with context.wrap_socket(plain, server_hostname=target.host) as secured:
            yield secured


def _unix(path: str) -> socket.socket:
    """/dev/log is a socket for datagrams nearly everywhere; where it is one for streams, that."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        plain = socket.socket(socket.AF_UNIX, kind)
        plain.settimeout(SECONDS)
        try:
            with _closed_on_error(plain):
                plain.connect(path)
            return plain
        except OSError as exc:
            if exc.errno != errno.EPROTOTYPE:
                raise
    raise OSError(errno.EPROTOTYPE, f"{path} is a socket for neither datagrams nor streams")


@contextmanager
def _closed_on_error(plain: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        plain.close()
        raise


def _wait_until_read(connection: socket.socket) -> None:
    """Syslog knows no receipt. We end our side; a server that has read all ends its own. With one that keeps the
    connection, it must do that nothing is left unacknowledged by its kernel."""
    try:
        if isinstance(connection, ssl.SSLSocket):
            connection.unwrap()
            return
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
    except ConnectionError:
        raise  # reset: it closed with something unread
    except (TimeoutError, ssl.SSLError) as exc:
        left = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]
        if left:
            raise OSError(f"{left} bytes were not taken within {SECONDS:.0f} s") from exc


def deliver() -> int:
    """Send what is new; how many entries. Quiet when another worker is at it, or has failed a moment ago."""
    target: SyslogTarget | None = settings.SYSLOG
    if target is None:
        return 0
    mine = secrets.token_hex(8)
    AuditCursor.objects.bulk_create([AuditCursor(name="syslog")], ignore_conflicts=True)
    now = timezone.now()
    free = AuditCursor.objects.filter(Q(held_until=None) | Q(held_until__lt=now), name="syslog")
    if free.update(holder=mine, held_until=now + HELD) != 1:
        return 0
    held = AuditCursor.objects.filter(name="syslog", holder=mine)
    sent, trouble = _send_all(target, held)
    # Free again at once, or after a pause.
    until = timezone.now() + RETRY if trouble else None
    held.update(holder="", held_until=until, trouble=trouble[:500])
    if trouble:
        log.warning("the audit trail waits for syslog at %s: %s", target, trouble)
    return sent


def _send_all(target: SyslogTarget, held: QuerySet[AuditCursor]) -> tuple[int, str]:
    """How many were sent, and what went wrong."""
    sent = 0
    for _ in range(MOST_BATCHES):
        at = held.values_list("seq", flat=True).first()
        if at is None:
            break  # we were too slow: another worker goes on
        batch = list(AuditEntry.objects.filter(seq__gt=at).order_by("seq")[:BATCH])
        if not batch:
            break
        try:
            send(target, batch)
        except OSError as exc:  # ssl's and socket's errors, too
            return sent, str(exc)
        if held.update(seq=batch[-1].seq, held_until=timezone.now() + HELD) != 1:
            break
        sent += len(batch)
    return sent, ""
