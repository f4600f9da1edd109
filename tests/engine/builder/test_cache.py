"""What a build finds done already, and what it does not."""

import json

import pytest

from tests.conftest import need
from tests.engine.builder.building import BASE, Files, build, send
from tests.engine.tars import entry, tar_of
from tests.support.engines import Native, unique
from tests.support.images import busybox, busybox_why_not
from tests.support.waiting import eventually

pytestmark = pytest.mark.root

COPYING = f"FROM {BASE}\nCOPY a /dest/\nRUN echo done > /done\n"


def test_times_do_not_count_contents_names_and_modes_do(engine: Native) -> None:
    mark = unique()
    first = build(engine, COPYING, {"a/f": mark})
    again = build(engine, COPYING, {"a/f": mark}, mtime=1_800_000_000)
    assert (again.cached, again.image) == (2, first.image)
    assert build(engine, COPYING, {"a/f": mark + "!"}).cached == 0
    assert build(engine, COPYING, {"a/g": mark}).cached == 0
    assert build(engine, COPYING, {"a/f": mark}).cached == 2


def test_nocache_does_everything_again(engine: Native) -> None:
    files = {"a/f": unique()}
    build(engine, COPYING, files)
    assert build(engine, COPYING, files, nocache=1).cached == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("HEALTHCHECK CMD true", "HEALTHCHECK CMD false"),
        ("ONBUILD RUN true", "ONBUILD RUN false"),
        ("ENV A=1", "ENV A=2"),
        ("WORKDIR /a", "WORKDIR /b"),
        ('SHELL ["/bin/sh", "-c"]', 'SHELL ["/bin/sh", "-ec"]'),
        ("RUN --network=none true", "RUN true"),
        ("COPY --chown=1 f /f", "COPY --chown=2 f /f"),
        ("COPY --chmod=600 f /f", "COPY --chmod=644 f /f"),
        ("HEALTHCHECK --start-interval=1s CMD true", "HEALTHCHECK --start-interval=9s CMD true"),
        ('ENV A="b c=d"', "ENV A=b c=d"),
        ('LABEL a="b c=d"', "LABEL a=b c=d"),
        ('VOLUME ["/a /b"]', 'VOLUME ["/a", "/b"]'),
        ('SHELL ["/bin/sh", "-c", "true x"]', 'SHELL ["/bin/sh", "-c", "true", "x"]'),
        ('RUN ["touch", "/a b"]', 'RUN ["touch", "/a", "b"]'),
        ("ADD --unpack=false f /f", "ADD f /f"),
    ],
)
def test_whatever_differs_before_a_step_is_another_image_to_it(engine: Native, one: str, other: str) -> None:
    """CVE-2024-24557: Docker took a step from the cache although HEALTHCHECK or ONBUILD before it differed."""
    dockerfile = f"FROM {BASE}\nLABEL of={unique()}\n{{}}\nRUN echo x > /x\n"
    build(engine, dockerfile.format(one), {"f": ""})
    assert build(engine, dockerfile.format(other), {"f": ""}).cached == 1
    assert build(engine, dockerfile.format(one), {"f": ""}).cached == 3


def test_arguments_count_where_they_are_seen_and_proxies_do_not(engine: Native) -> None:
    dockerfile = f"FROM {BASE}\nARG WHO\nRUN echo $WHO > /who\n"
    mark = unique()

    def cached(**args: str) -> int:
        return build(engine, dockerfile, buildargs=json.dumps(args)).cached

    cached(WHO=mark)
    assert cached(WHO=mark) == 2
    assert cached(WHO=mark, HTTP_PROXY="http://other") == 2
    assert cached(WHO=mark + "!") == 1, "ARG itself says no value"


def test_where_an_argument_ends_counts(engine: Native) -> None:
    dockerfile = f"FROM {BASE}\nLABEL of={unique()}\nARG {{}}\nRUN echo $A > /a\n"
    build(engine, dockerfile.format('A="x B=y" C=z'))
    assert build(engine, dockerfile.format('A=x B="y C=z"')).cached == 2, "all but RUN"


def test_files_of_a_stage_keep_their_owner_whatever_was_built_before(engine: Native) -> None:
    mark = unique()
    stage = f"FROM {BASE} AS one\nRUN echo {mark} > /f; chown 5:6 /f\n"

    def owner(copy: str) -> str:
        text = f"{stage}FROM {BASE}\n{copy}\n"
        members = [entry("Dockerfile", text.encode()), entry("f", f"{mark}\n".encode(), mode=0o644, uid=5, gid=6)]
        image = send(engine, tar_of(members)).image
        return engine.cli("run", "--rm", "--network=none", image, "stat", "-c", "%u:%g", "/f")

    assert owner("COPY f /f") == "0:0\n"
    assert owner("COPY --from=one /f /f") == "5:6\n"
    assert owner("COPY f /f") == "0:0\n"


def test_what_is_built_from_nothing_is_for_the_platform_asked_for(engine: Native) -> None:
    files = {"f": unique()}
    for architecture in ("amd64", "arm64", "amd64"):
        image = build(engine, "FROM scratch\nCOPY f /f\nENV A=1\n", files, platform=f"linux/{architecture}").image
        assert engine.expect("GET", f"/images/{image}/json")["Architecture"] == architecture


def test_tenants_share_nothing(engine: Native) -> None:
    """Nobody learns from a build's speed what another built, nor gets what another made."""
    files: Files = {"a/f": unique()}
    build(engine, COPYING, files, headers={"X-Gantry-Tenant": "one"})
    assert build(engine, COPYING, files, headers={"X-Gantry-Tenant": "two"}).cached == 0
    assert build(engine, COPYING, files).cached == 0
    assert build(engine, COPYING, files, headers={"X-Gantry-Tenant": "one"}).cached == 2


def test_a_named_source_gives_its_layers(engine: Native) -> None:
    files: Files = {"a/f": unique()}
    name = f"{unique()}:1"
    made = build(engine, COPYING, files, headers={"X-Gantry-Tenant": "builder"}, t=name).image
    taken = build(engine, COPYING, files, headers={"X-Gantry-Tenant": "other"}, cachefrom=json.dumps([name]))
    assert taken.cached == 2
    layers = [engine.expect("GET", f"/images/{image}/json")["RootFS"]["Layers"] for image in (made, taken.image)]
    assert layers[0] == layers[1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "RUN --mount=type=bind,source=m,target=/m cat /m > /x",
            "RUN --mount=type=bind,source=m,target=/m cat /m > /x",
        ),
        ("RUN touch /x", "RUN --network=none touch /x"),
        ("COPY --chmod=600 f /f", "COPY --chmod=644 f /f"),
        ("COPY f /f", "COPY --link f /f"),
        ("ADD f /f", "ADD --unpack=false f /f"),
        ('RUN ["touch", "/a b"]', 'RUN ["touch", "/a", "b"]'),
    ],
)
def test_a_named_source_gives_no_layer_whose_history_leaves_something_out(engine: Native, one: str, other: str) -> None:
    name, mark = f"{unique()}:1", unique()
    build(engine, f"FROM {BASE}\n{one}\n", {"f": mark, "m": "1"}, headers={"X-Gantry-Tenant": unique()}, t=name)
    taken = build(
        engine,
        f"FROM {BASE}\n{other}\n",
        {"f": mark, "m": "2"},
        headers={"X-Gantry-Tenant": unique()},
        cachefrom=json.dumps([name]),
    )
    assert (taken.error, taken.cached) == ("", 0)


def test_what_was_copied_from_a_stage_counts_by_content(engine: Native) -> None:
    mark = unique()
    stage = f"FROM {BASE} AS b\nCOPY f /f\nRUN cp /f /out && date >> /log\n"
    dockerfile = f"{stage}FROM {BASE}\nCOPY --from=b /out /out\nRUN cat /out\n"
    build(engine, dockerfile, {"f": mark})
    other = build(engine, dockerfile, {"f": mark}, nocache=1)
    assert other.cached == 0
    changed = dockerfile.replace("date", "date ")
    assert build(engine, changed, {"f": mark}).cached == 3, "the stage is built anew, its outcome is the same"


def test_steps_are_no_images_until_one_is_named_and_go_with_the_cache(engine: Native) -> None:
    before = {each["Id"] for each in engine.expect("GET", "/images/json")}
    image = build(engine, f"FROM {BASE}\nLABEL a={unique()}\nRUN echo 1 > /{unique()}\nENV B=1\n", t="named:1").image
    listed = {each["Id"] for each in engine.expect("GET", "/images/json")} - before
    assert listed == {image}
    steps = {each["Id"] for each in engine.expect("GET", "/images/json", all="true")} - before
    assert len(steps) >= 3
    records = {each["ID"] for each in engine.expect("GET", "/system/df")["BuildCache"]}
    assert steps - {image} <= records
    engine.expect("POST", "/build/prune")
    assert engine.expect("GET", "/system/df")["BuildCache"] == []
    assert {each["Id"] for each in engine.expect("GET", "/images/json", all="true")} - before == {image}
    assert engine.cli("run", "--rm", "--network=none", "named:1", "echo", "runs") == "runs\n"
    assert engine.cli("builder", "prune", "-f").startswith("Total")


def test_the_cache_keeps_within_its_size() -> None:
    """What was not used for longest goes first."""
    need(Native.why_not(), busybox_why_not())
    with Native(build_cache_size=3_000_000) as small:
        small.load(busybox().archive(BASE))
        dockerfile = f"FROM {BASE}\nRUN head -c 1000000 /dev/urandom > /{{}}\nRUN rm /{{}}\nLABEL a=b\n"
        for name in "abcdef":
            small.expect("POST", "/images/prune")
            build(small, dockerfile.format(name, name), t="latest-one")

        def kept() -> int:
            return int(small.expect("GET", "/system/df")["BuilderSize"])

        eventually(lambda: kept() <= 3_000_000, what=f"at most 3 MB, not {kept()}")
        assert kept() > 0
