"""What `/gantry/host` says about this machine. CPU use is sampled in the background: asking costs nothing."""

import asyncio
import os
import platform
import socket
import time
from pathlib import Path
from typing import Any

import psutil

from . import __version__, engine_client
from .errors import EngineFailure

SAMPLE_EVERY = 5.0  # seconds
ROOT_EVERY = 60.0  # seconds between questions for the engine's data root


class HostFacts:
    """Samples the machine; `facts()` is the JSON of `/gantry/host`: bytes, percent, seconds."""

    def __init__(self, client: engine_client.Engine) -> None:
        self.engine = client
        self.cpu_percent = 0.0
        self.data_root = "/"
        self.reachable = False
        self._root_asked = -ROOT_EVERY

    async def run(self) -> None:
        """Sample until cancelled."""
        psutil.cpu_percent()
        while True:
            await self._look_at_engine()
            await asyncio.sleep(SAMPLE_EVERY)
            self.cpu_percent = psutil.cpu_percent()

    async def _look_at_engine(self) -> None:
        """Does the engine answer, and where does it keep its data?"""
        try:
            if time.monotonic() - self._root_asked > ROOT_EVERY or not self.reachable:
                info = await self.engine.call("GET", "/info")
                root = info.get("DockerRootDir") if isinstance(info, dict) else None
                self.data_root = root if isinstance(root, str) and Path(root).is_dir() else "/"
                self._root_asked = time.monotonic()
            else:
                await self.engine.call("GET", "/version")
            self.reachable = True
        except EngineFailure:
            self.reachable = False

    def facts(self) -> dict[str, Any]:
        memory = psutil.virtual_memory()
        disk = psutil.disk_usage(self.data_root)
        return {
            "hostname": socket.gethostname(),
            "agent_version": __version__,
            "os": os_name(),
            "arch": platform.machine(),
            "kernel": platform.release(),
            "cpus": os.cpu_count() or 1,
            "cpu_percent": self.cpu_percent,
            "load": list(os.getloadavg()),
            "memory_total": memory.total,
            "memory_used": memory.total - memory.available,
            "disk_total": disk.total,
            "disk_used": disk.used,
            "uptime": round(time.time() - psutil.boot_time()),
            "engine": {
                "socket": self.engine.find(),
                "reachable": self.reachable,
                "native": self.engine.is_native,
                "problem": self.engine.problem,
            },
        }


def os_name() -> str:
    """PRETTY_NAME of os-release(5), e.g. “Debian GNU/Linux 12 (bookworm)”."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()
