"""`manage.py up`: start every part of Gantry on this machine and keep it running."""

from __future__ import annotations

import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from controlplane.supervisor.options import add_arguments
from controlplane.supervisor.run import up


class Command(BaseCommand):
    help = "Start every part of Gantry on this machine and keep it running."
    requires_system_checks = []  # as in controlplane/supervisor/parts.py

    def add_arguments(self, parser: CommandParser) -> None:
        add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        # manage.py has turned the options into environment variables: settings were read from those.
        sys.exit(up(dict(os.environ)))
