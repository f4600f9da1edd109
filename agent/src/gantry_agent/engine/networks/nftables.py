"""Changes to nftables: `libnftables` in this process (0.1–0.4 ms a call), else the `nft` command (3–5 ms).

The library is what the command itself is made of, so where one is the other is. Every text is one transaction.
"""

import ctypes
import logging
import shutil
import subprocess

from gantry_agent.engine.errors import Internal, Unavailable

log = logging.getLogger(__name__)
LIBRARY = "libnftables.so.1"
TIMEOUT = 20  # seconds for the command


class Nftables:
    """One context of the library, in the network namespace of whoever calls. For one thread only."""

    def __init__(self) -> None:
        self._library = self._context = None
        try:
            library = ctypes.CDLL(LIBRARY)
            library.nft_ctx_new.restype = ctypes.c_void_p
            library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
            context = ctypes.c_void_p(library.nft_ctx_new(0))
            if context:
                library.nft_ctx_buffer_error(context)
                library.nft_ctx_buffer_output(context)
                self._library, self._context = library, context
        except (OSError, AttributeError) as exc:
            log.info("no libnftables (%s); the nft command is used", exc)

    def run(self, text: str) -> None:
        """Apply `text`, all of it or nothing. Raises Internal with nftables' own words."""
        if self._library is None:
            self._run_command(text)
        elif self._library.nft_run_cmd_from_buffer(self._context, text.encode()):
            error = self._library.nft_ctx_get_error_buffer(self._context) or b""
            raise Internal(f"nftables refused: {_first_line(error.decode(errors='replace'))}")

    def close(self) -> None:
        if self._library is not None:
            self._library.nft_ctx_free(self._context)
            self._library = None

    def _run_command(self, text: str) -> None:
        command = shutil.which("nft") or shutil.which("nft", path="/usr/sbin:/sbin")
        if command is None:
            raise Unavailable("publishing ports and leaving the host need nftables; install the package nftables")
        done = subprocess.run(
            [command, "-f", "-"], input=text, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        if done.returncode:
            raise Internal(f"nftables refused: {_first_line(done.stderr)}")


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no reason given"
