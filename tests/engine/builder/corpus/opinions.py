"""Builders that a Dockerfile is given to, each with the base image: `outcome(row)`."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Protocol, Self

from tests.engine.builder.building import BASE, Built, send
from tests.engine.builder.corpus import outcome, row
from tests.engine.builder.corpus.outcome import Outcome
from tests.engine.builder.corpus.row import Row
from tests.support.engines import EngineProcess
from tests.support.images import busybox
from tests.support.scratch import discard, make_scratch
from tests.support.unixhttp import UnixConnection

BUILDAH_SECONDS = 60


class Opinion(Protocol):
    """A builder; a context manager."""

    def outcome(self, it: Row) -> Outcome:
        """What it makes of a row."""


class ByEngine:
    """An engine's POST /build, the container of each RUN without a network."""

    def __init__(self, engine: EngineProcess) -> None:
        self.engine = engine

    def __enter__(self) -> Self:
        self.engine.__enter__()
        self.engine.load(busybox().archive(BASE))
        return self

    def __exit__(self, *exc: object) -> None:
        self.engine.__exit__(*exc)

    def outcome(self, it: Row) -> Outcome:
        if it.base and (failed := self._build(it, it.base, f"{it.name}:1")).error:
            return Outcome(failed.error)
        built = self._build(it, it.dockerfile, name := f"{it.name}:2", target=it.target)
        return Outcome(built.error) if built.error else outcome.read(self._saved(name))

    def _build(self, it: Row, dockerfile: str, name: str, **query: Any) -> Built:
        tar = row.context(dockerfile, it.files)
        return send(self.engine, tar, t=name, buildargs=json.dumps(dict(it.args)), networkmode="none", **query)

    def _saved(self, image: str) -> bytes:
        connection = UnixConnection(self.engine.socket, 60)
        try:
            connection.request("GET", f"/images/{image}/get")
            return connection.getresponse().read()
        finally:
            connection.close()


class ByDocker(ByEngine):
    """Docker's classic builder. What .dockerignore hides its daemon is never sent: that is the command's work."""

    def _build(self, it: Row, dockerfile: str, name: str, **query: Any) -> Built:
        if ".dockerignore" not in it.files:
            return super()._build(it, dockerfile, name, **query)
        folder = self.engine.folder / it.name
        row.unpack(row.context(dockerfile, it.files), folder)
        done = subprocess.run(
            ["docker", "-H", f"unix://{self.engine.socket}", "build", "-q", "-t", name, str(folder)],
            env={**os.environ, "DOCKER_BUILDKIT": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        said = {"error": done.stderr} if done.returncode else {"aux": {"ID": done.stdout.strip()}}
        return Built(200, [said])


class ByBuildah:
    """Buildah, each RUN in a chroot."""

    def __init__(self) -> None:
        self.folder = make_scratch()

    def __enter__(self) -> Self:
        archive = self.folder / "base.tar"
        archive.write_bytes(busybox().archive(BASE))
        done = self._run("pull", "-q", f"docker-archive:{archive}")
        assert done.returncode == 0, done.stderr
        return self

    def __exit__(self, *_: object) -> None:
        discard(self.folder)

    def outcome(self, it: Row) -> Outcome:
        folder = self.folder / it.name
        row.unpack(row.context(it.dockerfile, it.files), folder)
        if it.base:
            (folder / "Base").write_text(it.base)
            if error := self._build(it, folder, "Base", "1"):
                return Outcome(error)
            (folder / "Base").unlink()
        if error := self._build(it, folder, "Dockerfile", "2"):
            return Outcome(error)
        archive = self.folder / f"{it.name}.tar"
        done = self._run("push", "-q", f"localhost/{it.name}:2", f"docker-archive:{archive}")
        assert done.returncode == 0, done.stderr
        try:
            return outcome.read(archive.read_bytes())
        finally:
            archive.unlink()

    def _build(self, it: Row, folder: Path, file: str, tag: str) -> str:
        """Why it failed; "" when it did not."""
        args = [f"--build-arg={name}={value}" for name, value in it.args.items()]
        target = [f"--target={it.target}"] if it.target and tag == "2" else []
        done = self._run(
            *(
                "build",
                "-q",
                "--isolation=chroot",
                "--pull-never",
                "--format=docker",
                "--identity-label=false",
                *args,
                *target,
            ),
            *(f"--file={folder}/{file}", f"--tag=localhost/{it.name}:{tag}", str(folder)),
        )
        return (done.stderr.strip() or "failed") if done.returncode else ""

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *("buildah", "--storage-driver=overlay", f"--root={self.folder}/data", f"--runroot={self.folder}/run"),
                *(f"--registries-conf={os.devnull}", *command),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=BUILDAH_SECONDS,
        )
