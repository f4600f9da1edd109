"""`python -m gantry_agent`."""

from .cli import main

raise SystemExit(main())
