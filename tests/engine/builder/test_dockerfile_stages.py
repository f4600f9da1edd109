"""Which stages a target needs, and in which order."""

import pytest
from gantry_agent.engine.builder.dockerfile import DockerfileError, Names, Plan, link, parse, parse_trigger, plan
from hypothesis import given
from hypothesis import strategies as st

APP = """\
ARG BASE=debian
FROM $BASE AS tools
RUN a
FROM tools AS build
COPY . .
FROM build AS test
RUN b
FROM scratch AS docs
COPY --from=tools /x /y
FROM alpine:3
COPY --from=Build /a /b
COPY --from=nginx:latest /c /d
RUN --mount=type=bind,from=docs,target=/e f
"""


def planned(text: str, target: str = "", **args: str) -> Plan:
    return plan(parse(text), {"BASE": "debian", **args}, target)


@pytest.mark.parametrize(
    ("target", "order"),
    [
        ("", (0, 1, 3, 4)),
        ("tools", (0,)),
        ("TEST", (0, 1, 2)),
        ("docs", (0, 3)),
        ("4", (0, 1, 3, 4)),
        ("0", (0,)),
    ],
)
def test_a_target_needs_what_it_is_made_of(target: str, order: tuple[int, ...]) -> None:
    found = planned(APP, target)
    assert (found.order, found.target) == (order, order[-1])


def test_stages_wait_only_for_what_they_use() -> None:
    found = planned(APP)
    assert found.waits == {0: set(), 1: {0}, 3: {0}, 4: {1, 3}}
    assert found.linked[0].images == {"debian"}
    assert found.linked[3].images == set()
    assert found.linked[4].images == {"alpine:3", "nginx:latest"}
    assert [(each.instruction.place.line, each.stage, each.image) for each in found.linked[4].needs] == [
        (11, 1, ""),
        (12, None, "nginx:latest"),
        (13, 3, ""),
    ]


def test_from_follows_its_variable() -> None:
    text = "ARG KIND\nFROM a AS one\nFROM b AS two\nFROM ${KIND} AS last\n"
    assert planned(text, KIND="one").order == (0, 2)
    assert planned(text, KIND="Two").order == (1, 2)
    assert planned(text, KIND="three").linked[2].images == {"three"}


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("FROM a\nFROM b\nCOPY --from=0 x y", (0, 1)),
        ("FROM a AS x\nFROM b AS x\nFROM c\nCOPY --from=x y z", (1, 2)),
        ("FROM a AS x\nFROM x AS x\nFROM x", (0, 1, 2)),
        ("FROM a AS x\nFROM b\nCOPY --from=9x y z", (1,)),
        ("FROM a\nFROM 0", (1,)),
        ("FROM a AS alpine\nFROM b\nRUN --mount=from=alpine,target=/x y", (0, 1)),
        ("FROM a AS x\nFROM b\nRUN --mount=type=cache,from=x,target=/x y", (0, 1)),
        ("FROM a AS x\nFROM b\nRUN --mount=type=tmpfs,from=x,target=/x y", (1,)),
        ("FROM a AS x\nFROM b\nRUN --mount=type=$T,from=x,target=/x y", (0, 1)),
        ("FROM a AS x\nFROM b\nRUN --mount=from=0,target=/x y", (1,)),
        ("FROM alpine AS alpine", (0,)),
        ("FROM scratch AS scratch\nFROM scratch", (0, 1)),
        ("FROM a AS x\nFROM b\nONBUILD COPY --from=x y z", (1,)),
    ],
)
def test_names_are_stages_of_before(text: str, order: tuple[int, ...]) -> None:
    assert planned(text).order == order


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("FROM a AS x\nCOPY --from=x y z", 2, "circular dependency detected on stage: x"),
        ("FROM a\nCOPY --from=0 y z", 2, "circular dependency detected on stage: stage-0"),
        ("FROM a AS x\nCOPY --from=y b c\nFROM x AS y\n", 2, "circular dependency detected on stage: x"),
        ("FROM a AS x\nCOPY --from=z b c\nFROM a AS y\nCOPY --from=x b c\nFROM a AS z\nRUN --mount=from=y b",
         2, "circular dependency detected on stage: x"),
        ("FROM a AS x\nFROM b AS y\nCOPY --from=z c d\nFROM e AS z\nFROM y",
         3, 'cannot copy from stage "z", it needs to be defined before current stage "y"'),
        ("FROM a\nRUN --mount=from=z,target=/c d\nFROM e AS z\nFROM b\nCOPY --from=0 c d",
         2, 'cannot copy from stage "z", it needs to be defined before current stage "stage-0"'),
        ("FROM a\nFROM b\nCOPY --from=2 x y", 3, "invalid stage index 2: the last one is 1"),
        ("FROM ${x", 1, "failed to process \"${x\": syntax error: missing '}'"),
    ],
)  # fmt: skip
def test_what_waits_for_itself_or_for_later_is_refused(text: str, line: int, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        planned(text)
    assert (caught.value.place.line, caught.value.text.replace(message, "")) == (line, "")


def test_what_is_wrong_with_stages_not_needed_does_not_matter() -> None:
    text = "FROM a AS x\nFROM b AS y\nCOPY --from=z c d\nFROM e AS z\n"
    assert planned(text, "x").order == (0,)
    with pytest.raises(DockerfileError, match="cannot copy from stage"):
        planned(text, "y")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("tols", 'target stage "tols" could not be found (did you mean tools?)'),
        ("nothing", 'target stage "nothing" could not be found'),
        ("5", 'target stage "5" could not be found'),
        ("-1", 'target stage "-1" could not be found'),
        ("stage-4", 'target stage "stage-4" could not be found'),
    ],
)
def test_an_unknown_target_is_refused(target: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        planned(APP, target)
    assert caught.value.message == message


def test_triggers_of_a_base_image_know_the_stages() -> None:
    dockerfile = parse("FROM a AS config\nFROM b\n")
    needs = Names(dockerfile.stages).needs([parse_trigger("COPY --from=Config /x /y"), parse_trigger("RUN z")], 1)
    assert [(each.stage, each.image) for each in needs] == [(0, "")]


def planned_on(trigger: str, text: str) -> Plan:
    """The plan of a file whose image `base` has that trigger."""
    triggers = [parse_trigger(trigger)]
    return plan(parse(text), {}, "", lambda linked: triggers if linked.base.image == "base" else ())


def test_what_triggers_of_a_base_take_is_needed_and_waited_for() -> None:
    text = "FROM a AS tools\nFROM tools AS config\nFROM base AS unused\nFROM b AS other\nFROM base\n"
    found = planned_on("COPY --from=config /x /y", text)
    assert found.waits == {0: set(), 1: {0}, 4: {1}}
    found = planned_on("RUN --mount=from=nginx,target=/x y", "FROM a\nFROM base\n")
    assert (found.order, found.linked[1].images) == ((1,), {"base", "nginx"})


def test_triggers_of_a_stage_take_part_where_they_are_pulled() -> None:
    text = "FROM a AS x\nFROM b AS y\nONBUILD COPY --from=x /x /y\nFROM y AS z\nFROM z\n"
    assert planned(text).waits == {0: set(), 1: set(), 2: {0, 1}, 3: {2}}
    assert planned(text, "y").order == (1,)


@pytest.mark.parametrize(
    ("trigger", "message"),
    [
        ("COPY --from=1 /x /y", "circular dependency detected on stage: own"),
        ("COPY --from=own /x /y", "circular dependency detected on stage: own"),
        ("RUN --mount=from=own,target=/x y", "circular dependency detected on stage: own"),
        ("COPY --from=3 /x /y", "invalid stage index 3: the last one is 2"),
        ("COPY --from=2 /x /y", 'cannot copy from stage "later", it needs to be defined before current stage "own"'),
    ],
)
def test_triggers_that_take_from_no_stage_above_are_refused(trigger: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        planned_on(trigger, "FROM a\nFROM base AS own\nFROM own AS later\n")
    assert (caught.value.place.file, caught.value.place.line, caught.value.text) == ("ONBUILD", 1, message)


def test_a_chain_longer_than_the_stack_is_walked() -> None:
    text = "FROM a AS s0\n" + "".join(f"FROM a AS s{i + 1}\nCOPY --from=s{i} b c\n" for i in range(3000))
    assert len(planned(text).order) == 3001
    backwards = "".join(f"FROM a AS s{i}\nCOPY --from=s{(i + 1) % 3000} b c\n" for i in range(3000))
    with pytest.raises(DockerfileError, match="circular dependency"):
        link(parse(backwards), {})


@given(st.lists(st.tuples(st.integers(-3, 9), st.integers(0, 9)), min_size=1, max_size=10))
def test_every_stage_comes_behind_what_it_needs(edges: list[tuple[int, int]]) -> None:
    lines = []
    for index, (base, source) in enumerate(edges):
        lines.append(f"FROM {f's{base}' if 0 <= base < index else 'image'} AS s{index}")
        if source < index:
            lines.append(f"COPY --from={source} a b")
    found = planned("\n".join(lines))
    reached, waiting = set(), [len(edges) - 1]
    while waiting:
        index = waiting.pop()
        reached.add(index)
        base, source = edges[index]
        waiting += [each for each in {base, source} if 0 <= each < index and each not in reached]
    assert set(found.order) == reached
    for place, index in enumerate(found.order):
        assert found.waits[index] <= set(found.order[:place])
