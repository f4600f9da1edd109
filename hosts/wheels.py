"""The agent's wheel and those of its dependencies, as hosts fetch them: for Linux on x86-64 and ARM64.

The dependencies are exactly those of uv.lock, each checked against its digest there; the agent's own wheel is
made from `agent/src`. Collected once, in the background, by the gateway; the state is in `status.json`.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import logging
import os
import re
import tomllib
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

log = logging.getLogger(__name__)

AGENT = "gantry-agent"
PYTHONS = ("cp311", "cp312", "cp313", "cp314")
MACHINES = ("x86_64", "aarch64")
TIMEOUT = 60.0  # seconds without a byte
_WHEEL = re.compile(r"[\w.]+-[\w.!+]+-(?P<python>[\w.]+)-(?P<abi>[\w.]+)-(?P<platform>[\w.]+)\.whl")


class NotCollected(Exception):
    """Why the wheels cannot be served yet."""


@dataclass(frozen=True)
class Standing:
    """state: "ready", "collecting" or "failed"; `reason` in words; `digest` of what was collected from."""

    state: str
    reason: str = ""
    digest: str = ""

    @property
    def message(self) -> str:
        if self.state == "failed":
            return f"The agent's packages could not be collected: {self.reason}"
        return "The agent's packages are ready." if self.state == "ready" else "They are still being collected."


def folder() -> Path:
    return Path(settings.GANTRY_HOME) / "wheels"


def standing() -> Standing:
    """How far collecting is. Never raises."""
    try:
        return Standing(**json.loads((folder() / "status.json").read_text()))
    except (OSError, ValueError, TypeError):
        return Standing("collecting")


def files() -> list[dict[str, str]]:
    """What is served: [{"project", "name", "sha256"}]. Empty until ready."""
    try:
        found: list[dict[str, str]] = json.loads((folder() / "index.json").read_text())
    except (OSError, ValueError):
        return []
    return found


def newer_agent(version: str) -> str:
    """The version of the agent served here when a host with `version` has another one, else ""."""
    served = next((file["name"].split("-")[1] for file in files() if file["project"] == AGENT), "")
    return served if version and served != version else ""


def ensure_collected() -> None:
    """Collect unless that is done for this very lock and source. One process at a time; never raises OSError."""
    dest = folder()
    dest.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (dest / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        present, digest = standing(), sources_digest()
        if present.state == "ready" and present.digest == digest:
            return
        _set(dest, Standing("collecting"))
        try:
            collect(dest)
        except (OSError, NotCollected, ValueError, KeyError) as exc:
            log.warning("the agent's packages could not be collected: %s", exc)
            _set(dest, Standing("failed", str(exc)))
        else:
            _set(dest, Standing("ready", digest=digest))


def collect(dest: Path) -> None:
    """Fill `dest` with wheels and index.json. Raises NotCollected, OSError."""
    found = [build_agent(dest)]
    for package in closure(read_lock()):
        for wheel in usable_wheels(package):
            found.append(fetch(wheel, dest, package["name"]))
    kept = {entry["name"] for entry in found}
    for path in dest.glob("*.whl"):
        if path.name not in kept:
            path.unlink()
    _write(dest / "index.json", json.dumps(found).encode())


def read_lock() -> dict[str, dict[str, Any]]:
    """uv.lock's packages by name. Raises NotCollected."""
    try:
        found = tomllib.loads((settings.BASE_DIR / "uv.lock").read_text())["package"]
    except (OSError, ValueError, KeyError) as exc:
        raise NotCollected(f"uv.lock cannot be read: {exc}") from exc
    return {package["name"]: package for package in found}


def closure(lock: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The packages the agent needs, itself not included, whatever their markers say: hosts differ."""
    wanted, queue = {AGENT}, [AGENT]
    while queue:
        for needed in lock[queue.pop()].get("dependencies", []):
            if needed["name"] not in wanted:
                wanted.add(needed["name"])
                queue.append(needed["name"])
    return [lock[name] for name in sorted(wanted - {AGENT})]


def usable_wheels(package: dict[str, Any]) -> Iterator[dict[str, str]]:
    """The wheels of a package for the Pythons and machines we serve, one for each. Raises NotCollected."""
    chosen: dict[tuple[str, str], tuple[tuple[int, int], dict[str, str]]] = {}
    for wheel in package.get("wheels", []):
        match = _WHEEL.fullmatch(wheel["url"].rsplit("/", 1)[-1])
        if match is None or not is_usable(match[0]):
            continue
        python, platform = match["python"].split(".")[0], match["platform"]
        kind = "any" if platform == "any" else "abi3" if match["abi"] == "abi3" else python
        # Of several, the one made for the newest Python and then for the oldest C library: most hosts have that.
        libc = [int(minor) for minor in re.findall(r"manylinux_2_(\d+)", platform)]
        worth = (int(re.sub(r"\D", "", python)), -min(libc, default=0))
        place = (kind, next((machine for machine in MACHINES if platform.endswith(machine)), ""))
        if place not in chosen or worth > chosen[place][0]:
            chosen[place] = (worth, wheel)
    if not chosen:
        raise NotCollected(f"{package['name']} has no wheel for Linux")
    yield from (wheel for _, wheel in chosen.values())


def is_usable(name: str) -> bool:
    """By the tags in the file name (PEP 425): ours are glibc Linux, CPython 3.11 to 3.14."""
    match = _WHEEL.fullmatch(name)
    if match is None:
        return False
    python, abi, platform = match["python"], match["abi"], match["platform"]
    if platform == "any":
        return "py3" in python.split(".")
    if "manylinux" not in platform or not platform.endswith(MACHINES):
        return False
    if abi == "abi3":
        return python.startswith("cp3") and int(python.split(".")[0][3:]) <= 11
    return python in PYTHONS and abi == python


def fetch(wheel: dict[str, str], dest: Path, project: str) -> dict[str, str]:
    """Download one wheel unless it is there; its entry for the index. Raises NotCollected."""
    name, expected = wheel["url"].rsplit("/", 1)[-1], wheel["hash"].removeprefix("sha256:")
    path = dest / name
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != expected:
        try:
            with urllib.request.urlopen(wheel["url"], timeout=TIMEOUT) as answer:
                content = answer.read()
        except (urllib.error.URLError, OSError) as exc:
            raise NotCollected(f"{wheel['url']}: {exc}") from exc
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            raise NotCollected(f"{name}: expected sha256 {expected}, got {found}")
        _write(path, content)
    return {"project": project, "name": name, "sha256": expected}


def agent_source() -> Path:
    return Path(settings.BASE_DIR) / "agent" / "src"


def agent_files() -> list[Path]:
    """The agent's modules and the data beside them, in order."""
    return [
        path
        for path in sorted((agent_source() / "gantry_agent").rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]


def sources_digest() -> str:
    """Changes when the lock or the agent's source does."""
    total = hashlib.sha256()
    paths = [Path(settings.BASE_DIR) / "uv.lock", *agent_files()]
    for path in paths:
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def build_agent(dest: Path) -> dict[str, str]:
    """The agent's own wheel, made here: pure Python needs no build tool, and this needs no network."""
    project = tomllib.loads((agent_source().parent / "pyproject.toml").read_text())["project"]
    stem = f"gantry_agent-{project['version']}"
    info = f"{stem}.dist-info"
    requires = "".join(f"Requires-Dist: {needed}\n" for needed in project["dependencies"])
    metadata = f"Metadata-Version: 2.1\nName: {AGENT}\nVersion: {project['version']}\n{requires}"
    contents = {str(path.relative_to(agent_source())): path.read_bytes() for path in agent_files()}
    contents[f"{info}/METADATA"] = metadata.encode()
    contents[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: gantry\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    contents[f"{info}/entry_points.txt"] = b"[console_scripts]\ngantry-agent = gantry_agent.cli:main\n"
    path = dest / f"{stem}-py3-none-any.whl"
    temporary = path.with_suffix(".tmp")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as wheel:
        record = "".join(f"{name},sha256={_record_digest(data)},{len(data)}\n" for name, data in contents.items())
        for name, data in {**contents, f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}.items():
            wheel.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    os.replace(temporary, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"project": AGENT, "name": path.name, "sha256": digest}


def _record_digest(data: bytes) -> str:
    """PEP 376's spelling of a digest in RECORD."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _set(dest: Path, state: Standing) -> None:
    _write(dest / "status.json", json.dumps(asdict(state)).encode())


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    os.replace(temporary, path)
