#!/usr/bin/env python
"""Django's command line for Gantry."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")
    if sys.argv[1:2] == ["up"]:
        # Its options decide what settings.py reads, so they have to be known before that is imported.
        from controlplane.supervisor.options import read

        read(sys.argv[2:])
        try:
            import controlplane.settings  # noqa: F401 - what was set wrong is told in a line, not in a traceback
        except ValueError as exc:
            sys.exit(f"gantry: {exc}")
    execute_from_command_line(sys.argv)
