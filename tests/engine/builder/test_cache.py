"""What a build finds done already, and what it does not."""

import json

import pytest

from tests.conftest import need
from tests.engine.builder.building import BASE, Files, build
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
