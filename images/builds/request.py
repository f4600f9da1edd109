"""What is sent to an engine to have it build: POST /build of the Engine API, with secrets as each engine takes them."""

from __future__ import annotations

import json
import secrets as random
from typing import TYPE_CHECKING, Any

from controlplane.lib.errors import InvalidArgument
from images.builds import credentials
from images.builds.context import Context, entry, is_plain_tar

if TYPE_CHECKING:
    from images.builds.building import Job

LONGEST_HEADER = 60 * 1024  # bytes; the native engine reads 64 KiB of one
PODMAN_SECRET = "podman-build-secret"  # the prefix by which Podman tells secrets in a context from files


def request_of(job: Job) -> tuple[Context, dict[str, str], dict[str, Any]]:
    """The tar, the headers and the query of POST /build."""
    options, context = job.options, job.context
    headers = {"X-Gantry-Tenant": job.tenant}
    if job.logins:
        headers["X-Registry-Config"] = credentials.registry_config(job.logins)
    query: dict[str, Any] = {
        "dockerfile": job.dockerfile_path,
        "t": job.build.tags,
        "target": options.target or None,
        "buildargs": options.args or None,
        "platform": options.platform or None,
        "nocache": True if not options.cache else None,
        "pull": True if options.pull else None,
        "rm": True,
        "forcerm": True,
        "cachefrom": _json_list(options.cache_from),
        "memory": options.memory or None,
        "memswap": options.memory or None,
    }
    if options.cpus:
        query |= {"cpuperiod": 100_000, "cpuquota": int(options.cpus * 100_000)}
    if job.secrets:
        context, more, headers_for_secrets = _with_secrets(job)
        query |= more
        headers |= headers_for_secrets
    return context, headers, query


def _json_list(values: list[str]) -> str | None:
    return json.dumps(values) if values else None


def _with_secrets(job: Job) -> tuple[Context, dict[str, Any], dict[str, str]]:
    """How each engine is given secrets; Docker's classic builder knows of none."""
    host = job.work.host
    kind = host.engine_kind if host else ""
    if kind == "gantry":
        header = credentials.native_secrets_header(job.secrets)
        if len(header) > LONGEST_HEADER:
            raise InvalidArgument(
                f"Expected secrets of at most {LONGEST_HEADER * 9 // 16 >> 10} KiB together, found more.",
                "Give the step a short one that opens the long one.",
            )
        return job.context, {}, {"X-Gantry-Build-Secrets": header}
    if kind == "podman":
        if job.context.file and not is_plain_tar(job.context.file):
            raise InvalidArgument("On a Podman host, secrets go with files that are not compressed.")
        names = {name: f"{PODMAN_SECRET}{random.token_hex(8)}" for name in job.secrets}
        head = b"".join(entry(names[name], value.encode()) for name, value in job.secrets.items())
        listed = _json_list([f"id={name},src={names[name]}" for name in job.secrets])
        return Context(job.context.head + head, job.context.file), {"secrets": listed}, {}
    raise InvalidArgument(
        f"{job.work.operation.host_name} runs Docker, whose Engine API takes no build secrets.",
        "Build on a host with Gantry’s own engine or with Podman.",
    )
