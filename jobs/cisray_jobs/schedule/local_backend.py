"""Jobs as processes of this machine, each in a session of its own with a log.

Knows folders and the runner; knows nothing of schedules. A job's folder is its whole truth, and
the kernel's lock in it says whether the job lives: no process id is ever taken for a job.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cisray.errors import StorageError
from cisray.store.files import make_folder, publish, writing_to
from cisray_jobs.schedule.backend import Job, Phase, Settled, Status, reason_in
from cisray_jobs.schedule.runner import BEGUN, ENDED, JOB, LOG, lock_of, write_whole

RUNNER = (sys.executable, "-m", "cisray_jobs.schedule.runner")
PROGRAM = (sys.executable, "-m", "cisray_jobs.cli")
_TAIL = 8_192  # bytes of a log, in which the reason of a failure is looked for


class LocalBackend:
    """Jobs below a folder of a local disk."""

    def __init__(
        self,
        folder: Path,
        runner: tuple[str, ...] = RUNNER,
        program: tuple[str, ...] = PROGRAM,
    ) -> None:
        """Keep the jobs in `folder`.

        `runner` is the command that is given a job's folder, `program` runs cisray commands.
        """
        self._folder = folder
        self._runner = runner
        self.program = program

    def settle(self, arguments: tuple[str, ...], folder: str) -> Settled:
        """Give a command back: it runs in its folder, and means what it says."""
        return Settled(arguments)

    def reach(self) -> None:
        """Do nothing: this machine is here."""

    def submit(self, job: Job) -> None:
        """Start a job, unless one of that id was ever started or stopped: then do nothing.

        Raises StorageError when its folder cannot be written or no process be started.
        """
        place = self._prepared(job.id)
        publish(json.dumps(asdict(job)).encode(), place / JOB, staging=place, exclusive=True)
        try:
            with (place / LOG).open("ab") as log:
                begun = subprocess.run(
                    [*self._runner, str(place)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    check=False,
                )
        except OSError as error:
            raise StorageError(
                f"no process can be started for {job.id}: {error.strerror}. Mend the cause; the "
                f"next tick tries again."
            ) from error
        if begun.returncode and self.status(job.id) is None:
            raise StorageError(
                f"{job.id} could not be begun (exit code {begun.returncode}): see {place / LOG}. "
                f"Mend the cause; the next tick tries again."
            )

    def status(self, job_id: str) -> Status | None:
        """Tell how far a job is; None for one that never began."""
        place = self._folder / job_id
        if not place.is_dir():
            return None
        with writing_to(place):
            lock = lock_of(place, to_look=True)
        if lock is None:
            # Held before `begun.json` as well, for a moment: then it is about to begin.
            return Status(Phase.RUNNING)
        try:
            # Nobody else writes now: what is not there will not come.
            if (ended := _read(place / ENDED)) is not None:
                code = ended["exit_code"]
                why = reason_in(_tail(place / LOG)) if code else ""
                return Status(Phase.ENDED, code, ended["ended"], why)
            return Status(Phase.LOST) if (place / BEGUN).exists() else None
        finally:
            os.close(lock)

    def stop(self, job_id: str) -> None:
        """Ask a running job to end, and make sure that one which has not begun never does."""
        place = self._prepared(job_id)
        with writing_to(place):
            lock = lock_of(place)
        if lock is not None:
            try:
                if not (place / BEGUN).exists() and not (place / ENDED).exists():
                    write_whole(
                        place / ENDED, {"exit_code": -signal.SIGTERM, "ended": int(time.time())}
                    )
            finally:
                os.close(lock)
        elif (begun := _read(place / BEGUN)) is not None:
            # Somebody of this group has the lock: its number is not another's by now.
            with suppress(ProcessLookupError):
                os.killpg(begun["group"], signal.SIGTERM)

    def cluster_id(self, job_id: str) -> None:
        """Tell that a job has no id but this."""

    def log(self, job_id: str) -> str | None:
        """Tell the path of what the job has printed."""
        path = self._folder / job_id / LOG
        return str(path) if path.exists() else None

    def _prepared(self, job_id: str) -> Path:
        place = self._folder / job_id
        with writing_to(place):
            make_folder(place)
        return place


def _tail(log: Path) -> str:
    with suppress(FileNotFoundError), log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL))
        return stream.read().decode(errors="replace")
    return ""


def _read(path: Path) -> dict[str, Any] | None:
    with suppress(FileNotFoundError):
        told: dict[str, Any] = json.loads(path.read_bytes())
        return told
    return None
