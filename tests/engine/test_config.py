"""The engine's configuration file: what is wrong in it is told by its key before anything is served."""

import json
from pathlib import Path
from typing import Any

import pytest
from gantry_agent.engine import cli
from gantry_agent.engine.config import Config, load
from gantry_agent.engine.errors import InvalidArgument


def written(folder: Path, content: Any) -> Path:
    path = folder / "engine.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_without_a_file_there_are_the_defaults(tmp_path: Path) -> None:
    assert load(None) == load(written(tmp_path, {})) == Config()


def test_values_that_are_right_are_taken(tmp_path: Path) -> None:
    found = load(
        written(
            tmp_path,
            {
                "registries": {"shop:5000": {"ca": "/etc/ca.pem", "mirrors": ["http://10.0.0.2:5000"]}, "a": {}},
                "default-address-pools": [{"base": "10.1.0.0/16", "size": 24}, {"base": "10.2.0.0/30", "size": 30}],
                "default-ulimits": {"nofile": [1024, -1], "core": [0, 0]},
                "dns": ["10.0.0.1", "fd00::1"],
                "bip": "10.3.0.1/24",
            },
        )
    )
    assert found.default_address_pools[1] == {"base": "10.2.0.0/30", "size": 30}
    assert found.default_ulimits == {"nofile": [1024, -1], "core": [0, 0]}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[]", "one JSON object"),
        ("{", "cannot be read as JSON"),
        ({"dnss": []}, "unknown key 'dnss'"),
        ({"dns": "10.0.0.1"}, "dns must be a list"),
        ({"dns": ["ten"]}, r"dns\[0\] must be an IP address, not 'ten'"),
        ({"dns": [1]}, r"dns\[0\] must be an IP address, not 1"),
        ({"log-max-size": True}, "log-max-size must be a int"),
        ({"log-max-size": 0}, "log-max-size must be more than 0"),
        ({"build-fetches": "all"}, "build-fetches must be one of"),
        ({"bip": "10.0.0.1.1/16"}, "bip must be an IPv4 address"),
        ({"registry-mirrors": [1]}, r"registry-mirrors\[0\] must be a text"),
        ({"insecure-registries": [None]}, r"insecure-registries\[0\] must be a text"),
        ({"registries": {"shop": 1}}, "registries.shop must be an object"),
        ({"registries": {"shop": {"cas": ""}}}, "registries.shop must be an object"),
        ({"registries": {"shop": {"ca": 1}}}, "registries.shop.ca must be the path"),
        ({"registries": {"shop": {"mirrors": "x"}}}, "registries.shop.mirrors must be a list"),
        ({"registries": {"shop": {"mirrors": [{}]}}}, r"registries.shop.mirrors\[0\] must be a text"),
        ({"default-address-pools": ["10.0.0.0/8"]}, r"default-address-pools\[0\] must be an object"),
        ({"default-address-pools": [{"base": "10.0.0.0/8"}]}, r"default-address-pools\[0\] must be an object"),
        ({"default-address-pools": [{"base": "x", "size": 24}]}, r"default-address-pools\[0\].base must be"),
        ({"default-address-pools": [{"base": 1, "size": 24}]}, r"default-address-pools\[0\].base must be"),
        ({"default-address-pools": [{"base": "10.0.0.0/16", "size": 8}]}, r"\[0\].size must be .* 16 to 30, not 8"),
        ({"default-address-pools": [{"base": "10.0.0.0/16", "size": "24"}]}, r"\[0\].size must be"),
        ({"default-ulimits": {"files": [1, 2]}}, "default-ulimits: unknown limit 'files'"),
        ({"default-ulimits": {"nofile": 5}}, "default-ulimits.nofile must be"),
        ({"default-ulimits": {"nofile": [1]}}, "default-ulimits.nofile must be"),
        ({"default-ulimits": {"nofile": ["1", "2"]}}, "default-ulimits.nofile must be"),
        ({"default-ulimits": {"nofile": [5, 2]}}, "default-ulimits.nofile: the soft limit 5 is above the hard one 2"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_key(tmp_path: Path, content: Any, says: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InvalidArgument, match=says) as caught:
        load(path)
    assert caught.value.message.startswith(str(path))


def test_the_program_ends_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, {"default-ulimits": {"nofile": "many"}})
    words = ["--root", str(tmp_path / "root"), "--socket", str(tmp_path / "socket"), "--config", str(path)]
    assert cli.run(words) == 1
    assert "default-ulimits.nofile" in capsys.readouterr().err
    assert not (tmp_path / "root").exists()
