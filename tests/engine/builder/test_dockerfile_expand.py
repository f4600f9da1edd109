"""Where variables are filled in, from where, and where they stay."""

from typing import Any

import pytest
from gantry_agent.engine.builder.dockerfile import (
    DockerfileError,
    arg_values,
    expand,
    exposed_ports,
    global_args,
    is_kept,
    parse,
    platform_args,
    proxy_env,
)
from gantry_agent.engine.builder.dockerfile.predefined import PLATFORM_ARGS, PROXY_ARGS

ENV = {"A": "x", "TWO": "y z", "EMPTY": ""}


def expanded(text: str, missing: set[str] | None = None) -> Any:
    (instruction,) = parse(f"FROM a\n{text}").stages[0].instructions
    return expand(instruction, ENV, missing=missing)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("ADD --chown=$A --chmod=7$A --checksum=$A $A b$A", {
            "chown": "x", "chmod": "7x", "checksum": "x", "sources": ("x",), "destination": "bx",
        }),
        ("COPY \\$A '$A' \"$TWO\" /$A", {"sources": ("$A", "$A", "y z"), "destination": "/x"}),
        ('COPY ["$A b", "c\\\\ d"]', {"sources": ("x b",), "destination": "c d"}),
        ("COPY --exclude=$A a b", {"exclude": ("$A",)}),
        ("ENV $A=$A b=\"$TWO\" c='$A'", {"pairs": (("x", "x"), ("b", "y z"), ("c", "$A"))}),
        ("ENV A=new b=$A", {"pairs": (("A", "new"), ("b", "x"))}),
        ("ENV a $TWO \"q\"", {"pairs": (("a", "y z q"),)}),
        ("EXPOSE $A $TWO", {"ports": ("x", "y", "z")}),
        ("LABEL \"$A\"=\\$A", {"pairs": (("x", "$A"),)}),
        ("STOPSIGNAL SIG$A", {"signal": "SIGx"}),
        ("USER $A:${UNSET:-0}", {"user": "x:0"}),
        ("VOLUME /$A /b", {"paths": ("/x", "/b")}),
        ('VOLUME ["/$A"]', {"paths": ("/x",)}),
        ("WORKDIR /$A/$UNSET", {"path": "/x/"}),
    ],
)  # fmt: skip
def test_variables_are_filled_in(text: str, fields: dict[str, Any]) -> None:
    instruction = expanded(text)
    assert {name: getattr(instruction, name) for name in fields} == fields
    assert instruction.original == text  # what is written is shown as written


@pytest.mark.parametrize(
    "text",
    [
        "RUN $A",
        "CMD $A",
        'CMD ["$A"]',
        "ENTRYPOINT $A",
        "HEALTHCHECK CMD $A",
        'SHELL ["$A"]',
        "MAINTAINER $A",
        "ONBUILD ENV a=$A",
        "RUN <<E\n$A\nE",
    ],
)
def test_variables_stay_where_others_fill_them_in(text: str) -> None:
    (instruction,) = parse(f"FROM a\n{text}").stages[0].instructions
    assert expand(instruction, ENV) == instruction


def test_the_trigger_of_an_onbuild_is_expanded_when_it_runs() -> None:
    onbuild = expanded("ONBUILD ENV a=$A")
    assert onbuild.trigger.pairs == (("a", "$A"),)
    assert expand(onbuild.trigger, ENV).pairs == (("a", "x"),)


def test_heredocs_of_copy_are_expanded_unless_their_name_is_quoted() -> None:
    copy = expanded("COPY <<E <<'F' <<-G /\nsay \"$A\" \\$A\nE\n$A\nF\n\t$TWO\nG")
    assert [each.content for each in copy.files] == ['say "x" $A\n', "$A\n", "y z\n"]
    assert not any(each.expand for each in copy.files)


def test_mounts_are_read_once_their_variables_are_known() -> None:
    run = expanded("RUN --mount=type=${UNSET:-cache},target=/$A,uid=1 --mount=target=/b,from=c y")
    assert [(each.type, each.target, each.from_, each.ready) for each in run.mounts] == [
        ("cache", "/x", "", True),
        ("bind", "/b", "c", True),
    ]


def test_a_backtick_escapes_when_the_file_says_so() -> None:
    dockerfile = parse("# escape=`\nFROM a\nCOPY C:\\x `$A\\\n")
    copy = expand(dockerfile.stages[0].instructions[0], ENV, dockerfile.escape)
    assert (copy.sources, copy.destination) == (("C:\\x",), "$A\\")


def test_missing_names_are_told() -> None:
    missing: set[str] = set()
    expanded("COPY $A $NONE /${NEITHER:-x}", missing)
    assert missing == {"NONE", "NEITHER"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("USER ${A", "failed to process \"${A\": syntax error: missing '}'"),
        ("ENV a=\"b", 'failed to process "\\"b": unexpected end of statement while looking for matching double-quote'),
        ("WORKDIR ${UNSET:?is needed}", 'failed to process "${UNSET:?is needed}": UNSET: is needed'),
        ("ENV $EMPTY=a", "ENV names can not be blank"),
        ("VOLUME /a $EMPTY", "VOLUME specified can not be an empty string"),
        ("RUN --mount=type=$A b", 'unsupported mount type "x"'),
        ("RUN --mount=type=cache,uid=$A b", "invalid value x for uid"),
    ],
)  # fmt: skip
def test_what_cannot_be_filled_in_is_said_with_its_line(text: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        expanded(text)
    assert caught.value.message == f"dockerfile parse error on line 2: {message}"
    assert caught.value.instruction == text.partition(" ")[0]


def test_ports_of_variables_are_read() -> None:
    dockerfile = parse("FROM a\nEXPOSE $PORTS ${P:-9}/udp\n")
    expose = expand(dockerfile.stages[0].instructions[0], {"PORTS": "80 81-82"})
    assert exposed_ports(expose) == ("9/udp", "80/tcp", "81/tcp", "82/tcp")


def test_from_sees_the_global_args() -> None:
    dockerfile = parse("ARG A=1\nARG B=b$A C\nARG A=2 D=$A$B\nFROM --platform=$BUILDPLATFORM i:$A-$D\n")
    args = global_args(dockerfile.args, {"C": "given"}, platform_args("linux/amd64", "linux/arm/v7"))
    assert {name: args[name] for name in "ABCD"} == {"A": "2", "B": "b1", "C": "given", "D": "2b1"}
    start = expand(dockerfile.stages[0].start, args)
    assert (start.image, start.platform) == ("i:2-2b1", "linux/amd64")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("FROM $NONE", "base name ($NONE) should not be blank"),
        ("FROM --platform=$NONE a", "empty platform value from expression $NONE"),
    ],
)
def test_a_from_that_expands_to_nothing_is_refused(line: str, message: str) -> None:
    with pytest.raises(DockerfileError, match="on line 1: ") as caught:
        expand(parse(line).stages[0].start, {})
    assert caught.value.text == message


def test_an_arg_takes_what_is_given_then_its_default_then_the_global_one() -> None:
    (arg,) = parse("FROM a\nARG A B=b$A C=c$B D E=${X:?no} F").stages[0].instructions
    found = arg_values(arg, {"A": "env"}, {"A": "given", "E": "e"}, {"A": "outer", "B": "outer", "D": "o$A"})
    assert found == [("A", "given"), ("B", "bgiven"), ("C", "cbgiven"), ("D", "o$A"), ("E", "e"), ("F", None)]


def test_an_arg_whose_default_cannot_be_filled_in_is_refused_unless_it_is_given() -> None:
    (arg,) = parse("FROM a\nARG E=${X:?no}").stages[0].instructions
    with pytest.raises(DockerfileError, match=r"line 2: .*X: no"):
        arg_values(arg, {}, {}, {})
    with pytest.raises(DockerfileError, match=r"line 1: .*X: no"):
        global_args(parse("ARG E=${X:?no}\nFROM a").args, {}, {})


def test_platforms_are_taken_apart() -> None:
    args = platform_args("linux/amd64", "linux/arm/v7", given={"TARGETOS": "mine"})
    assert set(args) == {*PLATFORM_ARGS, "TARGETSTAGE"}
    assert {name: value for name, value in args.items() if value} == {
        "BUILDPLATFORM": "linux/amd64",
        "BUILDOS": "linux",
        "BUILDARCH": "amd64",
        "TARGETPLATFORM": "linux/arm/v7",
        "TARGETOS": "mine",
        "TARGETARCH": "arm",
        "TARGETVARIANT": "v7",
        "TARGETSTAGE": "default",
    }


def test_proxies_are_passed_on_but_not_kept() -> None:
    given = {"http_proxy": "p", "NO_PROXY": "n", "OTHER": "o", "FTP_PROXY": ""}
    assert proxy_env(given) == {"HTTP_PROXY": "p", "http_proxy": "p", "NO_PROXY": "n", "no_proxy": "n"}
    assert {name for name in (*PROXY_ARGS, "OTHER", "TARGETARCH") if is_kept(name, ())} == {"OTHER", "TARGETARCH"}
    assert is_kept("HTTP_PROXY", {"HTTP_PROXY"})
