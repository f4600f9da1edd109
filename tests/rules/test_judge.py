"""The judge by itself: each restriction, and the requests that engines would read otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.lib.errors import Internal, InvalidArgument
from controlplane.lib.typed import Malformed
from hosts.rules import shape
from hosts.rules.facts import Facts, ImageFacts
from hosts.rules.judge import judge, judge_build, judge_commit, judge_exec, judge_image, judge_update, standing
from hosts.rules.rules import NO_RULES, Rules, parse_capabilities, parse_images, parse_paths
from tests.rules.table import BIND, FACTS, MIB, OTHERS, ROWS, Row


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_restriction(row: Row) -> None:
    broken = judge(row.rules, row.body(row.broken), FACTS)
    assert row.field in [each.field for each in broken]
    assert judge(row.rules, row.body(row.kept), FACTS) == []
    assert judge(NO_RULES, row.body(row.broken), FACTS) == []
    assert Rules.of_json(row.rules.as_json()) == row.rules


@pytest.mark.parametrize("row", [row for row in ROWS if row.name != "system paths"], ids=lambda row: row.name)
def test_a_container_that_is_there_is_judged_alike(row: Row) -> None:
    body = row.body(row.broken)
    inspection = {"Config": {"User": body.get("User") or ""}, "HostConfig": body.get("HostConfig", {})}
    assert row.field in [each.field for each in judge(row.rules, standing(inspection), FACTS)]


@pytest.mark.parametrize(
    ("rules", "host", "field"),
    [
        (Rules(own_namespaces=True), {"NetworkMode": "container:open"}, "HostConfig.NetworkMode"),
        (Rules(own_namespaces=True), {"NetworkMode": "container:privileged"}, "HostConfig.NetworkMode"),
        (Rules(own_namespaces=True), {"PidMode": "container:open"}, "HostConfig.PidMode"),
        (Rules(own_namespaces=True), {"PidMode": "container:nobody"}, "HostConfig.PidMode"),
        (Rules(own_namespaces=True), {"NetworkMode": "abab"}, "HostConfig.NetworkMode"),
        (Rules(own_namespaces=True), {"NetworkMode": "ns:/proc/1/ns/net"}, "HostConfig.NetworkMode"),
        (Rules(binds=()), {"VolumesFrom": ["root:ro"]}, "HostConfig.VolumesFrom"),
        (Rules(binds=()), {"VolumesFrom": ["tricky"]}, "HostConfig.VolumesFrom (trick)"),
        (Rules(binds=()), {"Binds": ["trick:/x"]}, "HostConfig.Binds (trick)"),
        (Rules(plain_volumes=True), {"Binds": ["trick:/x"]}, "HostConfig.Binds (trick)"),
        (
            Rules(binds=()),
            {"Mounts": [{"Type": "volume", "Source": "trick", "Target": "/x"}]},
            "HostConfig.Mounts[0].Source (trick)",
        ),
    ],
)
def test_what_a_request_leads_to(rules: Rules, host: dict[str, Any], field: str) -> None:
    assert [each.field for each in judge(rules, {"HostConfig": host}, OTHERS)] == [field]
    assert judge(NO_RULES, {"HostConfig": host}, OTHERS) == []


def test_what_is_shared_with_one_that_keeps_to_the_rules_is_fine() -> None:
    rules = Rules(own_namespaces=True, binds=(), plain_volumes=True)
    host = {"NetworkMode": "container:plain", "VolumesFrom": ["plain"], "Binds": ["fine:/x"]}
    assert judge(rules, {"HostConfig": host}, OTHERS) == []


@pytest.mark.parametrize(
    "options",
    [
        {"type": "tmpfs", "o": "bind", "device": "/"},
        {"type": "nfs", "o": "addr=10.0.0.1", "device": ":/"},
        {"type": "ext4", "device": "/dev/sda1"},
        {"o": "rbind", "device": "/etc", "type": "none"},
        {"TYPE": "none", "O": "bind", "DEVICE": "/"},
    ],
)
def test_options_that_mount_what_is_elsewhere(options: dict[str, str]) -> None:
    mount = {"Type": "volume", "Target": "/x", "VolumeOptions": {"DriverConfig": {"Options": options}}}
    for rules in (Rules(binds=()), Rules(plain_volumes=True)):
        assert judge(rules, {"HostConfig": {"Mounts": [mount]}}, FACTS)


def test_a_volume_that_binds_an_allowed_folder() -> None:
    options = {**BIND, "device": "/srv/shop/x"}
    mount = {"Type": "volume", "Target": "/x", "VolumeOptions": {"DriverConfig": {"Options": options}}}
    assert judge(Rules(binds=("/srv/shop",), plain_volumes=True), {"HostConfig": {"Mounts": [mount]}}, FACTS) == []


@pytest.mark.parametrize(
    "body",
    [
        {"hostconfig": {"Privileged": True}},
        {"HostConfig": {"privileged": True}},
        {"HostConfig": {"Privileged": "true"}},
        {"HostConfig": {"Privileged": 1}},
        {"HostConfig": {"Memory": True}},
        {"HostConfig": {"Binds": "/:/x"}},
        {"HostConfig": {"Binds": [["/:/x"]]}},
        {"HostConfig": [{"Privileged": True}]},
        {"HostConfig": {"Mounts": [{"type": "bind", "Source": "/", "Target": "/x"}]}},
        {"HostConfig": {"Mounts": [{"Type": "image", "Source": "secret/app", "Target": "/x"}]}},
        {"HostConfig": {"Mounts": [{"Type": "volume", "VolumeOptions": {"driverconfig": {"Options": BIND}}}]}},
        {"HostConfig": {"Mounts": [{"Type": "volume", "VolumeOptions": {"DriverConfig": {"options": BIND}}}]}},
        {"NetworkingConfig": {"endpointsConfig": {"host": {}}}},
        {"NetworkingConfig": {"EndpointsConfig": {"bridge": {"driverOpts": {}}}}},
        {"Image": ["secret/app"]},
    ],
)
def test_a_request_that_an_engine_would_read_otherwise_is_refused_by_any_rules(body: dict[str, Any]) -> None:
    assert judge(NO_RULES, body, Facts())


@pytest.mark.parametrize(
    "text",
    [
        '{"HostConfig": {}, "HostConfig": {"Privileged": true}}',
        '{"HostConfig": {"Privileged": false, "Privileged": true}}',
        '{"Image": "a"} {"Image": "b"}',
        '[{"Image": "a"}]',
        "",
        "[" * 100_000,
        '{"HostConfig": {"Memory": NaN}}',
    ],
)
def test_a_body_is_one_object_with_each_key_once(text: str) -> None:
    with pytest.raises(InvalidArgument):
        shape.parse(text)


@pytest.mark.parametrize(
    ("lines", "repository", "tag", "runs"),
    [
        ("registry.example/shop/** : v*", "registry.example/shop/web", "v1", True),
        ("registry.example/shop/** : v*", "registry.example/shop/web", "dev-1", False),
        ("registry.example/shop/** : v*", "docker.io/shop/web", "v1", False),
        ("registry.example/shop/** : v*", "registry.example/shop/web", "", False),
        ("registry.example:5000/shop/*:v*", "registry.example:5000/shop/web", "v1", True),
        ("registry.example:5000/shop/*:v*", "registry.example:5000/shop/web", "x", False),
        ("registry.example:5000/shop/*", "registry.example:5000/shop/web", "x", True),
        ("** !secret/**", "docker.io/secret/app", "prod", False),
        ("**", "", "", True),
        ("shop/**", "", "", False),
        ("", "docker.io/secret/app", "prod", True),
    ],
)
def test_which_images_run(lines: str, repository: str, tag: str, runs: bool) -> None:
    rules = Rules(images=parse_images(lines))
    assert (not judge_image(rules, ImageFacts(repository, tag))) is runs


def test_a_pinned_digest_is_the_one_that_runs() -> None:
    one, other = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    rules = Rules(images=parse_images(f"shop/** : v* @ {one}"))
    image = ("docker.io/shop/web", "v1")
    assert not judge_image(rules, ImageFacts(*image)), "not known yet: judged when it is"
    assert not judge_image(rules, ImageFacts(*image, frozenset({one, other})))
    assert "another digest" in str(judge_image(rules, ImageFacts(*image, frozenset({other})))[0])


@pytest.mark.parametrize("text", ["Shop Web : :", "shop/** : v* @ sha256:1", "shop/** @", "!shop/** : v*", "a/b:c d/e"])
def test_a_line_that_cannot_be_read_is_told(text: str) -> None:
    with pytest.raises(Malformed):
        parse_images(text)


def test_paths_and_capabilities_are_kept_in_one_spelling() -> None:
    assert parse_paths("/srv//shop/\n/a/./b\n/srv/shop") == ("/srv/shop", "/a/b")
    assert parse_capabilities("cap_chown, NET_ADMIN") == ("CHOWN", "NET_ADMIN")
    for wrong in ("srv", "/a/../b", "/a:b"):
        with pytest.raises(Malformed):
            parse_paths(wrong)
    with pytest.raises(Malformed):
        parse_capabilities("everything!")


def test_a_rule_of_a_newer_version_is_not_passed_over() -> None:
    with pytest.raises(Internal):
        Rules.of_json({"no_bpf": True})


def test_an_update_is_judged_over_what_is_there() -> None:
    rules = Rules(memory=64 * MIB, no_privileged=True)
    assert judge_update(rules, {"Memory": 65 * MIB}, {"Memory": MIB})
    assert judge_update(rules, {"MemorySwap": -1}, {"Memory": MIB})
    assert judge_update(rules, {"privileged": True}, {"Memory": MIB})
    assert judge_update(rules, {"CpuShares": 5}, {"Memory": MIB}) == []
    assert judge_update(rules, {"RestartPolicy": {"Name": "always"}}, {}) == [], "that changes no limit"
    assert judge_update(rules, {"RestartPolicy": {"Name": "always"}, "CpuShares": 5}, {})


def test_an_update_to_no_limit_of_processes_and_of_a_root_that_is_written_to() -> None:
    rules = Rules(pids=100, read_only_root=True)
    assert judge_update(rules, {"PidsLimit": 50}, {"ReadonlyRootfs": False}) == []
    for none in (0, -1):
        assert [each.field for each in judge_update(rules, {"PidsLimit": none}, {"PidsLimit": 50})] == [
            "HostConfig.PidsLimit"
        ]


def test_a_commit_is_judged_by_the_name_it_gives() -> None:
    image = ImageFacts("docker.io/shop/web", "dev-1")
    for line, good in (("shop/** : dev-*", True), ("shop/** : v*", False), (f"shop/web @ sha256:{'1' * 64}", False)):
        found = judge_commit(Rules(images=parse_images(line)), image)
        assert ([each.field for each in found] == []) is good, line
    assert judge_commit(Rules(no_privileged=True), image) == []


@pytest.mark.parametrize(
    ("user", "privileged", "of_container", "fields"),
    [
        ("", False, "1000", []),
        ("1000:0", False, "", []),
        ("0", False, "1000", ["User"]),
        ("root", False, "1000", ["User"]),
        ("", False, "", ["User"]),
        ("1000", True, "1000", ["Privileged"]),
    ],
)
def test_a_shell(user: str, privileged: bool, of_container: str, fields: list[str]) -> None:
    rules = Rules(not_root=True, no_privileged=True)
    found = judge_exec(rules, user=user, privileged=privileged, user_of_container=of_container)
    assert [each.field for each in found] == fields


def test_a_build() -> None:
    rules = Rules(own_namespaces=True, no_privileged=True, memory=64 * MIB)
    flags = {"--network=host": 2, "--network=none": 3, "--security=insecure": 4}
    found = judge_build(rules, memory=0, nano_cpus=0, flags=flags)
    assert [each.field for each in found] == ["Options.Memory", "Dockerfile line 2", "Dockerfile line 4"]
    assert judge_build(rules, memory=MIB, nano_cpus=0, flags={"--network=default": 1}) == []
