"""One build: gather its files, send them to the host's engine, follow what it says, write down what it made."""

from __future__ import annotations

import asyncio
import difflib
import os
import re
import shutil
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from controlplane.access.decide import require
from controlplane.lib.errors import Conflict, GantryError, InvalidArgument, Lost, NotFound
from controlplane.lib.live import publish
from controlplane.lib.references import name_of
from controlplane.lib.threads import in_thread
from controlplane.operations.models import Operation
from controlplane.operations.runner import Work
from hosts.engine import Engine, EngineError, EngineUnreachable, raise_for_message, segment
from hosts.rules.errors import refuse
from hosts.rules.facts import ImageFacts
from hosts.rules.judge import judge_commit
from hosts.rules.models import rules_of
from hosts.working import engine_of
from images.builds import credentials, following, naming
from images.builds.access import EVERY_NAME, name_for, require_name
from images.builds.asked import DOCKERFILE, GIT, TYPED, Options, Source
from images.builds.cloning import Clone, clone
from images.builds.context import (
    Context,
    dockerfile_in_folder,
    dockerfile_in_tar,
    dockerfile_path,
    entry,
    is_plain_tar,
    pack,
    refuse_template,
    shown,
)
from images.builds.dockerfile import Dockerfile, read
from images.builds.lint import Finding, lint
from images.builds.masking import Mask
from images.builds.models import Build, Definition, Upload
from images.builds.request import request_of
from images.builds.steps import CANCELLED, FAILED, Step, Steps, line_of
from images.builds.using import require_uses
from images.pulling import Layers

SCRATCH_PREFIX = "gantry-build-"
LARGEST_CONTEXT = 8 << 30  # bytes of a repository's files
SAVE_SECONDS = 0.5  # how often steps are written while they pass
TYPED_BESIDE = "Dockerfile.gantry"  # the name of a typed Dockerfile among files that have one already
_BUILT = re.compile(r"Successfully built ([0-9a-f]{12,64})")
_MISSING = re.compile(r"(?:stat|lstat|copying):? \"?/?([^\s:\"]+)\"?: (?:file does not exist|no such file)")


Inspected = tuple[dict[str, Any], list[dict[str, Any]]]
"""GET /images/NAME/json, and its history."""


@dataclass
class Job:
    """What one run of a build works with."""

    work: Work
    build: Build
    source: Source
    options: Options
    mask: Mask
    secrets: dict[str, str] = field(repr=False)
    logins: dict[str, dict[str, str]] = field(repr=False)
    context: Context = field(default_factory=Context)
    dockerfile_path: str = ""
    file: Dockerfile = field(default_factory=lambda: Dockerfile((), ()))
    image_id: str = ""
    tenant: str = ""
    """Whose cache the native engine uses and fills."""
    stopped_at: Step | None = None
    """What ran when it was stopped."""

    def say(self, text: str, stream: str = "info") -> None:
        self.work.say(self.mask(text), stream)


async def build(work: Work) -> None:
    """params: source, options (see `asked`), and for a retry or a definition also trigger, definition, number."""
    job = await in_thread(_begin, work)
    try:
        async with asyncio.timeout(job.options.timeout) as limit, _scratch() as scratch:
            await _gather(job, scratch)
            async with engine_of(work) as engine:
                await require_uses(job, engine)
                image = await _run(job, engine)
                await work.checkpoint()  # what follows is not for a run that was given up for dead
                await in_thread(_save_image, job, image)
                work.result |= {"image_id": job.build.image_id, "at": time.time()}
                job.say(f"{work.operation.host_name} has {naming.first_of(job.build.tags) or job.build.image_id[:19]}.")
    except TimeoutError as exc:
        if not limit.expired():
            raise
        raise await in_thread(_took_too_long, job) from exc
    except GantryError as exc:
        exc.message, exc.hint = job.mask(exc.message), job.mask(exc.hint)
        raise
    await work.checkpoint()
    if why_not := await in_thread(following.after, job.build, work.operation):
        job.say(why_not, "note")


def _begin(work: Work) -> Job:
    """The build of this operation: a retry makes its own. Credentials are looked up for the host it runs on."""
    params = work.params
    definition = Definition.objects.filter(pk=params.get("definition") or 0).first()
    build, _ = Build.objects.get_or_create(
        operation=work.operation,
        defaults={
            "definition": definition,
            "number": params.get("number", 0) if definition else 0,
            "trigger": params.get("trigger", "person"),
            "source": params["source"],
            "options": params["options"],
        },
    )
    build.operation, build.steps, build.failed_line = work.operation, [], None
    source, options = Source.of_json(build.source), Options.of_json(build.options)
    secrets = credentials.secrets(options, work.host)
    logins = credentials.logins(options, work.host)
    login = credentials.git_login(source, work.host)
    hidden = [*secrets.values(), *credentials.hidden(logins)]
    if login:
        hidden += [login.token, login.key, f"{login.username or 'git'}:{login.token}" if login.token else ""]
    return Job(work, build, source, options, Mask(each for each in hidden if each), secrets, logins)


@asynccontextmanager
async def _scratch() -> AsyncIterator[Path]:
    """A folder for what is fetched, gone afterwards whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix=f"{SCRATCH_PREFIX}{os.getpid()}-", dir=settings.SCRATCH_DIR))
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _gather(job: Job, scratch: Path) -> None:
    """The files of the build as one tar, and its Dockerfile read."""
    source, build = job.source, job.build
    if source.kind != TYPED:  # what was saved before may name what is refused now
        source.dockerfile_path = dockerfile_path(source.dockerfile_path)
        refuse_template(source.dockerfile_path, job.work.host.engine_kind if job.work.host else "")
    path = source.dockerfile_path
    if source.kind == GIT:
        fetched = await _fetch(job, scratch)
        build.commit = fetched.commit
        build.dockerfile = await asyncio.to_thread(dockerfile_in_folder, fetched.folder, path)
        branch = source.ref if source.commit else fetched.branch
    else:
        upload = await in_thread(_upload, source)
        branch = ""
        if source.kind == TYPED:
            build.dockerfile = source.dockerfile
            path = _typed_name(upload)
            job.context = Context(entry(path, source.dockerfile.encode()), upload.path if upload else None)
        elif upload:
            build.dockerfile = await asyncio.to_thread(dockerfile_in_tar, upload.path, path)
            job.context = Context(file=upload.path)
    job.dockerfile_path = path
    job.file = await asyncio.to_thread(read, build.dockerfile)
    build.dockerfile_path = source.dockerfile_path
    build.stages = [stage.as_json() for stage in job.file.needed(job.options.target)]
    build.tags = [
        naming.fill(
            template, branch=branch, sha=build.commit, asked=job.work.operation.created_at, number=_number(build)
        )
        for template in job.options.tags
    ]
    _tell_warnings(job, await asyncio.to_thread(lint, build.dockerfile, args=tuple(job.options.args)))
    await in_thread(_name, job)


def _name(job: Job) -> None:
    """Save it under the names it will have, where it was called by their templates."""
    build, operation = job.build, job.work.operation
    actor = operation.asker
    if operation.host is None or actor is None:
        raise Conflict("Whoever asked for this build, or the host it was for, has been removed.")
    require(actor, "image.build", operation.host)
    rules = rules_of(operation.host.environment_id)
    for position, tag in enumerate(build.tags):
        # Whoever has another's build done again has not typed its names; a refusal is read by all who see the first.
        label = EVERY_NAME if position else name_for(actor, operation.host, tag) if operation.retry_of_id else ""
        require_name(actor, operation.host, tag, push=job.options.push, label=label)
        broken = judge_commit(rules, ImageFacts(*name_of(tag)))
        refuse("image.build", operation.host, [replace(each, found=label or tag) for each in broken], label or tag)
    filed = naming.filed_under(build.tags)
    if build.tags:
        Operation.objects.filter(pk=operation.pk).update(image_name=filed)
    # Who finds it by its name need not see the definition, and is not told what that is called.
    is_apart = build.definition is not None and not build.definition.is_found_with(operation.host, filed)
    if build.tags and (not build.number or is_apart):
        name = build.tags[0]  # a further one may be nothing for whoever sees this
        Operation.objects.filter(pk=operation.pk).update(title=f"Build {name}"[:300], target_name=name[:300])
    _save(build)


def _typed_name(upload: Upload | None) -> str:
    """A name that no file beside it has: of two entries, engines take the last."""
    taken = set(upload.dockerfiles) if upload else set()
    names = (DOCKERFILE, TYPED_BESIDE, *(f"{TYPED_BESIDE}.{n}" for n in range(len(taken))))
    return next(name for name in names if name not in taken)


def _number(build: Build) -> int:
    return build.number or build.operation_id


async def _fetch(job: Job, scratch: Path) -> Clone:
    source = job.source
    login = await in_thread(credentials.git_login, source, job.work.host)
    checkout = scratch / "git"
    checkout.mkdir()
    scratch.chmod(0o711)  # git runs as another user
    wanted = source.commit or source.ref
    fetched = await clone(
        source.url, wanted, checkout, job.say, folder=source.folder, submodules=source.submodules, login=login
    )
    job.say(f"At commit {fetched.commit}.")
    tar = scratch / "context.tar"
    count = await asyncio.to_thread(pack, fetched.folder, tar, source.dockerfile_path, LARGEST_CONTEXT)
    job.say(f"{count} files, {tar.stat().st_size:,} bytes.")
    job.context = Context(file=tar)
    return fetched


def _upload(source: Source) -> Upload | None:
    """The files that were sent for it. Raises NotFound once they are gone."""
    if not source.upload:
        return None
    upload = Upload.objects.filter(pk=source.upload).exclude(finished_at=None).first()
    if upload is None or not upload.path.exists():
        raise NotFound(
            "The files that were sent for this build are kept no longer.", "Send them again, as a new build."
        )
    Upload.objects.filter(pk=upload.pk).update(used_at=timezone.now())
    if source.kind == TYPED and not is_plain_tar(upload.path):
        raise InvalidArgument("Beside a typed Dockerfile, files are sent as they are, not as a compressed archive.")
    return upload


def _tell_warnings(job: Job, findings: list[Finding]) -> None:
    job.work.result["warnings"] = [each.as_json() for each in findings if each.severity == "warning"]
    for each in findings:
        if each.severity == "warning":
            job.say(f"Line {each.line}: {each.message}", "note")


async def _run(job: Job, engine: Engine) -> Inspected:
    """Send it, and follow the engine's words to the end; what it made. Raises what went wrong, with the line."""
    steps = Steps(job.file, job.work.say, mask=lambda line: job.mask(naming.without_further(line, job.build.tags)))
    saver = asyncio.create_task(_keep_saving(job.build, steps))
    try:
        await _follow(job, engine, steps)
        steps.end()
        return await _inspect(engine, job)
    except asyncio.CancelledError:
        job.stopped_at = steps.current
        steps.end(CANCELLED)
        raise
    except EngineUnreachable as exc:
        steps.end(FAILED)
        raise Lost(
            f"{job.work.operation.host_name} was lost while it built: {exc.message}",
            "What it had begun ends with the connection. Retry when the host is back.",
        ) from exc
    except EngineError as exc:
        steps.end(FAILED)
        failed = steps.steps[-1] if steps.steps else None
        line = (failed.line if failed else 0) or line_of(exc.message)
        job.build.failed_line = line or None
        raise await asyncio.to_thread(_with_place, job, exc, line) from exc
    finally:
        steps.end(FAILED)  # a step that still runs, after whatever else went wrong
        saver.cancel()
        await asyncio.gather(saver, return_exceptions=True)
        job.build.steps = [step.as_json() for step in steps.steps]
        await in_thread(_save, job.build)


async def _keep_saving(build: Build, steps: Steps) -> None:
    saved: list[dict[str, Any]] = []
    while True:
        await asyncio.sleep(SAVE_SECONDS)
        present = [step.as_json() for step in steps.steps]
        if present != saved:
            build.steps = saved = present
            await in_thread(_save, build)


async def _follow(job: Job, engine: Engine, steps: Steps) -> None:
    context, headers, query = request_of(job)
    layers = Layers(job.work)  # of base images: no secret passes there
    total = context.size

    def sent(count: int) -> None:
        job.work.progress("files", "Sent" if count >= total else "Sending the files", count, total)

    headers |= {"Content-Type": "application/x-tar"}
    messages = engine.messages("POST", "/build", context.pieces(sent), headers=headers, **query)
    async with aclosing(messages):
        async for message in messages:
            raise_for_message(message)
            if isinstance(text := message.get("stream"), str):
                steps.feed(text)
                if match := _BUILT.search(text):
                    job.image_id = match[1]
            elif isinstance(aux := message.get("aux"), dict):
                job.image_id = str(aux.get("ID") or job.image_id)
            elif "status" in message:
                layers.note(message)


def _took_too_long(job: Job) -> Conflict:
    """Names the step that ran, whose line is marked."""
    message = f"The build was stopped: it took longer than {job.options.timeout} s."
    if (step := job.stopped_at) is None:
        return Conflict(message, "Give it more time.")
    if step.line:
        job.build.failed_line = step.line
        _save(job.build)
        message = f"{job.build.dockerfile_path or 'Dockerfile'} line {step.line}: {message}"
    return Conflict(message, f"Give it more time, or see what kept this step for {step.seconds:.0f} s: {step.text}")


def _with_place(job: Job, error: EngineError, line: int) -> GantryError:
    """The engine's error with the place in the Dockerfile, and names near one that was not found."""
    message = error.message
    if line and not line_of(message):
        message = f"{job.build.dockerfile_path or 'Dockerfile'} line {line}: {message}"
    hint = ""
    if (match := _MISSING.search(message)) and job.context.file:
        near = difflib.get_close_matches(match[1], _names(job.context.file), 3, 0.5)
        hint = f"Did you mean {', '.join(near)}?" if near else ""
    return GantryError(
        message, hint or ("The step’s output says more; the line is marked in the Dockerfile." if line else "")
    )


def _names(archive: Path, most: int = 20_000) -> list[str]:
    found = []
    with tarfile.open(archive) as tar:
        for info in tar:
            found.append(shown(info.name.removeprefix("./")))
            if len(found) >= most:
                break
    return found


async def _inspect(engine: Engine, job: Job) -> Inspected:
    """The image that was made, and its history."""
    name = job.image_id or (job.build.tags[0] if job.build.tags else "")
    if not name:
        raise Conflict("The engine said that it had built an image, and not which.", "Give it a tag.")
    image = await engine.get(f"/images/{segment(name)}/json")
    history = await engine.get(f"/images/{segment(name)}/history")
    return image, history or []


def _save(build: Build) -> None:
    """Write it, unless another run has taken the operation over since this one began."""
    operation = build.operation
    with transaction.atomic():
        mine = Operation.objects.select_for_update().filter(pk=operation.pk, claim=operation.claim)
        if mine.exists():
            build.save()
            publish(f"operation.{operation.pk}")


def _save_image(job: Job, found: Inspected) -> None:
    image, history = found
    build = job.build
    build.image_id = str(image["Id"])
    if not build.image_id.startswith("sha256:"):
        build.image_id = f"sha256:{build.image_id}"
    build.size = int(image.get("Size") or 0)
    build.layers = [
        {"created_by": job.mask(str(each.get("CreatedBy", "")))[:500], "size": int(each.get("Size") or 0)}
        for each in reversed(history)
    ]
    _save(build)
