"""One driver per run directory.

Knows file locks of the kernel; knows nothing of what the directory holds. The lock dies with the
process that holds it, so that a killed driver never blocks the next one.
"""

import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from cisray.errors import RunBusy, StorageError
from cisray.store.driver_sign import NOBODY, DriverSign
from cisray.store.files import writing_to

# Who looks at a lock shares it for some microseconds, in which it cannot be taken.
LOOKS, LOOK_S = 10, 0.01


class RunLock:
    """A lock on a file, held by this process until `release` or its death.

    The file stays, empty when nobody holds it; while held it says by whom, for people to read.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises RunBusy, naming the owner, while another process has it."""
        with writing_to(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                _take(descriptor)
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
            since = datetime.now(UTC).isoformat(timespec="milliseconds")
            text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since})
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


def look(path: Path) -> DriverSign:
    """See whether a process holds the lock of a file, and which, without keeping anybody from it.

    Raises StorageError when the file cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return NOBODY
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}. Mend that first.") from error
    try:
        alive = _is_held(descriptor)
        text = os.pread(descriptor, 4096, 0)
    finally:
        os.close(descriptor)
    if not text:
        return NOBODY if alive is False else DriverSign(None, alive)
    return DriverSign(_owner(text), alive, _since(text))


def _take(descriptor: int) -> None:
    """Lock a file. Raises BlockingIOError while another process has it for longer than a look."""
    for _ in range(LOOKS):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(LOOK_S)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_held(descriptor: int) -> bool | None:
    """Ask for a share of a lock, which its owner does not give; None where there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def _since(text: bytes) -> str | None:
    try:
        since = json.loads(text)["since"]
    except (ValueError, KeyError, TypeError):
        return None
    return since if isinstance(since, str) else None


def _owner(text: bytes) -> str:
    try:
        owner = json.loads(text)
        return f"process {owner['pid']} on {owner['host']}"
    except (ValueError, KeyError, TypeError):
        return "process unknown"
