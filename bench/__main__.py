"""`python -m bench [NAME …] [--json]`: run the benchmarks of this folder, or those named.

A benchmark is a module here with `run() -> Result` and, where it needs more than Python, `why_not() -> str`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import sys
from types import ModuleType

import bench
from bench.figures import Result


def benchmarks() -> dict[str, ModuleType]:
    """Every module here that can be run, by name."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    found = {}
    for info in pkgutil.iter_modules(bench.__path__):
        if info.name.startswith("_") or info.name == "figures":
            continue
        module = importlib.import_module(f"bench.{info.name}")
        if hasattr(module, "run"):
            found[info.name] = module
    return found


def main(arguments: list[str]) -> int:
    known = benchmarks()
    parser = argparse.ArgumentParser(prog="./gantry bench", description="Measure Gantry beside the engines themselves.")
    parser.add_argument("name", nargs="*", help=f"of {', '.join(sorted(known))}; all when left out")
    parser.add_argument("--json", action="store_true", help="machine-readable, every sample included")
    options = parser.parse_args(arguments)
    for name in options.name:
        if name not in known:
            parser.error(f"no benchmark “{name}”; there are: {', '.join(sorted(known))}")
    results: dict[str, Result] = {}
    for name in options.name or sorted(known):
        reason = known[name].why_not() if hasattr(known[name], "why_not") else ""
        if reason:
            print(f"{name}: skipped: {reason}", file=sys.stderr)
            continue
        results[name] = known[name].run()
        if not options.json:
            print(f"{name}: {results[name].as_text()}\n", flush=True)
    if options.json:
        print(json.dumps({name: result.as_json() for name, result in results.items()}, indent=1))
    return 0 if all(ratio.met is not False for result in results.values() for ratio in result.ratios) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
