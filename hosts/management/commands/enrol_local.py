"""`manage.py enrol_local`: make this machine a host without a pasted token. Doing it again does nothing."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from hosts.models import EnrolmentToken, Host


def is_enrolled(state: Path) -> bool:
    """Has the agent of the folder `state` become a host here? A host that was removed stays removed."""
    return (state / "config.json").exists() and Host.objects.exists()


class Command(BaseCommand):
    help = "Make this machine a host of this control plane, with its agent's state in GANTRY_HOME/agent."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--url", required=True, help="where this machine reaches the control plane")
        parser.add_argument("--fingerprint", default="", help="sha256:… of its certificate")

    def handle(self, *args: Any, **options: Any) -> None:
        state = Path(settings.GANTRY_HOME) / "agent"
        if is_enrolled(state):
            return
        host, _ = Host.objects.get_or_create(name=socket.gethostname()[:120])
        _, token = EnrolmentToken.issue(host)
        command = [sys.executable, "-m", "gantry_agent", "enrol", "--url", options["url"], "--token", token]
        command += ["--state", str(state), "--name", host.name, "--replace"]
        command += ["--fingerprint", options["fingerprint"]] if options["fingerprint"] else []
        if subprocess.run(command, check=False).returncode != 0:
            raise CommandError("the agent could not enrol; its message above says why")
