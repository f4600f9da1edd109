"""Seccomp profiles in Docker's format, made into the OCI's; and compiled filters kept for the next start.

crun compiles a profile at each start (13 ms) and leaves the result in its state folder; given back to it by an
annotation, the next start loads that. The key names all that the result depends on: the profile as it applies to these
capabilities, and the runtime's version. RUN lies on tmpfs: what is kept does not outlive a reboot.
"""

import base64
import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gantry_agent.engine.errors import InvalidArgument

DEFAULT = (Path("/etc/containers/seccomp.json"), Path("/usr/share/containers/seccomp.json"))
ANNOTATION = "run.oci.seccomp_bpf_data"
COMPILED = "seccomp.bpf"
ARCHES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}
NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64", "armv7l": "SCMP_ARCH_ARM"}
NATIVE |= {"ppc64le": "SCMP_ARCH_PPC64LE", "s390x": "SCMP_ARCH_S390X"}


@functools.cache
def default_profile() -> str | None:
    """The distribution's profile, None when it ships none."""
    for path in DEFAULT:
        with contextlib.suppress(OSError):
            return path.read_text()
    return None


@functools.lru_cache(maxsize=32)
def to_oci(text: str, capabilities: frozenset[str]) -> dict[str, Any]:
    """A profile as it applies to a container with these capabilities. Raises InvalidArgument.

    Docker's format: `includes` and `excludes` name capabilities and architectures (moby, profiles/seccomp).
    """
    try:
        profile = json.loads(text)
        if not isinstance(profile, dict) or "defaultAction" not in profile:
            raise InvalidArgument("Decoding seccomp profile failed: it has no defaultAction")
        machine = os.uname().machine
        found: dict[str, Any] = {"defaultAction": profile["defaultAction"], "architectures": _arches(profile, machine)}
        if "defaultErrnoRet" in profile:
            found["defaultErrnoRet"] = profile["defaultErrnoRet"]
        if profile.get("flags"):
            found["flags"] = profile["flags"]
        rules = (each for each in profile.get("syscalls") or () if _applies(each, machine, capabilities))
        found["syscalls"] = [_rule(each) for each in rules]
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise InvalidArgument(f"Decoding seccomp profile failed: {exc}") from exc
    return found


class Filters:
    """Compiled filters by key, in a folder and in memory."""

    def __init__(self, folder: Path, runtime_version: str) -> None:
        self._folder = folder
        self._version = runtime_version
        self._known: dict[str, str] = {}
        self._keys: dict[int, tuple[dict[str, Any], str]] = {}

    def key(self, seccomp: dict[str, Any]) -> str:
        """What names a filter. `seccomp` comes from `to_oci`, whose answers are shared: one is hashed once."""
        held = self._keys.get(id(seccomp))
        if held is None or held[0] is not seccomp:
            content = json.dumps([self._version, os.uname().release, seccomp], sort_keys=True).encode()
            if len(self._keys) > 64:
                self._keys.clear()
            held = self._keys[id(seccomp)] = (seccomp, hashlib.sha256(content).hexdigest())
        return held[1]

    def get(self, key: str) -> str | None:
        """A compiled filter in base64, None when it has to be compiled."""
        if key not in self._known:
            with contextlib.suppress(OSError):
                self._known[key] = base64.b64encode((self._folder / key).read_bytes()).decode()
        return self._known.get(key)

    def keep(self, key: str, state: Path) -> None:
        """Take what the runtime compiled out of a container's state folder; nothing when it left nothing."""
        if key in self._known:
            return
        with contextlib.suppress(OSError):
            content = (state / COMPILED).read_bytes()
            if content and len(content) % 8 == 0:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                temporary = self._folder / f".{key}"
                temporary.write_bytes(content)
                temporary.rename(self._folder / key)
                self._known[key] = base64.b64encode(content).decode()


def _arches(profile: Mapping[str, Any], machine: str) -> list[str]:
    native = NATIVE.get(machine, "")
    for each in profile.get("archMap") or ():
        if each["architecture"] == native:
            return [native, *(each.get("subArchitectures") or ())]
    return list(profile.get("architectures") or ([native] if native else []))


def _applies(rule: Mapping[str, Any], machine: str, capabilities: Collection[str]) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    arch = ARCHES.get(machine, machine)
    if includes.get("arches") and arch not in includes["arches"]:
        return False
    if arch in (excludes.get("arches") or ()):
        return False
    if not set(includes.get("caps") or ()) <= set(capabilities):
        return False
    if set(excludes.get("caps") or ()) & set(capabilities):
        return False
    here = _kernel(os.uname().release)
    if includes.get("minKernel") and here < _kernel(includes["minKernel"]):
        return False
    return not (excludes.get("minKernel") and here >= _kernel(excludes["minKernel"]))


def _kernel(text: str) -> tuple[int, int]:
    major, _, rest = text.partition(".")
    minor = rest.partition(".")[0].partition("-")[0]
    return int(major), int(minor or 0)


def _rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    names = rule.get("names") or [rule["name"]]
    found: dict[str, Any] = {"names": names, "action": rule["action"]}
    if rule.get("errnoRet") is not None:
        found["errnoRet"] = rule["errnoRet"]
    if rule.get("args"):
        found["args"] = [
            {"index": each["index"], "value": each["value"], "valueTwo": each.get("valueTwo", 0), "op": each["op"]}
            for each in rule["args"]
        ]
    return found
