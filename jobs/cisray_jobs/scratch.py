"""A folder for what a job makes on its way, which no process leaves behind for good.

Knows the folder for temporary files and locks of the kernel; knows nothing of what is made. Who is
killed by SIGKILL cleans up nothing: the next job does it for him.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "cisray-scratch-"
_LOCK = "lock"
_YOUNG_S = 60.0  # its owner may be between making the lock and taking it


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give an empty folder that is removed at the end; remove those of processes that died."""
    root = Path(tempfile.gettempdir())
    for folder in root.glob(f"{_PREFIX}*"):
        _remove_if_left(folder)
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as made:
        owned = os.open(Path(made, _LOCK), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(owned, fcntl.LOCK_EX)
            inside = Path(made, "files")
            inside.mkdir()
            yield inside
        finally:
            os.close(owned)


def _remove_if_left(folder: Path) -> None:
    """Remove a folder whose lock nobody holds.

    One without a lock is not ours, and is let be, as is one just made, or another user's.
    """
    with suppress(OSError):
        if time.time() - (folder / _LOCK).stat().st_mtime < _YOUNG_S:
            return
        lock = os.open(folder / _LOCK, os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        finally:
            os.close(lock)
