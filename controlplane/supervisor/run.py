"""`up` from beginning to end: what is checked, started, printed and, on a signal, stopped."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor

from controlplane.access.actions import first_administrator_link
from controlplane.lib.parts import NAMES
from controlplane.operations.audit import record
from controlplane.supervisor import engine, home, options, parts, redis, tls
from controlplane.supervisor.addresses import certificate_fingerprint, local_url, machine_address, public_url, readdress
from controlplane.supervisor.output import Output
from controlplane.supervisor.spare import Spare, fork_spares
from controlplane.supervisor.supervisor import Supervisor
from hosts.management.commands.enrol_local import is_enrolled

_REDIS_PATIENCE = 20.0  # seconds for Redis to answer before the start is given up


def up(environment: Mapping[str, str]) -> int:
    """Run Gantry until a signal ends it; give back the exit code."""
    output = Output()
    began = float(environment.get("GANTRY_BEGAN") or time.time())
    _raise_open_files()
    spares = fork_spares(NAMES)
    try:
        with home.lock(Path(settings.GANTRY_HOME), public_url()):
            home.check_port(settings.GANTRY_LISTEN, "--listen")
            home.check_port(settings.GANTRY_GATEWAY_LISTEN, "--gateway-listen")
            _certificate(environment, output)
            Path(settings.STATIC_ROOT).mkdir(exist_ok=True)  # WhiteNoise warns of a folder that is not there
            return asyncio.run(_Run(environment, output, began, spares).until_stopped())
    except home.Refused as exc:
        print(f"gantry: {exc}", file=sys.stderr)
        return 1


def _certificate(environment: Mapping[str, str], output: Output) -> None:
    if environment.get("GANTRY_TLS") == options.SELF_MADE:
        host, _ = options.split(settings.GANTRY_LISTEN)
        named = machine_address() if options.is_wildcard(settings.GANTRY_LISTEN) else host
        made = tls.ensure_certificate(Path(settings.TLS_CERT), Path(settings.TLS_KEY), named)
        if made:
            output.say("Made a certificate of its own; a browser asks once whether to trust it.")
    if settings.TLS_CERT:
        output.say(f"Certificate: {certificate_fingerprint()}.")


def _raise_open_files() -> None:
    """A stream is a few descriptors in gateway, web and Redis; the usual soft limit of 1024 is soon used up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _migrate() -> bool:
    """Bring the database's tables up to date; give back whether there was anything to do."""
    try:
        executor = MigrationExecutor(connection)
        if not executor.migration_plan(executor.loader.graph.leaf_nodes()):
            return False
        call_command("migrate", interactive=False, verbosity=0)
        return True
    finally:
        connection.close()


def _administrator_link() -> str | None:
    try:
        with transaction.atomic():
            link = first_administrator_link(public_url())
            if link:
                what = "made the link for the first administrator"
                record(AnonymousUser(), "access.manage", target_kind="invitation", detail=what, stranger="Gantry")
        return link
    finally:
        connection.close()


def _is_enrolled() -> bool:
    try:
        return is_enrolled(settings.GANTRY_HOME / "agent")
    finally:
        connection.close()


class _Run:
    """One run of the supervisor with Gantry's parts."""

    def __init__(
        self, environment: Mapping[str, str], output: Output, began: float, spares: Mapping[str, Spare]
    ) -> None:
        self._output = output
        self._began = began
        self._engine = environment.get("GANTRY_ENGINE", "auto")
        self._choice = redis.choose(environment, Path(settings.RUN_DIR))
        self._environment = {
            **environment,
            "GANTRY_HOME": str(settings.GANTRY_HOME),
            "GANTRY_LISTEN": settings.GANTRY_LISTEN,
            "GANTRY_GATEWAY_LISTEN": settings.GANTRY_GATEWAY_LISTEN,
            "REDIS_URL": self._choice.url,
            "PYTHONUNBUFFERED": "1",
        }
        self._supervisor = Supervisor(output, self._environment, Path(settings.BASE_DIR), spares)
        self._stop = asyncio.Event()

    async def until_stopped(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled)
        signs = parts.Signs(self._choice.url)
        try:
            async with self._supervisor:
                starting = asyncio.create_task(self._start(signs))
                stopping = asyncio.create_task(self._stop.wait())
                await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if starting.done():
                    starting.result()
                await stopping
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
        finally:
            await signs.close()
        self._output.say("Stopped.")
        return 0

    def _signalled(self) -> None:
        if self._stop.is_set():
            self._supervisor.hurry.set()
            return
        self._output.say("Stopping; once more to hurry.")
        self._stop.set()

    async def _start(self, signs: parts.Signs) -> None:
        self._output.say(f"State: {settings.GANTRY_HOME}. Redis: {self._choice.origin}.")
        own = parts.own_redis(self._choice, signs)
        self._supervisor.add(own)
        try:
            if await asyncio.to_thread(_migrate):
                self._output.say("The database's tables are made.")
        except DatabaseError as exc:
            raise home.Refused(f"The database cannot be used: {exc}") from exc
        await self._await_redis(signs)
        self._supervisor.add(parts.main_parts(signs, after=[part.name for part in own]))
        await self._supervisor.ready()
        await self._announce()
        await self._start_agent()

    async def _await_redis(self, signs: parts.Signs) -> None:
        try:
            async with asyncio.timeout(_REDIS_PATIENCE):
                while not await signs.redis(0):  # noqa: ASYNC110 - Redis tells nobody that it is ready
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise home.Refused(
                f"Redis, {self._choice.origin}, has not answered within {_REDIS_PATIENCE:g} s."
            ) from None

    async def _announce(self) -> None:
        seconds = time.time() - self._began
        link = await asyncio.to_thread(_administrator_link)
        say = self._output.say
        say(engine.describe(self._engine, Path(settings.GANTRY_HOME), Path(settings.RUN_DIR)))
        if not options.is_loopback(settings.GANTRY_LISTEN) and not settings.TLS_CERT:
            say("Without TLS: sign-in travels in the clear, and other machines cannot join. Add --tls.")
        say(f"Gantry is up after {seconds:.1f} s: {public_url()}")
        if link:
            say(f"No administrator yet. This link, good for one use, makes the first:\n\n    {link}\n")

    async def _start_agent(self) -> None:
        """Make this machine a host the first time, then run its agent."""
        if not await asyncio.to_thread(_is_enrolled):
            arguments = ["--url", local_url()]
            if settings.TLS_CERT:
                arguments += ["--fingerprint", certificate_fingerprint()]
            enrolling = await asyncio.create_subprocess_exec(
                *(sys.executable, str(settings.BASE_DIR / "manage.py"), "enrol_local", *arguments),
                env=self._environment,
                cwd=settings.BASE_DIR,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            said, _ = await enrolling.communicate()
            for line in said.decode(errors="replace").splitlines():
                self._output.line("agent", line)
            if enrolling.returncode != 0:
                self._output.say("This machine could not be made a host (see above); all else works.")
                return
        readdress(settings.GANTRY_HOME / "agent" / "config.json")
        self._supervisor.add([parts.agent(self._engine)])
