"""Entry of `python3 -I bootstrap`, called by the shell script `gantry`."""

import sys
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - this file meets whatever python3 the system has
    found = ".".join(map(str, sys.version_info[:3]))
    sys.exit(f"gantry: Python 3.11 or newer is needed; {sys.executable} is {found}.")

# Run as a folder, Python puts the folder itself on the path; the package's parent belongs there.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bootstrap.commands import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
