"""What is judged is what is built, whoever asks and however the Dockerfile is sent: on each real engine."""

from __future__ import annotations

import tarfile
from typing import Any

import pytest

from controlplane.access.models import User
from controlplane.operations.models import AuditEntry, Operation, Outcome, State
from hosts.rules.rules import parse_images
from images.builds import actions
from images.builds.asked import Options, Source
from images.builds.models import Build
from tests.builds.conftest import ENGINES
from tests.images.working import run
from tests.rules.conftest import Place
from tests.rules.test_build_uses import NAME, built, has, packed, refused, upload_of
from tests.support.engines import EngineProcess
from tests.support.gitserver import GitServer
from tests.support.images import busybox

pytestmark = [pytest.mark.root, pytest.mark.django_db(transaction=True)]
OURS = "FROM shop/web:dev-1\n"
OTHERS = "FROM secret/app:prod\n"
ODD = "# a\u00a0comment\n"
HOST = "RUN --network=host true\n"
NAMESPACES = {"own_namespaces": True}
podman = pytest.mark.parametrize("engine", [ENGINES[2]], indirect=True)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> EngineProcess:
    """Gantry's own engine, Docker Engine, Podman."""
    found: EngineProcess = request.getfixturevalue(request.param)
    return found


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def uploaded(actor: User, *entries: tuple[str, str] | tarfile.TarInfo, path: str = "Dockerfile") -> Source:
    return Source("upload", upload=upload_of(actor, packed(*entries)).pk, dockerfile_path=path)


def saved_before(actor: User, place: Place, source: Source, path: str) -> Operation:
    """A build that was asked for when any path was taken."""
    operation = actions.start(actor, source, Options(host=place.host.pk, tags=[NAME]))
    source.dockerfile_path = path
    Build.objects.filter(operation=operation).update(source=source.as_json())
    return run(operation)


def broken(operation: Operation, *words: str) -> None:
    """It was refused by a rule, and audited."""
    refused(operation, "do not allow", *words, verb="image.build")


def not_built(operation: Operation, place: Place, words: str) -> None:
    assert operation.state == State.FAILED
    assert words in operation.error, operation.error
    assert not has(place, NAME)


@podman
@pytest.mark.parametrize(
    "path", ['["real"]', '["\\u002e\\u002e/real"]', "http://127.0.0.1:9/x", "../real", "a/../real"]
)
def test_a_path_that_podman_takes_for_something_else(place: Place, dev: User, path: str) -> None:
    source = uploaded(dev, ("Dockerfile", OURS), (path, OURS), ("real", OTHERS))
    not_built(saved_before(dev, place, source, path), place, "Expected the path of a Dockerfile")


@podman
def test_such_a_path_in_a_repository(place: Place, dev: User, settings: Any) -> None:
    settings.GIT_NETWORKS = ["127.0.0.0/8"]
    with GitServer() as server:
        repository = server.create("team/app", {"Dockerfile": OURS, '["real"]': OURS, "real": OTHERS})
        source = Source("git", url=repository.url)
        not_built(saved_before(dev, place, source, '["real"]'), place, "Expected the path of a Dockerfile")


@podman
def test_a_template_is_no_dockerfile_on_podman(place: Place, dev: User) -> None:
    text = "#define web:dev none\n#define shop secret\n#define web app\nFROM shop/web:dev-1\n"
    source = uploaded(dev, ("Dockerfile", OURS), ("Dockerfile.in", text))
    not_built(saved_before(dev, place, source, "Dockerfile.in"), place, "does not end in .in")


def test_a_file_that_is_unpacked_through_a_link(place: Place, dev: User) -> None:
    for entries in (
        (("Dockerfile", OURS), link("d", "."), ("d/Dockerfile", OTHERS)),
        (("Dockerfile", OURS), link("c", "."), link("d", "c", tarfile.LNKTYPE), ("d/Dockerfile", OTHERS)),
        (("Dockerfile", OURS), link("../d", "."), ("d/Dockerfile", OTHERS)),
    ):
        not_built(built(dev, place, uploaded(dev, *entries)), place, "one plain file Dockerfile")
    fine = uploaded(dev, ("d/x", "1"), ("Dockerfile", f"{OURS}COPY d /d\n"), link("e", "d"), link("d/y", "x"))
    operation = built(dev, place, fine)
    assert operation.state == State.SUCCEEDED, operation.error


@podman
def test_a_flag_that_a_variable_comes_to(place: Place, dev: User) -> None:
    text = f"{OURS}ARG M=mount=type=bind,from=secret/app:prod,target=/m\nRUN --${{M}} cp /m/etc/extra /x\n"
    refused(built(dev, place, text), "line 3 of the Dockerfile")
    assert not has(place, NAME)


@podman
def test_a_here_document_is_instructions_to_an_engine_that_knows_none(place: Place, dev: User) -> None:
    text = f"{OURS}RUN true <<EOF\nCOPY \\\n  # of others\n  --from=secret/app:prod /etc/extra /x\nEOF\n"
    refused(built(dev, place, text), "line 5 of the Dockerfile")
    assert not has(place, NAME)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{ODD}{OURS}{HOST}", "line 1 of the Dockerfile: found an odd blank"),
        (f"# escape=`\n{OURS}{HOST}", "line 1 of the Dockerfile: found # escape=`"),
        (OURS + "RUN true\n" * 5000 + HOST, "its length"),
        (f'{OURS}RUN --net"work"=host true\n', "line 2 of the Dockerfile"),
        (f"{OURS}ARG N=network\nRUN --${{N}}=host true\n", "line 3 of the Dockerfile"),
        (f"ARG B\nFROM $B\n{HOST}", "Dockerfile line 3: found --network=host"),
        ("FROM ${B}\n", "line 1 of the Dockerfile: found ${B}"),
        (f"{OURS}ONBUILD {HOST}", "Dockerfile line 2: found --network=host"),
    ],
    ids=["an odd blank", "escape", "length", "quotes", "variable", "a base unknown", "no base", "onbuild"],
)
def test_what_cannot_be_read_keeps_no_rule(place: Place, ada: User, text: str, words: str) -> None:
    """Ada may pull everything there."""
    place.rules(**NAMESPACES)
    broken(built(ada, place, text), words)
    assert not has(place, NAME)


@pytest.mark.parametrize("rules", [NAMESPACES, {"no_privileged": True}, {"no_devices": True}], ids=str)
def test_each_rule_of_a_builds_steps_asks_for_text_that_can_be_read(
    place: Place, ada: User, rules: dict[str, Any]
) -> None:
    place.rules(**rules)
    broken(built(ada, place, ODD + OURS), "what all engines read alike")
    assert built(ada, place, OURS).state == State.SUCCEEDED


@pytest.mark.parametrize("rules", [NAMESPACES, {"images": parse_images("shop/**"), "for_bases": True}], ids=["1", "2"])
def test_an_upload_is_read_as_it_is_built(place: Place, ada: User, rules: dict[str, Any]) -> None:
    place.rules(**rules)
    other = ("other", OTHERS + HOST)
    long = f"{OTHERS}{HOST}#{'x' * (1 << 20)}\n"
    for entries, words in (
        ((other, link("Dockerfile", "other")), ""),
        ((("Dockerfile", OURS), other, link("Dockerfile", "other", tarfile.LNKTYPE)), "one plain file"),
        ((("Dockerfile", OURS), link("d", "."), ("d/Dockerfile", OTHERS + HOST)), "one plain file"),
        ((("Dockerfile", OURS), ("Dockerfile", long)), "at most 1 MiB"),
        ((("Dockerfile", long), ("./Dockerfile", OURS)), "one plain file"),
    ):
        not_built(built(ada, place, uploaded(ada, *entries)), place, words)
    many = [(f"ockerfile{n}", "") for n in range(60)]
    beside = upload_of(ada, packed(("Dockerfile", OURS), *many, ("Dockerfile.gantry", OTHERS + HOST)))
    source = Source("typed", dockerfile=OURS, upload=beside.pk)
    not_built(built(ada, place, source), place, "one plain file")


def test_what_a_base_brings_along_is_judged(place: Place, ada: User) -> None:
    text = f"{OURS}COPY --from=shop/web:dev-evil /etc/extra /x\n"
    for trigger, words in (
        ("RUN --network=host true", "(ONBUILD)"),
        ("RUN \u00a0--network=host true", "cannot be read"),
    ):
        base = busybox(extra=trigger.encode(), OnBuild=[trigger])
        place.engine.load(base.archive("docker.io/shop/web:dev-evil"))
        place.rules(**NAMESPACES)
        broken(built(ada, place, "FROM scratch\nFROM shop/web:dev-evil\n"), "line 2", words)
        operation = built(ada, place, text)
        assert operation.state == State.SUCCEEDED, operation.error


@podman
def test_what_a_base_brings_along_is_known_on_podman(place: Place, dev: User) -> None:
    """Whose API does not tell."""
    evil = busybox(extra=b"evil", OnBuild=["COPY --from=secret/app:prod /etc/extra /x"])
    place.engine.load(evil.archive("docker.io/shop/web:dev-evil"))
    for _ in "once", "again":
        refused(built(dev, place, "FROM shop/web:dev-evil\n"), "line 1")
    built_there = "FROM shop/web:dev-1\nONBUILD RUN --network=host true\n"
    assert built(dev, place, built_there).state == State.SUCCEEDED
    place.rules(**NAMESPACES)
    broken(built(dev, place, f"FROM {NAME}\n"), "(ONBUILD)", "line 1")


def test_without_rules_nobody_who_may_pull_everything_is_asked(place: Place, ada: User) -> None:
    before = AuditEntry.objects.filter(outcome=Outcome.REFUSED).count()
    twice = uploaded(ada, ("Dockerfile", OTHERS), ("Dockerfile", ODD + OURS))
    for source in (ODD + OURS, f"ARG B=shop/web:dev-1\nFROM $B\n{ODD}", twice):
        operation = built(ada, place, source)
        assert operation.state == State.SUCCEEDED, operation.error
    assert AuditEntry.objects.filter(outcome=Outcome.REFUSED).count() == before
