"""Who may read what the engine writes: metadata is root's alone, containers' files are theirs, whatever the umask."""

import os
import stat
from pathlib import Path

import pytest
from gantry_agent.engine.database import Database

from tests.support.engines import Native
from tests.support.images import TestImage

SCHEMA = ("CREATE TABLE IF NOT EXISTS things (name TEXT) STRICT",)
FILES = ("engine.sqlite3", "engine.sqlite3-wal", "engine.sqlite3-shm")


def modes(folder: Path) -> dict[str, int]:
    """The modes of the database's files."""
    return {name: stat.S_IMODE((folder / name).stat().st_mode) for name in FILES}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_database_is_for_its_owner_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        database = Database(tmp_path / FILES[0], SCHEMA)
    finally:
        os.umask(before)
    database.write_now(lambda connection: connection.execute("INSERT INTO things VALUES (?)", ["x"]))
    assert modes(tmp_path) == dict.fromkeys(FILES, 0o600)
    database.close()


def test_one_of_an_earlier_engine_becomes_so(tmp_path: Path) -> None:
    first = Database(tmp_path / FILES[0], SCHEMA)
    first.write_now(lambda connection: connection.execute("INSERT INTO things VALUES (?)", ["x"]))
    for name in FILES:  # as a killed engine leaves them
        (tmp_path / name).chmod(0o644)
    second = Database(tmp_path / FILES[0], SCHEMA)
    assert modes(tmp_path) == dict.fromkeys(FILES, 0o600)
    assert [row["name"] for row in second.read("SELECT name FROM things")] == ["x"]
    second.close()
    first.close()


class Narrow(Native):
    """An engine started by somebody whose files are for nobody else."""

    def command(self) -> list[str]:
        return ["sh", "-c", 'umask 077; exec "$@"', "engine", *super().command()]


@pytest.mark.root
@pytest.mark.docker
@pytest.mark.skipif(bool(Native.why_not()), reason=Native.why_not() or "-")
def test_others_than_root_read_in_containers_whatever_the_umask(busybox_archive: TestImage) -> None:
    with Narrow() as engine:
        engine.load(busybox_archive.archive("gantry/modes:1"))
        script = "stat -c '%n %a' / /new /etc/hosts /made /volume; cat /etc/hosts > /dev/null && echo read"
        container = engine.expect(
            "POST",
            "/containers/create",
            {
                "Image": "gantry/modes:1",
                "Cmd": ["sh", "-c", script],
                "User": "1000",
                "WorkingDir": "/new/deep",
                "HostConfig": {"Binds": ["/tmp:/made/deep:ro", "modes:/volume"]},
            },
        )["Id"]
        engine.expect("POST", f"/containers/{container}/start")
        engine.expect("POST", f"/containers/{container}/wait")
        found = engine.cli("logs", container).splitlines()
        assert found == ["/ 755", "/new 755", "/etc/hosts 644", "/made 755", "/volume 755", "read"]
        data = engine.root
        assert stat.S_IMODE(data.stat().st_mode) == 0o711
        assert modes(data) == dict.fromkeys(FILES, 0o600)
