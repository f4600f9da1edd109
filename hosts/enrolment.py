"""A machine becomes a host: a single-use token is traded for the public half of a key made on the machine."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from controlplane.access.models import hash_token
from controlplane.lib.foreign import foreign_json
from controlplane.lib.live import publish
from controlplane.lib.throttle import Throttle
from controlplane.operations.audit import record
from controlplane.operations.models import Outcome
from hosts.gateway.keys import parse_public_key
from hosts.models import EnrolmentToken, Host
from hosts.tls import pinned_fingerprint

# Anybody may try tokens, which are too long to guess; but not fill the audit trail with it.
STRANGERS = Throttle("enrol", most=20, seconds=300)


class EnrolmentRefused(Exception):
    """Why a machine was not let in: HTTP status (400, 403, 410), message, hint."""

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(message)
        self.status, self.message, self.hint = status, message, hint


@dataclass(frozen=True)
class Applicant:
    """What a machine says of itself when it asks to join."""

    token: str
    public_key: str
    hostname: str
    agent_version: str
    ip: str | None


def parse(body: bytes, ip: str | None) -> Applicant:
    """The JSON of POST /agent/enrol. Raises EnrolmentRefused(400)."""
    hint = "Use the line that “Add host” shows."
    try:
        said = foreign_json(body)
        texts = {name: str(said.get(name, "")) for name in ("token", "public_key", "hostname", "agent_version")}
        parse_public_key(texts["public_key"])
    except (ValueError, AttributeError, RecursionError) as exc:
        raise EnrolmentRefused(400, "Expected JSON with a token and an Ed25519 public key.", hint) from exc
    return Applicant(
        token=texts["token"],
        public_key=texts["public_key"],
        hostname=texts["hostname"][:120],
        agent_version=texts["agent_version"][:40],
        ip=ip,
    )


def enrol(applicant: Applicant) -> Host:
    """Let the machine in as the token's host; its former key, if any, ends. Raises EnrolmentRefused."""
    tokens = EnrolmentToken.objects.select_related("host", "created_by")
    token = tokens.filter(token_hash=hash_token(applicant.token)).first()
    if token is None:
        if STRANGERS.count(applicant.ip or "") <= STRANGERS.most:
            record(AnonymousUser(), "host.enrol", outcome=Outcome.REFUSED, detail="unknown token", ip=applicant.ip)
        raise EnrolmentRefused(403, "This enrolment token is not known here.", _AGAIN)
    with transaction.atomic():
        now = timezone.now()
        # The condition makes it single-use even when two machines ask in the same instant.
        taken = EnrolmentToken.objects.open().filter(pk=token.pk).update(used_at=now, used_from=applicant.ip)
        if taken:
            Host.objects.filter(pk=token.host_id).update(
                public_key=applicant.public_key,
                key_since=now,
                agent_version=applicant.agent_version,
                rotation_requested_at=None,
            )
            publish("hosts", f"host.{token.host_id}")
            _note(token, applicant, Outcome.ALLOWED, f"joined as {applicant.hostname}")
    if not taken:
        raise _refuse(token, applicant)
    return token.host


_AGAIN = "Open the host in Gantry and make a new token: each is good for one use within an hour."


def _refuse(token: EnrolmentToken, applicant: Applicant) -> EnrolmentRefused:
    """Record a refused use on the token, where the host's page shows it."""
    token.refresh_from_db()
    used = token.used_at is not None
    with transaction.atomic():
        EnrolmentToken.objects.filter(pk=token.pk).update(refused_at=timezone.now(), refused_from=applicant.ip)
        publish("hosts", f"host.{token.host_id}")
        _note(token, applicant, Outcome.REFUSED, "used token" if used else "expired token")
    if used:
        return EnrolmentRefused(410, "This enrolment token was used already.", _AGAIN)
    return EnrolmentRefused(403, "This enrolment token has expired.", _AGAIN)


def _note(token: EnrolmentToken, applicant: Applicant, outcome: str, detail: str) -> None:
    maker = token.created_by.display if token.created_by else "Gantry"
    record(
        AnonymousUser(),
        "host.enrol",
        target_kind="host",
        target_id=token.host_id,
        target_name=token.host.name,
        host=token.host,
        outcome=outcome,
        detail=detail,
        ip=applicant.ip,
        stranger=f"bearer of {maker}'s token",
    )


def gateways(request: HttpRequest) -> list[str]:
    """The addresses hosts dial: those configured, else the name they reached us by with the gateway's port."""
    if settings.GATEWAY_URLS:
        return list(settings.GATEWAY_URLS)
    name = urlsplit(f"//{request.get_host()}").hostname or "127.0.0.1"
    port = settings.GANTRY_GATEWAY_LISTEN.rpartition(":")[2]
    return [f"{'wss' if settings.TLS else 'ws'}://{_bracketed(name)}:{port}"]


def base_url(request: HttpRequest) -> str:
    """Where hosts reach the web."""
    return settings.PUBLIC_URL or f"{request.scheme}://{request.get_host()}"


def pasted_line(request: HttpRequest, token: str) -> str:
    """The one line to paste on a host: it fetches the install script, checks who gave it, and runs it.

    It needs python3 alone. With a self-made certificate nothing is trusted before the certificate of that
    very connection has the fingerprint in the line.
    """
    url = urlsplit(base_url(request))
    pin = pinned_fingerprint().removeprefix("sha256:")
    port = url.port or (443 if url.scheme == "https" else 80)
    connection = f"h.HTTPConnection({url.hostname!r},{port})"
    check = ""
    if url.scheme == "https":
        context = ",context=s._create_unverified_context()" if pin else ""
        connection = f"h.HTTPSConnection({url.hostname!r},{port}{context})"
    if pin:
        check = (
            f'c.connect();hashlib.sha256(c.sock.getpeercert(True)).hexdigest()=="{pin}" '
            'or sys.exit("Not the certificate of this Gantry: somebody answers in its place.");'
        )
    program = (
        f"import hashlib,http.client as h,ssl as s,sys;c={connection};{check}"
        f'c.request("GET","{url.path}/agent/install.sh");r=c.getresponse();t=r.read().decode();'
        "r.status==200 or sys.exit(t);sys.stdout.write(t)"
    ).replace("'", '"')
    return f"python3 -c {shlex.quote(program)} | $(command -v sudo) sh -s -- {shlex.quote(token)}"


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name
