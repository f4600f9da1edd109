"""What the engine knows of one volume: data only."""

from dataclasses import dataclass, field

SCHEMA: tuple[str, ...] = (
    """CREATE TABLE IF NOT EXISTS volumes (
        name TEXT PRIMARY KEY,
        created_at INTEGER NOT NULL,
        is_anonymous INTEGER NOT NULL,
        labels TEXT NOT NULL,
        options TEXT NOT NULL
    ) STRICT""",
)


@dataclass
class Volume:
    """One volume of the local driver. `options`: type, device, o as mount(8) has them; {} for a plain folder."""

    name: str
    created_at: int  # nanoseconds since the epoch
    is_anonymous: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
