"""One driver per run directory.

Knows file locks of the kernel; knows nothing of what the directory holds. The lock dies with the
process that holds it, so that a killed driver never blocks the next one.
"""

import fcntl
import json
import os
import socket
from pathlib import Path

from cisray.errors import RunBusy
from cisray.store.files import writing_to


class RunLock:
    """A lock on a file, held by this process until `release` or its death.

    The file stays, empty when nobody holds it; while held it says by whom, for people to read.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises RunBusy, naming the owner, while another process has it."""
        with writing_to(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = _owner(os.pread(descriptor, 4096, 0))
                os.close(descriptor)
                raise RunBusy(
                    f"{path.parent} is being written by another cisray process ({owner}). Wait for "
                    f"it to end or stop it, or choose another --out."
                ) from None
            except OSError:
                os.close(descriptor)
                raise
            text = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, text.encode(), 0)
        self._descriptor: int | None = descriptor

    def check(self) -> None:
        """Do nothing: what the kernel has locked, nobody takes over."""

    def release(self) -> None:
        """Let the next driver in; releasing twice is no error."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


def _owner(text: bytes) -> str:
    try:
        owner = json.loads(text)
        return f"process {owner['pid']} on {owner['host']}"
    except (ValueError, KeyError, TypeError):
        return "process unknown"
