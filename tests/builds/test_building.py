"""Building on real engines: what is made, what goes wrong and where, secrets, cancelling, lost hosts."""

from __future__ import annotations

import gzip
import io
import tarfile
import time
from typing import Any

import pytest

from controlplane.access.models import User
from controlplane.operations import actions as operations
from controlplane.operations.models import Operation, State
from hosts.models import Environment, Host
from images.builds import actions, uploading
from images.builds.asked import Options, Source
from images.builds.masking import MASK
from images.builds.models import Build, Credential, CredentialKind, Upload
from tests.conftest import need
from tests.images.working import host_of, run, run_in_thread, said
from tests.support.engines import Dockerd, EngineProcess, unique
from tests.support.images import busybox, busybox_why_not
from tests.support.registry import Registry
from tests.support.small_disk import SmallDisk
from tests.support.unixhttp import UnixConnection
from tests.support.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.django_db(transaction=True)]


def typed(text: str, upload: str = "") -> Source:
    return Source("typed", dockerfile=text, upload=upload)


def start(actor: User, host: Host, source: Source, **options: Any) -> Operation:
    return actions.start(actor, source, Options(host=host.pk, **options))


def build_of(operation: Operation) -> Build:
    return Build.objects.get(operation=operation)


def sent(actor: User, files: dict[str, str], *, mode: str = "w") -> Upload:
    """Files as a browser sends them."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as tar:  # type: ignore[call-overload]
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    upload = uploading.begin(actor, "files")
    content = packed.getvalue()
    for at in range(0, len(content), 7000):
        uploading.append(upload, at, content[at : at + 7000])
    return uploading.finish(upload, len(content))


def stream_of(operation: Operation, stream: str) -> list[str]:
    return list(operation.output.filter(stream=stream).values_list("text", flat=True))


def test_a_typed_dockerfile_becomes_an_image(
    administrator: User, builder: Host, engine: EngineProcess, base: str
) -> None:
    name = f"gantry/{unique()}:{{n}}"
    text = f"FROM {base} AS one\nRUN echo made > /made\nFROM {base}\nCOPY --from=one /made /made\nCMD cat /made\n"
    operation = run(start(administrator, builder, typed(text), tags=[name]))
    assert operation.state == State.SUCCEEDED, operation.error
    build = build_of(operation)
    assert build.tags == [name.format(n=operation.pk)]
    image = engine.expect("GET", f"/images/{build.tags[0]}/json")
    assert image["Id"].removeprefix("sha256:") == build.image_id.removeprefix("sha256:")
    assert build.size
    assert build.layers
    assert [(step["stage"], step["line"], step["state"]) for step in build.steps] == [
        (0, 1, "built"),
        (0, 2, "built"),
        (1, 3, "built"),
        (1, 4, "built"),
        (1, 5, "built"),
    ]
    assert len(stream_of(operation, "step")) == len(stream_of(operation, "done")) == 5
    again = run(start(administrator, builder, typed(text), tags=[name]))
    assert "cached" in {step["state"] for step in build_of(again).steps}
    assert build_of(again).before(Build.objects.all()) in (None, build)


def test_of_several_names_the_first_is_told(
    administrator: User, builder: Host, engine: EngineProcess, base: str
) -> None:
    """Whoever finds the build by that reads all of its output."""
    first, further = f"gantry/{unique()}:dev-1", f"gantry/{unique()}:further"
    operation = run(start(administrator, builder, typed(f"FROM {base}\nRUN true\n"), tags=[first, further]))
    assert operation.state == State.SUCCEEDED, operation.error
    for name in (first, further):
        assert engine.expect("GET", f"/images/{name}/json")
    assert first in said(operation)
    assert "and 1 more name" in said(operation)
    assert further not in said(operation) + str(operation.result) + str(operation.progress)


def test_files_are_beside_a_typed_dockerfile_and_their_own_is_not_taken(
    administrator: User, builder: Host, engine: EngineProcess, base: str
) -> None:
    upload = sent(administrator, {"Dockerfile": "FROM nothing", "a/b.txt": "hello", "c.txt": "ciao"})
    assert (upload.files, upload.dockerfiles) == (3, ["Dockerfile"])
    source = typed(f"FROM {base}\nCOPY a /a\nRUN test -f /a/b.txt && test ! -e /c.txt\n", upload.pk)
    operation = run(start(administrator, builder, source, tags=[f"gantry/{unique()}:1"]))
    assert operation.state == State.SUCCEEDED, operation.error


def test_an_uploaded_archive_is_built_with_the_dockerfile_it_names(
    administrator: User, builder: Host, base: str
) -> None:
    upload = sent(administrator, {"docker/web.Dockerfile": f"FROM {base}\nCOPY x /x\n", "x": "1"}, mode="w:gz")
    assert upload.dockerfiles == ["docker/web.Dockerfile"]
    source = Source("upload", upload=upload.pk, dockerfile_path="docker/web.Dockerfile")
    operation = run(start(administrator, builder, source, tags=[f"gantry/{unique()}:1"]))
    assert operation.state == State.SUCCEEDED, operation.error
    assert build_of(operation).dockerfile.startswith("FROM")

    missing = Source("upload", upload=upload.pk)
    operation = run(start(administrator, builder, missing))
    assert operation.state == State.FAILED
    assert "There is no Dockerfile among the files" in operation.error
    assert "docker/web.Dockerfile" in operation.hint


def test_a_step_that_fails_is_told_with_its_line(administrator: User, builder: Host, base: str) -> None:
    name = f"gantry/{unique()}:1"
    source = typed(f"FROM {base}\n\nRUN true\nRUN echo to standard output && \\\n  exit 7\nRUN true\n")
    operation = run(start(administrator, builder, source, tags=[name]))
    build = build_of(operation)
    assert operation.state == State.FAILED
    assert "7" in operation.error
    assert build.failed_line == 4
    assert (build.image_id, build.steps[-1]["state"]) == ("", "failed")
    assert "to standard output" in said(operation)
    assert "failed" in stream_of(operation, "done")[-1]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("FROM {base}\nCPY x /x\n", 2, "CPY"),
        ("FROM {base}\nCOPY --from=nowhere-at-all /x /x\n", 2, ""),
        ("FROM {base}\nCOPY confg.txt /x\n", 2, "confg.txt"),
        ("FROM {base}\nCOPY ../../etc/passwd /x\n", 2, ""),
    ],
    ids=["instruction", "stage", "file", "escape"],
)
def test_what_cannot_be_built_is_told(
    administrator: User, builder: Host, base: str, text: str, line: int, words: str
) -> None:
    upload = sent(administrator, {"config.txt": "x"})
    operation = run(start(administrator, builder, typed(text.format(base=base), upload.pk)))
    assert operation.state == State.FAILED
    assert words in operation.error
    assert operation.hint
    assert build_of(operation).failed_line in (line, None)
    if words == "confg.txt":
        assert "config.txt" in operation.hint + operation.error


@pytest.mark.registry
def test_a_push_follows_and_its_failure_leaves_the_image(
    administrator: User, builder: Host, engine: EngineProcess, base: str, registry: Registry
) -> None:
    good, bad = f"{registry.address}/gantry/{unique()}:1", f"127.0.0.1:1/gantry/{unique()}:1"
    for name, state in ((good, State.SUCCEEDED), (bad, State.FAILED)):
        operation = run(start(administrator, builder, typed(f"FROM {base}\nLABEL a=b\n"), tags=[name], push=True))
        assert operation.state == State.SUCCEEDED, operation.error
        push = Operation.objects.get(kind="image.push", params__build=operation.pk)
        assert run(push).state == state, push.error
        assert engine.request("GET", f"/images/{name}/json")[0] == 200
    again = operations.retry(administrator, push)
    assert again.params["references"] == [bad]


@pytest.mark.registry
def test_a_login_opens_the_registry_of_the_base_and_of_the_push(administrator: User, builder: Host) -> None:
    with Registry(users={"ada": "a-password-of-ada"}) as private:
        base = private.push(busybox(extra=unique().encode()), f"gantry/{unique()}:1")
        login = Credential(name="shop", kind=CredentialKind.REGISTRY, server=private.address, username="ada")
        login.secret = "a-password-of-ada"
        login.save()
        source, name = typed(f"FROM {base}\nLABEL a=b\n"), f"{private.address}/gantry/{unique()}:1"
        refused = run(start(administrator, builder, source, tags=[name]))
        assert refused.state == State.FAILED, "without a login the base stays closed"
        operation = run(start(administrator, builder, source, tags=[name], push=True, logins=["shop"]))
        assert operation.state == State.SUCCEEDED, operation.error
        push = run(Operation.objects.get(kind="image.push", params__build=operation.pk))
        assert push.state == State.SUCCEEDED, push.error
        told = said(refused) + said(operation) + said(push) + str(operation.params) + str(push.params)
        assert "a-password-of-ada" not in told


def secret_of(name: str, value: str, **fields: Any) -> Credential:
    credential = Credential(name=name, kind=CredentialKind.SECRET, **fields)
    credential.secret = value
    credential.save()
    return credential


def test_a_secret_is_read_in_its_step_and_found_nowhere_afterwards(
    administrator: User, builder: Host, engine: EngineProcess, base: str
) -> None:
    value = f"very-{unique()}-secret"
    secret_of("token", value)
    text = (
        f"FROM {base}\n"
        'RUN --mount=type=secret,id=token test "$(wc -c < /run/secrets/token)" -gt 10 && cat /run/secrets/token\n'
        "RUN ! test -s /run/secrets/token && echo marked > /mark\n"
    )
    name = f"gantry/{unique()}:1"
    operation = run(start(administrator, builder, typed(text), tags=[name], secrets=["token"]))
    if builder.engine_kind == "docker":
        assert operation.state == State.FAILED
        assert "takes no build secrets" in operation.error
        return
    assert operation.state == State.SUCCEEDED, operation.error
    assert MASK in said(operation)
    everything = said(operation) + str(build_of(operation).__dict__) + str(operation.__dict__)
    assert value not in everything
    assert value not in str(engine.expect("GET", f"/images/{name}/history"))
    assert value not in str(engine.expect("GET", f"/images/{name}/json"))
    assert any(b"marked" in content for content in saved(engine, name)), "what is looked through is the layers"
    assert not any(value.encode() in content for content in saved(engine, name))
    assert Credential.objects.get(name="token").sealed.find(value) == -1


def saved(engine: EngineProcess, name: str) -> list[bytes]:
    """Every file of the image as `docker save` gives it, layers uncompressed."""
    connection = UnixConnection(engine.socket, 30)
    try:
        connection.request("GET", f"/images/{name}/get")
        answer = connection.getresponse()
        with tarfile.open(fileobj=answer, mode="r|") as tar:
            files = [file.read() for info in tar if info.isreg() and (file := tar.extractfile(info))]
    finally:
        connection.close()
    return [gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content for content in files]


def test_a_secret_of_another_environment_is_refused(administrator: User, native: Host, native_base: str) -> None:
    production = Environment.objects.create(name="Production", slug="production")
    secret_of("token", "x" * 20, environment=production)
    operation = run(start(administrator, native, typed(f"FROM {native_base}"), secrets=["token"]))
    assert operation.state == State.FAILED
    assert "bound to another environment" in operation.error
    assert "Production" not in operation.error, "whoever builds need not see that there is one"


def test_cancelling_ends_the_step_on_the_host(
    administrator: User, builder: Host, engine: EngineProcess, base: str
) -> None:
    mark = unique("sleeper")
    text = f"FROM {base}\nRUN echo {mark} && sleep 600\n"
    operation = start(administrator, builder, typed(text), tags=[f"gantry/{mark}:1"])
    worker = run_in_thread(operation)
    eventually(lambda: mark in stream_text(operation), timeout=60, what="the step runs")
    operations.cancel(administrator, operation)
    worker.join(30)
    operation.refresh_from_db()
    assert operation.state == State.CANCELLED
    assert build_of(operation).steps[-1]["state"] == "cancelled"
    eventually(lambda: not sleeping(engine), timeout=30, what="the step's container is gone")
    assert engine.request("GET", f"/images/gantry/{mark}:1/json")[0] == 404


def stream_text(operation: Operation) -> str:
    return "\n".join(operation.output.filter(stream="stdout").values_list("text", flat=True))


def sleeping(engine: EngineProcess) -> list[str]:
    """Running containers of builds: those whose command sleeps."""
    return [each["Id"] for each in engine.expect("GET", "/containers/json") if "sleep 600" in each["Command"]]


def test_a_build_that_takes_too_long_is_stopped(
    administrator: User, builder: Host, engine: EngineProcess, base: str
) -> None:
    """On every engine: the step's place is told, its container goes, and no image is listed."""
    name = f"gantry/{unique('endless')}:1"
    text = f"FROM {base}\nRUN true\n"
    began = time.monotonic()
    assert run(start(administrator, builder, typed(text))).state == State.SUCCEEDED
    # Enough for what comes before, which is cached now.
    timeout = min(max(20, round(4 * (time.monotonic() - began))), 100)
    text += "RUN sleep 600\n"
    operation = run(start(administrator, builder, typed(text), timeout=timeout, tags=[name]))
    assert operation.state == State.FAILED
    stopped = f"Dockerfile line 3: The build was stopped: it took longer than {timeout} s."
    assert operation.error.startswith(stopped), operation.error
    assert "RUN sleep 600" in operation.hint
    assert build_of(operation).failed_line == 3
    eventually(lambda: not sleeping(engine), timeout=30, what="the step's container is gone")
    assert engine.request("GET", f"/images/{name}/json")[0] == 404


def test_a_lost_host_loses_the_build_and_says_so(
    administrator: User, transactional_db: None, busybox_loaded: Any
) -> None:
    with Dockerd() as engine:
        base = busybox_loaded(engine)
        operation = start(administrator, host_of(engine, "lost"), typed(f"FROM {base}\nRUN echo on && sleep 600\n"))
        worker = run_in_thread(operation)
        eventually(lambda: "on" in stream_text(operation), timeout=60, what="the step runs")
        engine.kill()
        worker.join(40)
    operation.refresh_from_db()
    assert operation.state == State.LOST
    assert "was lost while it built" in operation.error
    assert build_of(operation).steps


def marks(operation: Operation, stream: str) -> list[str]:
    """The steps that one is kept of."""
    lines = operation.output.filter(stream=stream).order_by("seq").values_list("text", flat=True)
    return [text.split("\t")[0] for text in lines]


def test_a_flood_of_output_is_kept_in_part(administrator: User, native: Host, native_base: str) -> None:
    """Where its steps begin and end is kept all the same."""
    text = f"FROM {native_base}\nRUN yes 0123456789 | head -c 20000000\nRUN true\n"
    operation = run(start(administrator, native, typed(text)))
    assert operation.state == State.SUCCEEDED, operation.error
    assert marks(operation, "step") == ["1", "2", "3"]
    assert marks(operation, "done") == ["1", "2", "3"]
    kept = sum(len(text) for text in operation.output.values_list("text", flat=True))
    assert kept < 5_000_000
    assert "more lines were not kept" in said(operation)


@pytest.mark.timeout(600)
def test_five_gigabytes_of_output_end_with_their_place(
    administrator: User, native: Host, native_engine: EngineProcess, native_base: str
) -> None:
    name = f"gantry/{unique('flood')}:1"
    text = f"FROM {native_base}\nRUN true\nRUN yes 0123456789 | head -c 5000000000\n"
    operation = run(start(administrator, native, typed(text), tags=[name]))
    assert operation.state == State.FAILED
    assert operation.error.startswith("Dockerfile:3: RUN: the command prints faster"), operation.error
    assert build_of(operation).failed_line == 3
    assert sum(len(text) for text in operation.output.values_list("text", flat=True)) < 5_000_000
    assert marks(operation, "done") == ["1", "2", "3"]
    assert operation.output.order_by("-seq")[0].text == operation.error
    assert native_engine.request("GET", f"/images/{name}/json")[0] == 404


def test_a_full_disk_ends_a_build_with_its_place(administrator: User, transactional_db: None) -> None:
    need(SmallDisk.why_not(), busybox_why_not())
    with SmallDisk() as engine:
        engine.load(busybox().archive("base:1"))
        text = "FROM base:1\nRUN true\nRUN cat /dev/zero > /big\n"
        operation = run(start(administrator, host_of(engine, "small"), typed(text), tags=["gantry/big:1"]))
        assert operation.state == State.FAILED
        assert operation.error.startswith("Dockerfile:3: RUN: "), operation.error
        assert "disk is nearly full" in operation.error
        assert build_of(operation).failed_line == 3
        assert engine.request("GET", "/images/gantry/big:1/json")[0] == 404


def test_an_argument_that_is_a_secret_is_warned_of(administrator: User, native: Host, native_base: str) -> None:
    source = typed(f"FROM {native_base}\nARG NPM_TOKEN\nRUN true\n")
    operation = run(start(administrator, native, source, args={"NPM_TOKEN": "x"}))
    assert operation.state == State.SUCCEEDED, operation.error
    assert any("NPM_TOKEN stays readable" in each["message"] for each in operation.result["warnings"])


def test_files_that_are_gone_are_told(administrator: User, native: Host) -> None:
    upload = sent(administrator, {"Dockerfile": "FROM x"})
    operation = start(administrator, native, Source("upload", upload=upload.pk))
    upload.path.unlink()
    assert "kept no longer" in run(operation).error
