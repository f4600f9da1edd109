"""One instruction at a time: its forms, its flags, what Docker says when it is wrong."""

from dataclasses import replace
from typing import Any

import pytest
from gantry_agent.engine.builder.dockerfile import (
    Command,
    DockerfileError,
    InlineFile,
    Instruction,
    Mount,
    exposed_ports,
    parse,
    parse_trigger,
)
from gantry_agent.engine.builder.dockerfile import instructions as kinds
from gantry_agent.engine.builder.dockerfile.durations import parse_duration
from gantry_agent.engine.builder.dockerfile.errors import Fault
from gantry_agent.engine.errors import InvalidArgument
from hypothesis import given
from hypothesis import strategies as st

WORD = st.from_regex(r"(?!--)[a-z0-9/_.:-]{0,5}[a-z0-9/_.]", fullmatch=True)  # behind --, a flag
WORDS = st.lists(WORD, min_size=1, max_size=4).map(" ".join)
VALUE = st.one_of(WORD, WORDS.map('"{}"'.format), WORDS.map("'{}'".format), WORD.map("a\\ {}".format))
PAIRS = st.lists(st.builds("{}={}".format, WORD, VALUE), min_size=1, max_size=3).map(" ".join)
EXEC = st.lists(WORDS, min_size=1, max_size=3).map(lambda words: str(words).replace("'", '"'))
BODY = st.lists(st.text("ab $\\\t'\"#", max_size=8).map("_{}\n".format), max_size=3).map("".join)
INSTRUCTION = st.one_of(
    st.builds("{} {}".format, st.sampled_from(["RUN", "CMD", "ENTRYPOINT", "run"]), WORDS | EXEC),
    st.builds("RUN --mount=type=cache,target={} --network=none {}".format, WORD, WORDS),
    st.builds("RUN <<E\n{}E".format, BODY),
    st.builds("RUN cat <<-'A' && sh <<B\n{}A\n{}B".format, BODY, BODY),
    st.builds("COPY --chown={} --link <<\"E\" {} {}\n{}E".format, WORD, WORD, WORD, BODY),
    st.builds("{} {} {}".format, st.sampled_from(["COPY --from=b", "ADD --unpack=false"]), WORD, WORDS),
    st.builds("{} {}".format, st.sampled_from(["ENV", "LABEL", "ARG"]), PAIRS),
    st.builds("ENV {} {}".format, WORD, WORDS),
    st.builds("{} {}".format, st.sampled_from(["EXPOSE", "VOLUME", "USER", "WORKDIR", "STOPSIGNAL"]), WORDS),
    st.builds("HEALTHCHECK --interval={}s CMD {}".format, st.integers(1, 99), WORDS | EXEC),
    st.builds("SHELL {}".format, EXEC),
)  # fmt: skip


def one(text: str) -> Any:
    """The instruction of a file that has but this one behind its FROM."""
    (instruction,) = parse(f"FROM a\n{text}").stages[0].instructions
    return instruction


def shell(line: str) -> Command:
    return Command((line,) if line else (), shell=True)


def exec_form(*arguments: str) -> Command:
    return Command(arguments, shell=False)


@pytest.mark.parametrize(
    ("text", "kind", "fields"),
    [
        ("RUN a  b", kinds.Run, {"command": shell("a  b"), "network": "default", "security": "sandbox"}),
        ("run ['a']", kinds.Run, {"command": shell("['a']")}),
        ('RUN ["a", "b c"]', kinds.Run, {"command": exec_form("a", "b c")}),
        ("RUN", kinds.Run, {"command": shell("")}),
        ("RUN --network=none --security=insecure a", kinds.Run, {"network": "none", "security": "insecure"}),
        ("RUN -- --network=none", kinds.Run, {"command": shell("--network=none")}),
        ("CMD", kinds.Cmd, {"command": shell("")}),
        ("CMD []", kinds.Cmd, {"command": exec_form()}),
        ("CMD a $b", kinds.Cmd, {"command": shell("a $b")}),
        ('ENTRYPOINT ["a"]', kinds.Entrypoint, {"command": exec_form("a")}),
        ("LABEL a=b \"c d\"='e f'", kinds.Label, {"pairs": (("a", "b"), ('"c d"', "'e f'"))}),
        ("LABEL a b c", kinds.Label, {"pairs": (("a", "b c"),)}),
        ("ENV a=b=c d=", kinds.Env, {"pairs": (("a", "b=c"), ("d", ""))}),
        ("ENV a  b=c d ", kinds.Env, {"pairs": (("a", "b=c d"),)}),
        ("ENV a=b\\ c d='e\\'", kinds.Env, {"pairs": (("a", "b\\ c"), ("d", "'e\\'"))}),
        ("ARG a", kinds.Arg, {"pairs": (("a", None),)}),
        ("ARG a b= c='d e'", kinds.Arg, {"pairs": (("a", None), ("b", ""), ("c", "'d e'"))}),
        ("MAINTAINER a <b@c>", kinds.Maintainer, {"author": "a <b@c>"}),
        ("EXPOSE 80 $p/udp", kinds.Expose, {"ports": ("80", "$p/udp")}),
        ("ADD a b/", kinds.Add, {"sources": ("a",), "destination": "b/", "unpack": None, "keep_git_dir": None}),
        ("ADD --unpack --keep-git-dir=false --checksum=sha256:0 a b c", kinds.Add, {
            "sources": ("a", "b"), "destination": "c", "unpack": True, "keep_git_dir": False, "checksum": "sha256:0",
        }),
        ("COPY --from=B --chown=1:2 --chmod=755 --link --parents --exclude=*.a --exclude=*.b a b", kinds.Copy, {
            "from_": "B", "chown": "1:2", "chmod": "755", "link": True, "parents": True, "exclude": ("*.a", "*.b"),
        }),
        ("COPY --link=FALSE a b", kinds.Copy, {"link": False, "from_": "", "chown": ""}),
        ('COPY ["a b", "c d"]', kinds.Copy, {"sources": ("a b",), "destination": "c d"}),
        ("COPY 'a b' c", kinds.Copy, {"sources": ("'a", "b'"), "destination": "c"}),
        ("VOLUME /a /b", kinds.Volume, {"paths": ("/a", "/b")}),
        ('VOLUME ["/a b", " /c "]', kinds.Volume, {"paths": ("/a b", "/c")}),
        ("USER a b", kinds.User, {"user": "a b"}),
        ("WORKDIR /a b ", kinds.Workdir, {"path": "/a b"}),
        ("STOPSIGNAL SIGQUIT", kinds.Stopsignal, {"signal": "SIGQUIT"}),
        ("HEALTHCHECK none", kinds.Healthcheck, {"test": ("NONE",), "interval": 0}),
        ("HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=1h --start-interval=10ms --retries=3 cmd a  b",
         kinds.Healthcheck, {
             "test": ("CMD-SHELL", "a  b"), "interval": 90 * 10**9, "timeout": 1_500_000_000,
             "start_period": 3600 * 10**9, "start_interval": 10_000_000, "retries": 3,
         }),
        ('HEALTHCHECK CMD ["a", "b"]', kinds.Healthcheck, {"test": ("CMD", "a", "b"), "retries": 0}),
        ('SHELL ["/bin/bash", "-c"]', kinds.Shell, {"shell": ("/bin/bash", "-c")}),
    ],
)  # fmt: skip
def test_an_instruction_is_read(text: str, kind: type[Instruction], fields: dict[str, Any]) -> None:
    instruction = one(text)
    assert type(instruction) is kind
    assert {name: getattr(instruction, name) for name in fields} == fields
    assert (instruction.place.line, instruction.original) == (2, text.strip())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("COPPY a b", "unknown instruction: COPPY (did you mean COPY?)"),
        ("coppy a b", "unknown instruction: coppy (did you mean copy?)"),
        ("FORM a", "unknown instruction: FORM (did you mean FROM?)"),
        ("BOGUS a", "unknown instruction: BOGUS"),
        ("&& a", "unknown instruction: && (is a \\ missing at the end of the line before it?)"),
        ("FROM", "FROM requires either one or three arguments"),
        ("FROM a AS", "FROM requires either one or three arguments"),
        ("FROM a b c", "FROM requires either one or three arguments"),
        ("FROM a AS 1b", 'invalid name for build stage: "1b", name can\'t start with a number or contain symbols'),
        ("FROM a AS b/c", 'invalid name for build stage: "b/c", name can\'t start with a number or contain symbols'),
        ("RUN []", "RUN requires at least one argument"),
        ("RUN [1]", "when using JSON array syntax, arrays must be comprised of strings only"),
        ("RUN --netwrok=none a", "unknown flag: --netwrok (did you mean network?)"),
        ("RUN --network=nnoe a", 'invalid network mode "nnoe" (did you mean none?)'),
        ("RUN --security=x a", 'security "x" is not valid'),
        ("CMD --a b", "unknown flag: --a, the instruction takes none"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV a", "ENV must have two arguments"),
        ("ENV =a", "ENV names can not be blank"),
        ("ENV a=b c", 'Syntax error - can\'t find = in "c". Must be of the form: name=value'),
        ("LABEL a", "LABEL must have two arguments"),
        ("ARG", "ARG requires at least one argument"),
        ("ARG =a", "ARG names can not be blank"),
        ("MAINTAINER", "MAINTAINER requires exactly one argument"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("ADD", "ADD requires at least two arguments, but none was provided. Destination could not be determined."),
        ("COPY a",
         "COPY requires at least two arguments, but only one was provided. Destination could not be determined."),
        ('COPY ["a"]',
         "COPY requires at least two arguments, but only one was provided. Destination could not be determined."),
        ("COPY --from a b", "missing a value on flag: --from"),
        ("COPY --from=a --from=b c d", "duplicate flag specified: --from"),
        ("COPY --link=maybe a b", "expecting boolean value for flag --link, not: maybe"),
        ("COPY --link= a b", "missing a value on flag: --link"),
        ("COPY --checksum=a b c",
         "unknown flag: --checksum, expected --chmod, --chown, --exclude, --from, --link, --parents"),
        ("COPY --from=$x a b",
         "variable expansion is not supported for --from, "
         "define a new stage with FROM using ARG from global scope as a workaround"),
        ("COPY --chown='a b c", "unexpected end of statement while looking for matching single-quote"),
        ("COPY a <<E\nE", "COPY cannot accept a heredoc as a destination"),
        ("COPY <<E it's\nE", "<<E has no body: a quote in the line has no end"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ('VOLUME [" "]', "VOLUME specified can not be an empty string"),
        ("USER", "USER requires exactly one argument"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK CMD []", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK curl x", 'Unknown type "CURL" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK --interval=1us CMD x", 'Interval "interval" cannot be less than 1ms'),
        ("HEALTHCHECK --timeout=5 CMD x", 'time: missing unit in duration "5"'),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)"),
        ("HEALTHCHECK --retries=many CMD x", '--retries has to be a number, not "many"'),
        ("SHELL", "SHELL requires at least one argument"),
        ("SHELL []", "SHELL requires at least one argument"),
        ("SHELL bash -c", "SHELL requires the arguments to be in JSON form"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD ONBUILD RUN a", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD FROM a", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD maintainer a", "MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("ONBUILD COPPY a b", "unknown instruction: COPPY (did you mean COPY?)"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_as_docker_says_it(text: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(f"FROM a\n\n{text}")
    assert isinstance(caught.value, InvalidArgument)
    assert caught.value.message == f"dockerfile parse error on line 3: {message}"


def test_an_error_names_file_line_and_instruction() -> None:
    with pytest.raises(DockerfileError) as caught:
        parse("FROM a\nCOPY \\\n  b\n", "docker/app.Dockerfile")
    error = caught.value
    assert (error.place.file, error.place.line, error.place.end_line) == ("docker/app.Dockerfile", 2, 3)
    assert error.instruction == "COPY"
    assert error.message.startswith("docker/app.Dockerfile: dockerfile parse error on line 2: COPY requires")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file with no instructions"),
        ("# nothing\n", "file with no instructions"),
        ("ARG a\n", "dockerfile contains no stages to build: it has no FROM"),
        ("RUN a",
         "dockerfile parse error on line 1: no build stage in current context: RUN comes before the first FROM"),
        ("ARG a\nENV b=c\nFROM d",
         "dockerfile parse error on line 2: no build stage in current context: ENV comes before the first FROM"),
    ],
)  # fmt: skip
def test_a_file_needs_a_stage_before_all_but_arg(text: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(text)
    assert caught.value.message == message


def test_a_file_is_global_args_and_stages() -> None:
    dockerfile = parse(
        "# syntax=docker/dockerfile:1\nARG A=1\nARG B\nFROM --platform=$BUILDPLATFORM a:$A as Base\nARG C\n"
        "FROM base\nRUN x\nUSER y\n"
    )
    assert (dockerfile.syntax, dockerfile.escape) == ("docker/dockerfile:1", "\\")
    assert [each.pairs for each in dockerfile.args] == [(("A", "1"),), (("B", None),)]
    first, second = dockerfile.stages
    assert (first.index, first.name, first.start.image, first.start.platform) == (0, "base", "a:$A", "$BUILDPLATFORM")
    assert (second.index, second.name, second.start.image) == (1, "stage-1", "base")
    assert [each.name for each in second.instructions] == ["RUN", "USER"]


def test_a_list_that_is_no_json_is_remarked() -> None:
    dockerfile = parse(
        "FROM a\nCMD ['a', 'b']\nRUN [ -f x ] && y\nRUN [[ -f x ]]\nENTRYPOINT [\"a\"]\nENTRYPOINT [\"a\"] b\n"
    )
    assert [(each.line, each.text[:4]) for each in dockerfile.remarks] == [(2, "CMD "), (6, "ENTR")]


@pytest.mark.parametrize(
    ("text", "script", "line"),
    [
        ("RUN <<E\na\nb\nE", None, "a\nb\n"),
        ("RUN <<-E\n\ta\nE", None, "a\n"),
        ("RUN <<E\n#!/bin/awk -f\nb\nE", InlineFile("E", "#!/bin/awk -f\nb\n"), "#!/bin/awk -f\nb\n"),
        ("RUN <<-E sh\n\ta\n\tE", None, "<<-E sh\n\ta\nE"),
        ("RUN cat <<A <<B\na\nA\nb\nB", None, "cat <<A <<B\na\nA\nb\nB"),
        ("RUN a b", None, "a b"),
    ],
)
def test_a_heredoc_is_what_the_shell_reads(text: str, script: InlineFile | None, line: str) -> None:
    run = one(text)
    assert (run.script, run.shell_text) == (script, line)


def test_heredocs_become_files() -> None:
    copy = one("COPY a <<E b <<-'F' c/\n$x\nE\n\t$y\nF\n")
    assert (copy.sources, copy.destination) == (("a", "b"), "c/")
    assert copy.files == (InlineFile("E", "$x\n", expand=True), InlineFile("F", "$y\n", expand=False))


def test_an_onbuild_holds_its_instruction() -> None:
    onbuild = one("ONBUILD  copy --from=b <<E  /c\n$x\nE")
    assert onbuild.expression == "copy --from=b <<E  /c\n$x\nE"
    assert isinstance(onbuild.trigger, kinds.Copy)
    trigger = parse_trigger(onbuild.expression)
    assert replace(trigger, place=onbuild.place) == onbuild.trigger
    for bad in ("", "RUN a\nRUN b", "FROM a", "ONBUILD RUN a"):
        with pytest.raises(DockerfileError, match="onbuild trigger should be a single expression"):
            parse_trigger(bad)


@given(INSTRUCTION)
def test_an_instruction_written_out_is_read_as_itself(text: str) -> None:
    first = one(text)
    again = one(first.text)
    assert replace(again, place=first.place) == first
    assert again.text == first.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type=bind,target=/a", Mount("", ready=True, target="/a")),
        ("target=/a,from=b,source=/c,rw", Mount("", from_="b", ready=True, source="/c", target="/a", read_only=False)),
        ("type=cache,dst=/a,id=b,sharing=LOCKED,mode=0700,uid=1,gid=2,ro=0",
         Mount("", ready=True, type="cache", target="/a", read_only=False, id="b", sharing="locked", mode=0o700,
               uid=1, gid=2)),
        ("type=cache,target=/a,readonly", Mount("", ready=True, type="cache", target="/a")),
        ("type=tmpfs,destination=/a,size=1.5m",
         Mount("", ready=True, type="tmpfs", target="/a", read_only=False, size=1572864)),
        ("type=secret,id=a,required,env=B", Mount("", ready=True, type="secret", id="a", required=True, env="B")),
        ("Type=ssh,required=true", Mount("", ready=True, type="ssh", required=True)),
        ("type=cache,target=$x,from=b", Mount("", from_="b")),
    ],
)  # fmt: skip
def test_a_mount_is_read(text: str, expected: Mount) -> None:
    assert one(f"RUN --mount={text} x").mounts == (replace(expected, text=text),)


def test_mounts_are_as_many_as_given() -> None:
    run = one("RUN --mount=type=cache,target=/a --mount='\"target=/b,c\",from=d' x")
    assert [(each.type, each.target, each.from_) for each in run.mounts] == [
        ("cache", "/a", ""),
        ("bind", "", "d"),  # quotes may hide a variable: not before it is expanded
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=bnid", 'unsupported mount type "bnid" (did you mean bind?)'),
        ("tagret=/a", "unexpected key 'tagret' in 'tagret=/a' (did you mean target?)"),
        ("target", "invalid field 'target' must be a key=value pair"),
        ("required,target=/a", "unexpected key 'required' for mount type 'bind'"),
        ("size=1m,target=/a", "unexpected key 'size' for mount type 'bind'"),
        ("type=cache,sharing=lock", 'unsupported sharing value "lock" (did you mean locked?)'),
        ("type=cache,mode=9", "invalid value 9 for mode"),
        ("type=cache,uid=-1", "invalid value -1 for uid"),
        ("type=cache,ro=maybe", "invalid value for ro: maybe"),
        ("type=tmpfs,size=big", "invalid value for size: big"),
        ("mode=0700,target=/a", 'mode not allowed for "bind" type mounts'),
        ("type=secret,id=a,from=b", "secret mount should not have a from"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=secret,id=a,src=b", "both source and id can't be set"),
        ("type=ssh,sharing=locked", "invalid cache sharing set for ssh mount"),
        ("from=$x,target=/a", "'from' doesn't support variable expansion, define alias stage instead"),
        ("", "failed to parse csv mounts: it is empty"),
    ],
)
def test_a_wrong_mount_is_refused(text: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        one(f"RUN --mount={text} x")
    assert caught.value.text == message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1ns", 1),
        ("1.5h", 5400 * 10**9),
        ("1h2m3s4ms5us6ns", 3_723_004_005_006),
        (".5s", 500_000_000),
        ("1.s", 10**9),
        ("-2µs", -2000),
        ("+1μs", 1000),
    ],
)
def test_a_duration_is_read_as_go_reads_it(text: str, expected: int) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "-", "5", "1.2.3s", "5 s", "1d", ".s", "s", "1e3s", "300000h5x", "9999999h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(Fault, match=r"^time: "):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", ("80/tcp",)),
        ("80/UDP 80 443/sctp 80", ("80/tcp", "80/udp", "443/sctp")),
        ("8001-8003 8000-8001", ("8000/tcp", "8001/tcp", "8002/tcp", "8003/tcp")),
        ("127.0.0.1:80:90/udp [::1]:1:2", ("2/tcp", "90/udp")),
        ("0 65535", ("0/tcp", "65535/tcp")),
    ],
)
def test_ports_are_read(text: str, expected: tuple[str, ...]) -> None:
    assert exposed_ports(one(f"EXPOSE {text}")) == expected


@pytest.mark.parametrize("text", ["http", "80/http", "65536", "5-3", "3-", "-3", "/tcp", "1-2-3", "٣"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(DockerfileError, match=r"on line 2: invalid (port|containerPort)"):
        exposed_ports(one(f"EXPOSE {text}"))


def test_ranges_that_overlap_cost_their_union() -> None:
    ports = exposed_ports(one("EXPOSE " + " ".join(f"{first}-65535" for first in range(5000))))
    assert len(ports) == 65_536
