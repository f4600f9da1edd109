"""The settings of a test run: the product's own, on a folder that is thrown away.

This has to happen before Django reads its settings, which is earlier than any conftest.
"""

import atexit
import os

from tests.support.scratch import discard, make_scratch

# One home for a run's process and all it starts; each of xdist's workers is a run of its own, with its own Redis.
if os.environ.get("GANTRY_TEST_RUN") != (_run := os.environ.get("PYTEST_XDIST_WORKER", "alone")):
    _home = make_scratch()
    atexit.register(discard, _home)
    os.environ["GANTRY_TEST_RUN"], os.environ["GANTRY_HOME"] = _run, str(_home)

from controlplane.settings import *  # noqa: F403

# A file, as in the product: SQLite's shared in-memory database locks whole tables between threads.
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):  # noqa: F405
    DATABASES["default"]["TEST"] = {"NAME": GANTRY_HOME / "test.sqlite3"}  # noqa: F405

# whitenoise warns when there is nothing to collect into, and warnings are errors here.
STATIC_ROOT.mkdir(exist_ok=True)  # noqa: F405
