"""The verifier that docs/audit.md prints works on what is exported, and finds what was done to it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest
from django.contrib.auth.models import AnonymousUser

from controlplane.operations import chain
from controlplane.operations.audit import record
from controlplane.operations.models import AuditEntry
from controlplane.settings import BASE_DIR
from tests.operations.trail import entries

pytestmark = pytest.mark.django_db
TEXT = (BASE_DIR / "docs/audit.md").read_text()


def exported() -> list[str]:
    entries(4, target_name='ü 🦀 "\\ </script> =1+1')
    record(AnonymousUser(), "x.y", detail="a\nb\x1b[0m\u2028", ip="::1", seconds=3)
    return [chain.line(entry) for entry in AuditEntry.objects.order_by("seq")]


def verify(lines: list[str]) -> subprocess.CompletedProcess[str]:
    found = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert found
    said = "".join(f"{line}\n" for line in lines)
    return subprocess.run([sys.executable, "-c", found[1]], input=said, capture_output=True, text=True, check=False)


def test_the_printed_program_verifies_an_export() -> None:
    lines = exported()
    assert verify(lines).stdout.startswith("all fit, up to (5, ")
    assert verify(lines[2:]).returncode == 0, "a stretch of it, too"


def test_it_finds_what_was_done() -> None:
    lines = exported()
    altered = [lines[0], lines[1].replace("number 1", "nothing 1"), *lines[2:]]
    assert "entry 2 was altered" in verify(altered).stderr
    assert "entry 4 does not follow entry 2" in verify([*lines[:2], *lines[3:]]).stderr
    assert "does not follow" in verify([lines[0], lines[2], lines[1]]).stderr


def test_the_table_names_every_field() -> None:
    (entry,) = entries(1)
    table = TEXT.partition("## What an entry says")[2].partition("\n\n- ")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert named == set(chain.fields(entry))


@pytest.mark.skipif(not shutil.which("jq"), reason="needs jq")
def test_the_line_with_jq() -> None:
    for line, entry in zip(exported(), AuditEntry.objects.order_by("seq"), strict=True):
        command = "jq -cjS 'del(.hash)' | sha256sum"
        done = subprocess.run(["sh", "-c", command], input=line, capture_output=True, text=True, check=True)
        assert done.stdout.split()[0] == entry.hash
