"""What may be typed into the form that runs a container, and what the engine is told then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containers import spec
from containers.ports import PortMapping, parse_ports
from controlplane.lib.typed import Malformed, parse_memory


def problems(parse: Callable[[str], Any], text: str) -> tuple[str, ...]:
    with pytest.raises(Malformed) as caught:
        parse(text)
    return caught.value.problems


def test_every_faulty_line_is_named_with_its_number() -> None:
    found = problems(spec.parse_environment, "# a remark\n\nA=1\nB\r\n=x\nA=2")
    assert [problem.partition(":")[0] for problem in found] == ["Line 4", "Line 5"]
    assert "found “B”" in found[0]
    assert "“B=”" in found[0]


# Ports: the docker CLI's own cases (docker/go-connections, nat_test.go) and ours.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", [PortMapping(80)]),
        ("8080:80", [PortMapping(80, "8080")]),
        ("8080:80/UDP", [PortMapping(80, "8080", "udp")]),
        ("53:53/sctp", [PortMapping(53, "53", "sctp")]),
        ("127.0.0.1:8080:80", [PortMapping(80, "8080", ip="127.0.0.1")]),
        ("127.0.0.1::80", [PortMapping(80, ip="127.0.0.1")]),
        ("0:80", [PortMapping(80)]),
        ("[::1]:8080:80", [PortMapping(80, "8080", ip="::1")]),
        ("::1:8080:80", [PortMapping(80, "8080", ip="::1")]),
        ("[2001:db8::1]::80/tcp", [PortMapping(80, ip="2001:db8::1")]),
        ("8000-8001:80-81", [PortMapping(80, "8000"), PortMapping(81, "8001")]),
        ("80-81", [PortMapping(80), PortMapping(81)]),
        ("8000-8010:80", [PortMapping(80, "8000-8010")]),
        ("", []),
        ("\n# none\n", []),
    ],
)
def test_ports_as_the_docker_cli_reads_them(text: str, expected: list[PortMapping]) -> None:
    assert parse_ports(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0", "found 0"),
        ("65536", "found 65536"),
        ("80:65536", "found 65536"),
        ("-1", "found “-1”"),
        ("80:", "found none"),
        ("http", "found “http”"),
        ("80/icmp", "found “icmp”"),
        ("90-80", "lower"),
        ("8000-8002:80-81", "found 3 ports of the host for 2"),
        ("localhost:80:80", "found “localhost”"),
        ("1.2.3:80:80", "found “1.2.3”"),
        ("[::1:80:80", "brackets"),
        ("1-65535", "at most 1000"),
        ("8080:80\n9:9\n8080:81", "Line 3: expected each port of the host once"),
        ("٣:80", "found “٣”"),
    ],
)
def test_a_port_that_cannot_be(text: str, said: str) -> None:
    assert said in problems(parse_ports, text)[0]


def test_the_same_port_of_the_host_on_another_address_or_protocol_is_another() -> None:
    assert len(parse_ports("127.0.0.1:53:53\n127.0.0.2:53:53\n127.0.0.1:53:53/udp")) == 3


@given(st.integers(1, 65535), st.integers(0, 30), st.integers(1, 65535), st.sampled_from(["tcp", "udp", "sctp"]))
def test_a_range_maps_port_by_port(container: int, more: int, host: int, protocol: str) -> None:
    more = min(more, 65535 - container, 65535 - host)
    found = parse_ports(f"{host}-{host + more}:{container}-{container + more}/{protocol}")
    assert [(int(each.host.partition("-")[0]), each.container) for each in found] == [
        (host + n, container + n) for n in range(more + 1)
    ]


@given(st.text(max_size=60))
def test_whatever_is_typed_is_read_or_refused(text: str) -> None:
    for parse in (
        parse_ports,
        spec.parse_environment,
        spec.parse_labels,
        spec.parse_command,
        spec.parse_entrypoint,
        spec.parse_volumes,
        parse_memory,
        spec.parse_cpus,
    ):
        fault = None
        try:
            parse(text)
        except Malformed as exc:
            fault = exc
        assert fault is None or (fault.problems and all(fault.problems))


def test_a_value_keeps_its_blanks_quotes_and_equals_signs() -> None:
    assert spec.parse_environment('A= "x" = y \nB=') == ['A= "x" = y ', "B="]


@pytest.mark.parametrize(
    ("text", "said"),
    [("A", "“A=”"), ("=x", "found “”"), ("A B=x", "found “A B”"), ("A=1\nA=2", "found “A” in line 1 already")],
)
def test_a_variable_that_cannot_be(text: str, said: str) -> None:
    assert said in problems(spec.parse_environment, text)[0]


def test_labels_may_be_keys_alone_but_not_gantrys_own() -> None:
    assert spec.parse_labels("team=shop\nbeta\nurl=a=b") == {"team": "shop", "beta": "", "url": "a=b"}
    assert "io.gantry.operation" in problems(spec.parse_labels, "io.gantry.operation=7")[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", None),
        ("  ", None),
        ('sh -c "echo $HOME | wc"', ["sh", "-c", "echo $HOME | wc"]),
        ("a\\ b 'c d'\ne", ["a b", "c d", "e"]),
        ('["sh", "-c", "a  b"]', ["sh", "-c", "a  b"]),
        ("[ -f /x ]", ["[", "-f", "/x", "]"]),
        ('["ü"]', ["ü"]),
    ],
)
def test_a_command_is_quoted_as_for_a_shell_or_json(text: str, words: list[str] | None) -> None:
    assert spec.parse_command(text) == words


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('echo "a', "a quote that is not closed"),
        ("echo \\", "“\\” at the end"),
        ('["a", 1]', "found 1"),
        ('["a"', "a fault"),
        ('["a", null]', "found null"),
    ],
)
def test_a_command_that_cannot_be_read(text: str, said: str) -> None:
    assert said in problems(spec.parse_command, text)[0]


def test_an_empty_array_takes_the_entrypoint_away() -> None:
    assert spec.parse_entrypoint("[]") == [""]
    assert spec.parse_entrypoint("") is None


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("data:/var/lib/data", "data:/var/lib/data"),
        ("/etc/app:/etc/app:ro", "/etc/app:/etc/app:ro"),
        ("/srv:/srv:rw,z,rslave", "/srv:/srv:rw,z,rslave"),
        ("data:/d:ro,nocopy", "data:/d:ro,nocopy"),
        ("data:/d/", "data:/d"),
    ],
)
def test_volumes_and_folders_of_the_host(text: str, bind: str) -> None:
    assert [mount.bind for mount in spec.parse_volumes(text)] == [bind]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("./data:/data", "found “./data”"),
        ("a/b:/data", "found “a/b”"),
        ("d:/data", "two or more letters"),
        ("data:data", "found “data”"),
        ("data:/", "other than “/”"),
        ("data:/a/../b", "found “/a/../b”"),
        ("data:/a:fast", "found “fast”"),
        ("data:/a:shared", "found “shared”"),
        ("/x:/a:nocopy", "found “nocopy”"),
        ("data:/a:ro,rw", "found “ro,rw”"),
        ("data:/a:z,Z", "found “z,Z”"),
        ("a:b:c:d", "found “a:b:c:d”"),
        ("data:", "found “data:”"),
        ("da:/x\ndb:/x/", "Line 2: expected each mount point once"),
    ],
)
def test_a_volume_that_cannot_be(text: str, said: str) -> None:
    assert said in problems(spec.parse_volumes, text)[0]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", 0),
        ("0", 0),
        ("6m", 6 * 2**20),
        ("512M", 512 * 2**20),
        ("1.5g", 3 * 2**29),
        ("512MiB", 512 * 2**20),
        ("64 mb", 64 * 2**20),
        ("8388608", 8388608),
        ("8388608b", 8388608),
        ("1t", 2**40),
    ],
)
def test_memory_as_the_docker_cli_reads_it(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    ("text", "said"),
    [("-5m", "found “-5m”"), ("512", "perhaps “512m”?"), ("5m", "6m"), ("1,5g", "found “1,5g”"), ("9" * 30, "below")],
)
def test_memory_that_cannot_be(text: str, said: str) -> None:
    assert said in problems(parse_memory, text)[0]


def test_cpus_are_counted_in_billionths() -> None:
    assert spec.parse_cpus("1.5") == 1_500_000_000
    assert spec.parse_cpus("") == 0
    assert spec.parse_cpus("8", most=8) == 8_000_000_000


@pytest.mark.parametrize("text", ["-1", "0.001", "1e3", "NaN", "inf", "1,5", "two", "9" * 30])
def test_cpus_that_cannot_be(text: str) -> None:
    assert f"found “{text}”" in problems(spec.parse_cpus, text)[0]


def test_no_more_cpus_than_the_host_has() -> None:
    with pytest.raises(Malformed, match=r"at most 2, as many as the host has, found “2\.5”"):
        spec.parse_cpus("2.5", most=2)


def test_retries_go_with_on_failure_alone() -> None:
    assert spec.restart_policy("on-failure", 3) == {"Name": "on-failure", "MaximumRetryCount": 3}
    with pytest.raises(Malformed, match="on-failure"):
        spec.restart_policy("always", 3)


def test_the_body_leaves_out_what_was_left_open() -> None:
    assert spec.Spec("busybox:latest").body() == {
        "Image": "busybox:latest",
        "HostConfig": {"RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}},
    }


def test_the_body_says_everything_that_was_typed() -> None:
    body = spec.Spec(
        "busybox:latest",
        command=["top"],
        entrypoint=["/bin/sh"],
        environment=["A=1"],
        labels={"team": "shop"},
        ports=parse_ports("8080:80\n[::1]:8080:80\n53/udp"),
        mounts=spec.parse_volumes("data:/d:ro\n/anonymous"),
        restart=spec.restart_policy("on-failure", 2),
        memory=2**29,
        nano_cpus=500_000_000,
        user="nobody",
        working_dir="/srv",
        network="host",
        tty=True,
        auto_remove=False,
    ).body()
    assert body == {
        "Image": "busybox:latest",
        "Cmd": ["top"],
        "Entrypoint": ["/bin/sh"],
        "Env": ["A=1"],
        "Labels": {"team": "shop"},
        "User": "nobody",
        "WorkingDir": "/srv",
        "Tty": True,
        "OpenStdin": True,
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Volumes": {"/anonymous": {}},
        "HostConfig": {
            "Binds": ["data:/d:ro"],
            "PortBindings": {
                "80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "::1", "HostPort": "8080"}],
                "53/udp": [{"HostIp": "", "HostPort": ""}],
            },
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2},
            "Memory": 2**29,
            "NanoCpus": 500_000_000,
            "NetworkMode": "host",
        },
    }
