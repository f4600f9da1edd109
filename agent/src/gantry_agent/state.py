"""The agent's folder: `key.pem` (and `key.next.pem` during a rotation), `config.json`, `status.json`."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from . import keys
from .errors import NotEnrolled


def default_folder() -> Path:
    """Where the state lies unless told otherwise: /var/lib for root, else the user's own state folder."""
    if os.geteuid() == 0:
        return Path("/var/lib/gantry-agent")
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "gantry-agent"


@dataclass(frozen=True)
class Enrolment:
    """What the control plane told this host. `fingerprint` is "" or "sha256:<hex>" of its certificate."""

    host: str
    name: str
    url: str
    gateways: list[str]
    fingerprint: str = ""


class State:
    """One state folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key_file = folder / "key.pem"
        self.next_key_file = folder / "key.next.pem"
        self.config_file = folder / "config.json"
        self.status_file = folder / "status.json"

    def prepare(self) -> None:
        """Make the folder, private to its owner."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)

    @property
    def is_enrolled(self) -> bool:
        return self.config_file.exists() and self.key_file.exists()

    def enrolment(self) -> Enrolment:
        """What enrolment left here. Raises NotEnrolled."""
        try:
            found = json.loads(self.config_file.read_text())
            known = {field.name for field in fields(Enrolment)}
            return Enrolment(**{name: value for name, value in found.items() if name in known})
        except (OSError, ValueError, TypeError, AttributeError) as exc:
            raise NotEnrolled(
                f"This host is not enrolled ({self.config_file}: {exc}).",
                "Open “Add host” in Gantry and paste the line it shows.",
            ) from exc

    def save_enrolment(self, key: Ed25519PrivateKey, enrolment: Enrolment) -> None:
        """Store a fresh enrolment; an unfinished rotation of an earlier one is dropped."""
        self.next_key_file.unlink(missing_ok=True)
        keys.save(self.key_file, key)
        keys.write_private(self.config_file, json.dumps(asdict(enrolment), indent=2).encode())

    def candidate_keys(self) -> Iterator[tuple[Path, Ed25519PrivateKey]]:
        """The current key, then the one of an unfinished rotation.

        A crash between the gateway's acknowledgement and our rename leaves the gateway with the next
        key only, so a refused agent tries that one too.
        """
        yield self.key_file, keys.load(self.key_file)
        if self.next_key_file.exists():
            yield self.next_key_file, keys.load(self.next_key_file)

    def next_key(self) -> Ed25519PrivateKey:
        """The key of a rotation: the unfinished one when there is one (the gateway may know it already)."""
        if not self.next_key_file.exists():
            keys.save(self.next_key_file, keys.generate())
        return keys.load(self.next_key_file)

    def adopt_next_key(self) -> None:
        """The gateway knows the next key: it becomes the key."""
        os.replace(self.next_key_file, self.key_file)
        keys.sync_folder(self.folder)

    def write_status(self, **facts: Any) -> None:
        """Leave facts for `gantry-agent status`."""
        content = json.dumps({"pid": os.getpid(), "at": time.time(), **facts}, indent=2)
        temporary = self.status_file.with_name("status.json.tmp")
        temporary.write_text(content)
        os.replace(temporary, self.status_file)

    def read_status(self) -> dict[str, Any]:
        """The running agent's last word, or {}."""
        try:
            found = json.loads(self.status_file.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
