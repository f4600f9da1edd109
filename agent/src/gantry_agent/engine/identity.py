"""Who this engine is: an id of its own that stays with its root."""

import uuid

from .database import Database

SCHEMA: tuple[str, ...] = ("CREATE TABLE IF NOT EXISTS identity (id TEXT NOT NULL) STRICT",)


async def engine_id(database: Database) -> str:
    """The engine's id, a UUID; made at the first question."""
    if not database.read("SELECT id FROM identity"):
        made = str(uuid.uuid4())
        insert = "INSERT INTO identity SELECT ? WHERE NOT EXISTS (SELECT 1 FROM identity)"
        await database.write(lambda connection: connection.execute(insert, (made,)), durable=True)
    return str(database.read("SELECT id FROM identity")[0]["id"])
