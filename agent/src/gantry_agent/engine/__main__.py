"""`python -m gantry_agent.engine`, which `gantry-agent engine` becomes."""

import sys

from .cli import run

raise SystemExit(run(sys.argv[1:]))
