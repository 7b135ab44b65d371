"""The hidden folder beside an evaluation in which its units lie until it is done.

Knows a folder and its lock; knows no unit. The same command finds the units of one that was stopped
there, and goes on.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cisray.store.files import make_folder
from cisray.store.lock import RunLock
from cisray_jobs.evaluation_output import EvaluationRecord


@contextmanager
def units_folder(out: Path, record: EvaluationRecord) -> Iterator[Path]:
    """Give the folder of the units of an evaluation; it is gone when the block ends without error.

    Other processes are kept out of it: raises RunConflict while one works on the same units.
    """
    work = out.parent / f".{out.name}.{record.digest[:12]}.units"
    make_folder(work)
    lock = RunLock(work / ".lock")
    try:
        yield work
        shutil.rmtree(work, ignore_errors=True)
    finally:
        lock.release()
