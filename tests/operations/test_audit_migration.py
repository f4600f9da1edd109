"""Entries from before the chain are put into it; killed midway, the migration begins anew."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from controlplane.access.models import User
from controlplane.operations import guards
from controlplane.operations.audit import record
from controlplane.operations.models import AuditEntry, AuditHead
from controlplane.operations.verify import verify
from tests.support.home import ROOT, Home

BEFORE = [("operations", "0002_image_names")]
MANY = 2500


def migrate(target: list[tuple[str, str]] | None = None) -> Any:
    """To `target`, or to the newest of the app."""
    executor = MigrationExecutor(connection)
    target = target or executor.loader.graph.leaf_nodes("operations")
    executor.migrate(target)
    return executor.loader.project_state(target).apps


@pytest.mark.django_db(transaction=True)
def test_what_was_there_is_chained_in_its_order() -> None:
    try:
        old = migrate(BEFORE).get_model("operations", "AuditEntry")
        user = User.objects.create(username="ada")  # the tables of people stay as they are
        old.objects.bulk_create(
            old(
                actor_id=user.pk, actor_name="ada", verb="container.stop", detail=f"number {n} ü", ip="::ffff:192.0.2.7"
            )
            for n in range(MANY)
        )
        order = list(old.objects.order_by("pk").values_list("pk", flat=True))
    finally:
        migrate()
    assert list(AuditEntry.objects.order_by("seq").values_list("pk", flat=True)) == order
    assert guards.missing(connection) == []
    report = verify([])
    assert (report.findings, report.checked) == ((), MANY)
    assert AuditHead.objects.get().seq == MANY
    record(AnonymousUser(), "container.stop")
    assert verify([]).checked == MANY + 1


KILLED = """
import os, signal, sys, django
django.setup()
from importlib import import_module
from django.core.management import call_command
migration = import_module("controlplane.operations.migrations.0003_audit")
digest, done = migration.digest, iter(range(1700))
def counted(entry):
    if next(done, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return digest(entry)
migration.digest = counted
call_command("migrate", verbosity=0)
"""


@pytest.mark.skipif("DATABASE_URL" in os.environ, reason="a home of its own has SQLite")
def test_killed_midway_it_begins_anew() -> None:
    with Home() as home:
        home.manage("migrate", "operations", "0002_image_names", "--verbosity=0")
        with contextlib.closing(sqlite3.connect(home.path / "gantry.sqlite3")) as database, database:
            columns = "at, actor_name, verb, target_kind, target_id, target_name, host_name, outcome, detail"
            values = "'2026-01-01 00:00:00', 'ada', 'container.stop', '', '', '', '', 'allowed', ''"
            for _ in range(MANY):
                database.execute(f"INSERT INTO operations_auditentry ({columns}) VALUES ({values})")
        environment = home.environment(DJANGO_SETTINGS_MODULE="controlplane.settings")
        killed = subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT, env=environment, check=False)
        assert killed.returncode == -signal.SIGKILL
        home.manage("migrate", "--verbosity=0")
        assert f"{MANY} entries from 1 fit, up to {MANY}" in home.manage("audit_verify")
