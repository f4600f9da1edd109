"""Running operations on a real engine without Celery: the engine's own socket stands where the gateway's would.

And rows of the mirror, for pages that look at nothing else.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection

from containers.models import Container
from controlplane.operations import lifecycle, runner
from controlplane.operations.models import Operation
from hosts.models import Host, HostState
from images.models import Image, ImageTag
from tests.support.engines import EngineProcess


def host_of(engine: EngineProcess, name: str = "") -> Host:
    """A connected host whose socket is that of `engine`."""
    host = Host.objects.create(
        name=name or engine.kind,
        state=HostState.CONNECTED,
        tunnel_up=True,
        public_key="k",
        engine_kind=engine.kind,
        cpus=2,
    )
    socket = Path(settings.HOSTS_DIR) / f"{host.pk}.sock"
    socket.unlink(missing_ok=True)
    socket.symlink_to(engine.socket)
    return host


def run(operation: Operation) -> Operation:
    """Run it to its end, here and now."""
    claimed = lifecycle.claim(operation.pk)
    assert claimed is not None
    runner.run(claimed)
    operation.refresh_from_db()
    return operation


def run_in_thread(operation: Operation) -> threading.Thread:
    """Run it as a worker would, beside the test."""

    def body() -> None:
        try:
            run(Operation.objects.get(pk=operation.pk))
        finally:
            connection.close()

    thread = threading.Thread(target=body)
    thread.start()
    return thread


def said(operation: Operation) -> str:
    """All its output."""
    return "\n".join(operation.output.values_list("text", flat=True))


def make_host(name: str, **fields: Any) -> Host:
    """A host in the mirror alone: connected, with nobody behind its socket."""
    state = fields.setdefault("state", HostState.CONNECTED)
    known = {"public_key": "k", "tunnel_up": state == HostState.CONNECTED}
    return Host.objects.create(name=name, **known | fields)


def hold(host: Host, engine_id: str, *references: str, size: int = 1000, digests: tuple[str, ...] = ()) -> Image:
    """Put an image under these names (none: nameless) on a host."""
    image = Image.objects.create(host=host, engine_id=engine_id, size=size, repo_digests=list(digests))
    for reference in references or ("",):
        repository, _, tag = reference.rpartition(":")
        ImageTag.objects.create(host=host, image=image, reference=reference, repository=repository, tag=tag)
    return image


def use(host: Host, engine_id: str, name: str) -> Container:
    """A running container of that image in the mirror."""
    return Container.objects.create(
        host=host, engine_id=f"{name}-id", name=name, image_ref="x", image_id=engine_id, state="running"
    )
