"""Images over the API of the native engine: as Docker answers, by the docker CLI and by request."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import need
from tests.support.engines import Dockerd, EngineProcess, Native, unique
from tests.support.images import TestImage, busybox, busybox_why_not, make_tar

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def native() -> Iterator[Native]:
    """A native engine for this file."""
    need(Native.why_not(), busybox_why_not())
    with Native() as engine:
        yield engine


def small(*names: str, labels: dict[str, str] | None = None, layers: tuple[bytes, ...] = ()) -> TestImage:
    """An image of its own, with a layer for each name."""
    made = tuple(make_tar({name: unique().encode()}) for name in names or ("file",))
    return TestImage((*layers, *made), {"Cmd": ["/bin/sh"], "Labels": labels or {}})


def listed(engine: EngineProcess, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = engine.expect("GET", "/v1.47/images/json", **query)
    return found


def filtered(engine: EngineProcess, **filters: list[str]) -> set[str]:
    """Tags and ids that a filtered list shows."""
    found = listed(engine, filters=json.dumps(filters))
    return {name for each in found for name in [*each["RepoTags"], each["Id"]]}


def removed(answer: Any) -> list[tuple[str, str]]:
    return [pair for record in answer for pair in record.items()]


def test_a_loaded_image_is_listed_and_inspected(native: Native) -> None:
    image, name = small("a", "b", labels={"who": "me"}), f"{unique()}:1"
    native.load(image.archive(name))
    [summary] = [each for each in listed(native) if each["Id"] == image.id]
    assert summary["RepoTags"] == [name]
    assert summary["RepoDigests"] == []
    assert summary["Labels"] == {"who": "me"}
    assert summary["Containers"] == summary["SharedSize"] == -1
    found = native.expect("GET", f"/images/{name}/json")
    assert (found["Id"], found["Config"]["Cmd"], found["Os"]) == (image.id, ["/bin/sh"], "linux")
    assert found["RootFS"]["Layers"] == json.loads(image.configuration)["rootfs"]["diff_ids"]
    assert found["Size"] == summary["Size"] == 2 * len(unique())
    assert found["GraphDriver"]["Data"]["UpperDir"].startswith(str(native.root))


@pytest.mark.docker
def test_inspect_and_history_have_the_fields_that_docker_gives(native: Native) -> None:
    need(Dockerd.why_not())
    image, name = busybox(Env=["A=b"], ExposedPorts={"80/tcp": {}}, Healthcheck={"Test": ["NONE"]}), f"{unique()}:1"
    with Dockerd() as docker:
        answers = []
        for engine in (native, docker):
            engine.load(image.archive(name))
            inspected = engine.expect("GET", f"/v1.41/images/{name}/json")
            [summary] = [each for each in engine.expect("GET", "/v1.41/images/json") if each["Id"] == image.id]
            history = engine.expect("GET", f"/v1.41/images/{name}/history")
            for each in (inspected, summary):
                del each["Size"], each["VirtualSize"]  # Docker counts links' lengths, native the files' content
            for key in ("GraphDriver", "Metadata"):
                del inspected[key]
            summary["RepoDigests"] = summary["RepoDigests"] or []  # Docker 20.10: null, newer ones: []
            answers.append((inspected, summary, [{**step, "Size": 0} for step in history]))
        assert answers[0] == answers[1]


def test_filters_choose_what_is_listed(native: Native) -> None:
    first, second = small(labels={"n": "1", "both": ""}), small(labels={"n": "2", "both": ""})
    one, two = f"team-{unique()}/app:1", f"team-{unique()}/app:2"
    native.load(first.archive(one))
    native.load(second.archive(two))
    assert filtered(native, label=["both", "n=1"]) & {one, two} == {one}
    assert filtered(native, label=["both"]) & {one, two} == {one, two}
    assert filtered(native, reference=["team-*/app:2"]) == {two, second.id}
    assert filtered(native, reference=["team-*"]) == set()
    assert filtered(native, reference=[two.rpartition(":")[0]]) == {two, second.id}
    assert filtered(native, dangling=["true"]) & {one, two} == set()
    assert {one, two} <= filtered(native, dangling=["false"])
    assert {one, two} <= filtered(native, until=["1s"])
    assert filtered(native, until=["2020-01-01"]) == set()
    assert filtered(native, since=[one]) & {one, two} == set()  # made in the same second
    for bad in ({"nonsense": ["1"]}, {"dangling": ["x"]}, {"until": ["soon"]}, {"reference": ["[a"]}):
        assert native.request("GET", "/images/json", filters=json.dumps(bad))[0] == 400
    assert native.request("GET", "/images/json", filters=json.dumps({"since": ["nothing"]}))[0] == 404


def test_an_old_client_is_told_of_dangling_images_in_its_way(native: Native) -> None:
    image = small()
    native.load(image.archive())
    [new] = [each for each in listed(native) if each["Id"] == image.id]
    [old] = [each for each in native.expect("GET", "/v1.41/images/json") if each["Id"] == image.id]
    assert (new["RepoTags"], new["RepoDigests"], "VirtualSize" in new) == ([], [], False)
    assert (old["RepoTags"], old["RepoDigests"]) == (["<none>:<none>"], ["<none>@<none>"])
    assert old["VirtualSize"] == old["Size"]
    native.expect("DELETE", f"/images/{image.id}")


def test_tagging_gives_another_name(native: Native) -> None:
    image, name, other = small(), f"{unique()}:1", unique()
    native.load(image.archive(name))
    assert native.request("POST", f"/images/{name}/tag", repo=f"shop:5000/{other}", tag="v2")[0] == 201
    assert native.request("POST", f"/images/{image.id[7:19]}/tag", repo=other)[0] == 201
    found = native.expect("GET", f"/images/{other}/json")
    assert set(found["RepoTags"]) == {name, f"{other}:latest", f"shop:5000/{other}:v2"}
    for status, source, query in (
        (404, "nothing", {"repo": "a"}),
        (400, name, {"repo": "UPPER"}),
        (400, name, {"repo": "a", "tag": "-"}),
        (400, name, {"repo": f"a@sha256:{'0' * 64}"}),
        (400, name, {}),
    ):
        assert native.request("POST", f"/images/{source}/tag", **query)[0] == status, query


def test_the_last_name_takes_the_image_with_it(native: Native) -> None:
    image, name, other = small("a", "b"), f"{unique()}:1", f"{unique()}:2"
    native.load(image.archive(name, other))
    assert removed(native.expect("DELETE", f"/images/{name}")) == [("Untagged", name)]
    records = removed(native.expect("DELETE", f"/images/{other}"))
    assert records[:2] == [("Untagged", other), ("Deleted", image.id)]
    assert [kind for kind, _ in records[2:]] == ["Deleted"] * 2
    assert native.request("GET", f"/images/{image.id}/json")[0] == 404
    assert native.request("DELETE", f"/images/{other}") == (404, {"message": f"No such image: {other}"})


def test_an_id_with_several_names_must_be_forced(native: Native) -> None:
    image = small()
    native.load(image.archive(f"{unique()}:1", f"{unique()}:1"))
    status, answer = native.request("DELETE", f"/images/{image.id}")
    assert status == 409
    assert answer["message"] == (
        f"conflict: unable to delete {image.id[7:19]} (must be forced) - image is referenced in multiple repositories"
    )
    records = removed(native.expect("DELETE", f"/images/{image.id[7:19]}", force="1"))
    assert [kind for kind, _ in records] == ["Untagged", "Untagged", "Deleted", "Deleted"]


def test_a_layer_that_another_image_has_stays(native: Native) -> None:
    base = small("base")
    upper, name, other = small("top", layers=base.layers), f"{unique()}:1", f"{unique()}:1"
    native.load(base.archive(name))
    native.load(upper.archive(other))
    usage = {each["Id"]: each for each in native.expect("GET", "/system/df")["Images"]}
    assert usage[base.id]["SharedSize"] == usage[base.id]["Size"] == usage[upper.id]["SharedSize"]
    assert usage[upper.id]["Size"] == 2 * usage[base.id]["Size"]
    assert [kind for kind, _ in removed(native.expect("DELETE", f"/images/{other}"))] == [
        "Untagged", "Deleted", "Deleted",
    ]  # fmt: skip
    assert native.expect("GET", f"/images/{name}/json")["Id"] == base.id


def test_an_image_that_a_container_needs_stays(native: Native) -> None:
    image, name = busybox(extra=unique().encode()), f"{unique()}:1"
    native.load(image.archive(name))
    container = native.expect(
        "POST", "/containers/create", {"Image": name, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
    )["Id"]
    status, answer = native.request("DELETE", f"/images/{name}")
    assert (status, answer["message"]) == (
        409,
        f'conflict: unable to remove repository reference "{name}" (must force)'
        f" - container {container[:12]} is using its referenced image {image.id[7:19]}",
    )
    status, answer = native.request("DELETE", f"/images/{image.id}")
    assert (status, answer["message"].partition(" - ")[2]) == (
        409,
        f"image is being used by stopped container {container[:12]}",
    )
    native.expect("DELETE", f"/images/{image.id}", force="1")
    assert native.request("GET", f"/images/{image.id}/json")[0] == 404
    native.expect("POST", f"/containers/{container}/start")
    assert native.expect("POST", f"/containers/{container}/wait")["StatusCode"] == 0
    native.expect("DELETE", f"/containers/{container}")


def test_prune_removes_what_nobody_needs(native: Native) -> None:
    native.expect("POST", "/images/prune", filters='{"dangling": ["false"]}')
    loose, named, kept = small(), small(labels={"env": "test"}), small(labels={"keep": ""})
    for image, names in ((loose, ()), (named, (f"{unique()}:1",)), (kept, (f"{unique()}:1",))):
        native.load(image.archive(*names))
    answer = native.expect("POST", "/images/prune")
    assert ("Deleted", loose.id) in removed(answer["ImagesDeleted"])
    assert answer["SpaceReclaimed"] > 0
    assert native.expect("POST", "/images/prune")["ImagesDeleted"] is None
    answer = native.expect("POST", "/images/prune", filters='{"dangling": ["false"], "label!": ["keep"]}')
    assert ("Deleted", named.id) in removed(answer["ImagesDeleted"])
    assert [each["Id"] for each in listed(native)] == [kept.id]
    answer = native.expect(
        "POST", "/images/prune", filters='{"dangling": ["false"], "until": ["2020-01-01T00:00:00Z"]}'
    )
    assert answer["ImagesDeleted"] is None


def test_events_tell_of_images(native: Native) -> None:
    image, name, other, began = small(labels={"l": "1"}), f"{unique()}:1", f"{unique()}:1", int(time.time())
    native.load(image.archive(name))
    native.expect("POST", f"/images/{name}/tag", repo=other.partition(":")[0], tag="1")
    native.cli("save", "-o", str(native.folder / "saved.tar"), name)
    native.expect("DELETE", f"/images/{name}")
    native.expect("DELETE", f"/images/{other}")
    until = f"{time.time():.9f}"
    lines = native.expect("GET", "/events", since=began, until=until, filters='{"type": ["image"]}')
    events = [json.loads(line) for line in lines.splitlines()]
    ours = [(each["Action"], each["Actor"]["Attributes"]) for each in events if each["Actor"]["ID"] == image.id]
    assert [action for action, _ in ours] == ["load", "tag", "save", "untag", "untag", "delete"]
    assert ours[1][1] == {"name": other, "l": "1"}


def test_the_docker_cli_shows_images(native: Native) -> None:
    image, name = busybox(extra=unique().encode()), unique()
    native.load(image.archive(f"{name}:1"))
    assert name in native.cli("images")
    assert native.cli("images", "-q", name).strip() == image.id[7:19]
    assert "layer 1" in native.cli("history", f"{name}:1")
    assert native.cli("inspect", "--format", "{{.Id}} {{.Config.Cmd}}", f"{name}:1").strip() == f"{image.id} [/bin/sh]"
    assert f"Untagged: {name}:1" in native.cli("rmi", f"{name}:1")
