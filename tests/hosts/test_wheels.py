"""The agent's packages: exactly those of the lock, checked, and an agent's wheel that works."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from django.test import Client

from hosts import wheels


@pytest.mark.parametrize(
    ("name", "usable"),
    [
        ("attrs-26.1.0-py3-none-any.whl", True),
        ("aiohttp-3.14.5-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64.whl", True),
        ("aiohttp-3.14.5-cp312-cp312-manylinux2014_aarch64.manylinux_2_17_aarch64.whl", True),
        ("aiohttp-3.14.5-cp310-cp310-manylinux2014_x86_64.whl", False),
        ("aiohttp-3.14.5-cp313-cp313t-manylinux2014_x86_64.whl", False),
        ("aiohttp-3.14.5-cp311-cp311-musllinux_1_2_x86_64.whl", False),
        ("aiohttp-3.14.5-cp311-cp311-macosx_11_0_arm64.whl", False),
        ("aiohttp-3.14.5-cp311-cp311-manylinux_2_31_armv7l.whl", False),
        ("psutil-7.2.2-cp36-abi3-manylinux2014_aarch64.whl", True),
        ("cryptography-50.0.2-cp314-abi3-manylinux2014_x86_64.whl", False),
        ("nonsense.whl", False),
    ],
)
def test_which_wheels_are_for_our_hosts(name: str, usable: bool) -> None:
    assert wheels.is_usable(name) is usable


def test_the_lock_names_all_that_the_agent_needs_for_every_python_and_machine() -> None:
    packages = {package["name"]: package for package in wheels.closure(wheels.read_lock())}
    assert {"aiohttp", "cryptography", "psutil", "cffi", "multidict", "yarl", "idna"} <= set(packages)
    assert {"isal", "zstandard"} <= set(packages), "the native engine's own"
    assert "django" not in packages
    for compiled in ("aiohttp", "isal", "zstandard"):
        names = [found["url"].rsplit("/", 1)[-1] for found in wheels.usable_wheels(packages[compiled])]
        for python in wheels.PYTHONS:
            for machine in wheels.MACHINES:
                assert sum(f"-{python}-" in name and machine in name for name in names) == 1, (compiled, names)
    assert sum("x86_64" in found["url"] for found in wheels.usable_wheels(packages["cryptography"])) == 1


def test_the_agents_wheel_runs(tmp_path: Path) -> None:
    entry = wheels.build_agent(tmp_path)
    content = (tmp_path / entry["name"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    zipfile.ZipFile(tmp_path / entry["name"]).extractall(tmp_path / "lib")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'lib')!r}); from gantry_agent import cli; print(cli.__file__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(tmp_path))


def test_the_agents_wheel_is_the_same_each_time(tmp_path: Path) -> None:
    assert wheels.build_agent(tmp_path) == wheels.build_agent(tmp_path)


def test_a_wheel_with_another_digest_is_refused(tmp_path: Path) -> None:
    served = tmp_path / "x-1-py3-none-any.whl"
    served.write_bytes(b"not what the lock says")
    (tmp_path / "dest").mkdir()
    with pytest.raises(wheels.NotCollected, match="expected sha256"):
        wheels.fetch({"url": served.as_uri(), "hash": "sha256:" + "0" * 64}, tmp_path / "dest", "x")
    assert not (tmp_path / "dest" / served.name).exists()


@pytest.fixture
def collected(settings: pytest.FixtureRequest, tmp_path: Path) -> Path:
    settings.GANTRY_HOME = tmp_path  # type: ignore[attr-defined]
    wheels.folder().mkdir()
    return wheels.folder()


def test_the_page_says_that_they_are_not_ready_or_why_they_failed(
    client: Client, collected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wheels.standing().state == "collecting"
    answer = client.get("/agent/wheels/")
    assert answer.status_code == 503
    assert "collected" in answer.json()["message"]

    def fail(dest: Path) -> None:
        raise wheels.NotCollected("no route to the index")

    monkeypatch.setattr(wheels, "collect", fail)
    wheels.ensure_collected()
    assert "no route to the index" in wheels.standing().message
    assert "no route to the index" in client.get("/agent/wheels/").json()["message"]


def test_they_are_served_as_an_index(client: Client, collected: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "closure", lambda lock: [])
    wheels.ensure_collected()
    (entry,) = wheels.files()
    assert "gantry-agent/" in client.get("/agent/wheels/").content.decode()
    assert f"sha256={entry['sha256']}" in client.get("/agent/wheels/gantry-agent/").content.decode()
    found = b"".join(client.get(f"/agent/wheels/{entry['name']}"))  # type: ignore[arg-type]
    assert hashlib.sha256(found).hexdigest() == entry["sha256"]
    assert client.get("/agent/wheels/another/").status_code == 404
