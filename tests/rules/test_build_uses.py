"""A build takes the right to pull every image it uses, and keeps to the rules, on real engines."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest

from controlplane.access.models import User
from controlplane.access.rights import forget
from controlplane.operations.models import AuditEntry, Operation, Outcome, State
from hosts.models import Host
from hosts.rules.rules import parse_images
from images.builds import actions, uploading
from images.builds.asked import Options, Source
from images.builds.models import Upload
from tests.images.working import run
from tests.rules.conftest import Place, grant
from tests.support.gitserver import GitServer

pytestmark = [pytest.mark.root, pytest.mark.django_db(transaction=True)]
NAME = "shop/web:dev-built"


def built(actor: User, place: Place, source: Source | str, **options: Any) -> Operation:
    source = Source("typed", dockerfile=source) if isinstance(source, str) else source
    return run(actions.start(actor, source, Options(**{"host": place.host.pk, "tags": [NAME], **options})))


def refused(operation: Operation, *words: str, verb: str = "image.pull") -> None:
    assert operation.state == State.FAILED, operation.state
    for word in (verb, *words) if verb == "image.pull" else words:
        assert word in operation.error, operation.error
    entry = AuditEntry.objects.filter(outcome=Outcome.REFUSED).latest("pk")
    assert (entry.verb, entry.outcome, entry.operation) == (verb, Outcome.REFUSED, operation)


def has(place: Place, name: str) -> bool:
    return bool(place.engine.request("GET", f"/images/{name}/json")[0] == 200)


def packed(*entries: tuple[str, str] | tarfile.TarInfo) -> bytes:
    """A tar of (name, text), or of headers as they are."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for each in entries:
            if isinstance(each, tarfile.TarInfo):
                tar.addfile(each)
            else:
                info = tarfile.TarInfo(each[0])
                info.size = len(each[1])
                tar.addfile(info, io.BytesIO(each[1].encode()))
    return buffer.getvalue()


def upload_of(actor: User, content: bytes) -> Upload:
    upload = uploading.begin(actor, "files")
    uploading.append(upload, 0, content)
    return uploading.finish(upload, len(content))


def test_ones_own_bases_are_built_on(place: Place, dev: User) -> None:
    text = "ARG V=1\nFROM shop/web:dev-$V AS one\nRUN echo x > /x\nFROM shop/web:dev-1\nCOPY --from=one /x /x\n"
    operation = built(dev, place, text)
    assert operation.state == State.SUCCEEDED, operation.error


def test_everything_that_reads_an_image_of_others(place: Place, dev: User) -> None:
    for line, text in (
        (1, "FROM secret/app:prod\n"),
        (1, "FROM secret/app:prod AS unused\nFROM shop/web:dev-1\n"),
        (2, "FROM shop/web:dev-1\nCOPY --from=secret/app:prod /etc/extra /x\n"),
        (2, "FROM shop/web:dev-1\nONBUILD COPY --from=secret/app:prod /etc/extra /x\n"),
        (2, "FROM shop/web:dev-1\nRUN --mount=from=secret/app:prod,target=/m cp /m/etc/extra /x\n"),
        (2, "ARG B=secret/app:prod\nFROM $B\n"),
        (1, f"FROM {place.id_of('secret/app:prod')}\n"),
        (1, f"FROM {place.id_of('secret/app:prod')[7:19]}\n"),
        (1, f"FROM shop/web@{place.id_of('secret/app:prod')}\n"),
    ):
        operation = built(dev, place, text)
        refused(operation, f"line {line} of the Dockerfile")
        assert not has(place, NAME), text


def test_a_target_that_needs_less_is_no_way_round(place: Place, dev: User) -> None:
    refused(built(dev, place, "FROM shop/web:dev-1 AS one\nFROM secret/app:prod\n", target="one"), "line 2")


def test_an_argument_that_is_given(place: Place, dev: User) -> None:
    text = "ARG B=shop/web:dev-1\nFROM $B\n"
    refused(built(dev, place, text, args={"B": "secret/app:prod"}), "line 2")
    assert built(dev, place, text).state == State.SUCCEEDED


def test_a_cache_to_build_from(place: Place, dev: User) -> None:
    refused(built(dev, place, "FROM shop/web:dev-1\n", cache_from=["secret/app:prod"]), "the cache to build from")


def test_what_a_base_brings_along(place: Place, dev: User) -> None:
    """Made elsewhere, so that nobody was asked for it."""
    from tests.support.images import busybox

    evil = busybox(extra=b"evil", OnBuild=["COPY --from=secret/app:prod /etc/extra /x"])
    place.engine.load(evil.archive("shop/web:dev-evil"))
    refused(built(dev, place, "FROM shop/web:dev-evil\n"), "line 1")


def test_a_base_that_got_its_name_on_the_host(place: Place, dev: User) -> None:
    place.engine.cli("tag", "secret/app:prod", "shop/web:dev-9")
    operation = built(dev, place, "FROM shop/web:dev-9\n")
    refused(operation)
    assert "secret" not in operation.error


def test_uploads_of_files(place: Place, dev: User) -> None:
    fine = upload_of(dev, packed(("Dockerfile", "FROM shop/web:dev-1\nCOPY x /x\n"), ("x", "1")))
    assert built(dev, place, Source("upload", upload=fine.pk)).state == State.SUCCEEDED
    other = upload_of(dev, packed(("Dockerfile", "FROM secret/app:prod\n")))
    refused(built(dev, place, Source("upload", upload=other.pk)), "line 1")
    link = tarfile.TarInfo("Dockerfile")
    link.type, link.linkname = tarfile.LNKTYPE, "other"
    shown = ("Dockerfile", "FROM shop/web:dev-1\n")
    for content in (
        packed(shown, ("other", "FROM secret/app:prod\n"), link),
        packed(shown, ("./Dockerfile", "FROM shop/web:dev-1\n# another\n")),
    ):
        operation = built(dev, place, Source("upload", upload=upload_of(dev, content).pk))
        assert operation.state == State.FAILED
        assert "one plain file" in operation.error


def test_a_repository_of_git(place: Place, dev: User, settings: Any) -> None:
    settings.GIT_NETWORKS = ["127.0.0.0/8"]
    with GitServer() as server:
        repository = server.create("team/app", {"Dockerfile": "FROM secret/app:prod\n"})
        refused(built(dev, place, Source("git", url=repository.url)), "line 1")


def test_whoever_may_pull_everything_there_is_asked_nothing(place: Place, dev: User, staging: Any) -> None:
    grant(dev, staging, "**", role="developer")
    forget(dev)
    text = f"FROM secret/app:prod AS a\nFROM {place.id_of('shop/web:dev-1')}\nCOPY --from=a /etc/extra /x\n"
    operation = built(dev, place, text)
    assert operation.state == State.SUCCEEDED, operation.error


MOUNT = "RUN --mount=type=cache,id=common,target=/cache"


def test_a_cache_is_for_those_alone_who_may_use_all_that_goes_into_it(
    place: Place, ada: User, dev: User, staging: Any
) -> None:
    if place.host.engine_kind == "docker":
        pytest.skip("its classic builder mounts no caches")
    base = "FROM shop/web:dev-1\n"
    filled = built(ada, place, f"{base}{MOUNT} touch /cache/$(whoami) /cache/secret && ls /cache\n")
    assert filled.state == State.SUCCEEDED, filled.error
    eve = User.objects.create(username="eve", password="!")
    grant(eve, staging, "shop/*", tags="dev-*", role="developer")
    for who, found in ((dev, "none"), (eve, "none"), (dev, "mine"), (ada, "secret")):
        text = f"{base}{MOUNT} cd /cache; ls secret 2>/dev/null || ls mine 2>/dev/null || echo none; touch mine\n"
        operation = built(who, place, text, cache=False)
        assert operation.state == State.SUCCEEDED, operation.error
        said = "\n".join(operation.output.values_list("text", flat=True)).splitlines()
        assert [line for line in said if line in ("none", "mine", "secret")] == [found], said


def test_on_podman_whose_caches_are_everybodys_one_has_to_be_allowed_everything(
    place: Place, ada: User, dev: User
) -> None:
    """Said before anything is asked of the engine."""
    Host.objects.filter(pk=place.host.pk).update(engine_kind="podman")
    refused(built(dev, place, f"FROM shop/web:dev-1\n{MOUNT} true\n"), "share the cache", "line 2")


def test_the_rules_of_the_environment(place: Place, ada: User) -> None:
    place.rules(images=parse_images("shop/** : v*"))
    named = {"tags": ["shop/web:v2"]}
    assert built(ada, place, "FROM shop/web:dev-1\n", **named).state == State.SUCCEEDED, "they speak of what runs"
    refused(built(ada, place, "FROM shop/web:dev-1\n"), NAME, verb="image.build")
    further = built(ada, place, "FROM shop/web:dev-1\n", tags=["shop/web:v2", "secret/app:1"])
    refused(further, "every name that it gives", verb="image.build")
    assert "secret" not in further.error, "who sees it by its first name is not told the others"
    place.rules(images=parse_images("shop/** : v*"), for_bases=True)
    refused(built(ada, place, "FROM shop/web:dev-1\n", **named), "line 1", verb="image.build")
    place.engine.cli("tag", "shop/web:dev-1", "shop/web:v1")
    assert built(ada, place, "FROM shop/web:v1\n", **named).state == State.SUCCEEDED
    place.rules(own_namespaces=True, memory=1 << 26)
    operation = built(ada, place, "FROM shop/web:v1\nRUN --network=host true\n", memory=1 << 27)
    refused(operation, "--network=host", "Options.Memory", verb="image.build")
