"""The script behind the pasted line, filled in for one control plane."""

from __future__ import annotations

import shlex
from pathlib import Path

SCRIPT = Path(__file__).with_name("install.sh")


def script(url: str, fingerprint: str) -> str:
    """install.sh with our address and the certificate's fingerprint ("" when an authority vouches for it)."""
    text = SCRIPT.read_text()
    return text.replace("@URL@", shlex.quote(url)).replace("@FINGERPRINT@", shlex.quote(fingerprint))
