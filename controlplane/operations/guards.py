"""The triggers that keep the audit trail append-only whoever writes, on SQLite and on PostgreSQL.

A migration that changes the table on SQLite makes it anew, and the triggers are gone with the old one: it ends with
`install`. `manage.py audit_verify` says when one is missing.
"""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

ENTRIES, HEAD = "operations_auditentry", "operations_audithead"
SAYS = "the audit trail is append-only"

_SQLITE = {
    "audit_entry_update": f"BEFORE UPDATE ON {ENTRIES} BEGIN SELECT RAISE(ABORT, '{SAYS}'); END",
    "audit_entry_delete": f"BEFORE DELETE ON {ENTRIES} BEGIN SELECT RAISE(ABORT, '{SAYS}'); END",
    # INSERT OR REPLACE removes the row in its way without a word to the trigger above.
    "audit_entry_replace": (
        f"BEFORE INSERT ON {ENTRIES} WHEN EXISTS (SELECT 1 FROM {ENTRIES} WHERE seq = NEW.seq OR id = NEW.id) "
        f"BEGIN SELECT RAISE(ABORT, '{SAYS}'); END"
    ),
    "audit_head_update": (
        f"BEFORE UPDATE ON {HEAD} WHEN NEW.seq <= OLD.seq OR NEW.id <> OLD.id BEGIN SELECT RAISE(ABORT, '{SAYS}'); END"
    ),
    "audit_head_delete": f"BEFORE DELETE ON {HEAD} BEGIN SELECT RAISE(ABORT, '{SAYS}'); END",
    "audit_head_replace": (
        f"BEFORE INSERT ON {HEAD} WHEN EXISTS (SELECT 1 FROM {HEAD} WHERE id = NEW.id) BEGIN SELECT RAISE(IGNORE); END"
    ),
}

_FUNCTION = f"""
CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '{SAYS}' USING ERRCODE = 'insufficient_privilege'; END $$
"""
_POSTGRESQL = {
    "audit_entry_change": (ENTRIES, "BEFORE UPDATE OR DELETE ON {} FOR EACH ROW"),
    "audit_entry_empty": (ENTRIES, "BEFORE TRUNCATE ON {} FOR EACH STATEMENT"),
    "audit_head_update": (HEAD, "BEFORE UPDATE ON {} FOR EACH ROW WHEN (NEW.seq <= OLD.seq OR NEW.id <> OLD.id)"),
    "audit_head_delete": (HEAD, "BEFORE DELETE ON {} FOR EACH ROW"),
    "audit_head_empty": (HEAD, "BEFORE TRUNCATE ON {} FOR EACH STATEMENT"),
}


def install(connection: BaseDatabaseWrapper) -> None:
    """Put every trigger there; one that is there already is made anew."""
    remove(connection)
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            for name, rest in _SQLITE.items():
                cursor.execute(f"CREATE TRIGGER {name} {rest}")
            return
        cursor.execute(_FUNCTION)
        for name, (table, when) in _POSTGRESQL.items():
            cursor.execute(f"CREATE TRIGGER {name} {when.format(table)} EXECUTE FUNCTION audit_refuse()")


def remove(connection: BaseDatabaseWrapper) -> None:
    """For a migration back, and for tests that tamper."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            for name in _SQLITE:
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
            return
        for name, (table, _) in _POSTGRESQL.items():
            cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}")


def missing(connection: BaseDatabaseWrapper) -> list[str]:
    """The triggers that are not there, or are switched off."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            wanted = list(_SQLITE)
        else:
            cursor.execute("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'")
            wanted = list(_POSTGRESQL)
        found = {row[0] for row in cursor.fetchall()}
    return [name for name in wanted if name not in found]
