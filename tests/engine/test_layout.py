"""The engine's folders on the filesystems they may lie on."""

import shutil
import subprocess
from pathlib import Path

import pytest
from gantry_agent.engine.layout import Layout

from tests.conftest import need


def made_at(folder: Path) -> Layout:
    layout = Layout.at(folder / "root", folder / "run")
    layout.make()
    layout.make()  # as at every start
    return layout


def marks(folder: Path) -> str:
    return subprocess.run(["lsattr", "-d", folder], capture_output=True, text=True, check=True).stdout.split()[0]


def test_on_ext4_trees_are_made_apart_from_those_that_were_deleted(tmp_path: Path) -> None:
    if "ext" not in subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True).stdout:
        pytest.skip("the temporary folder is not on ext4")
    need("" if shutil.which("lsattr") else "lsattr is not installed")
    layout = made_at(tmp_path)
    for folder in (layout.tmp, layout.containers, layout.volumes):
        assert "T" in marks(folder)
        (folder / "one").mkdir()
        assert "T" not in marks(folder / "one"), "inside, files belong together"


@pytest.mark.root
def test_a_filesystem_without_the_mark_serves_as_well(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "gantry-test", tmp_path], check=True)
    try:
        assert made_at(tmp_path).tmp.is_dir()
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)
