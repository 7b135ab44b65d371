"""What a schedule asks of a place where commands run; knows no such place.

A backend is written for callers that may die at any moment and ask again, and for several of them
at once. Whatever is asked names its job, and asking twice is asking once.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Job:
    """A command to be started once. `id` is a relative path, its own for all time.

    `report` is a second command, run after the first has succeeded; how it ends counts for nothing.
    """

    id: str
    argv: tuple[str, ...]
    folder: str
    report: tuple[str, ...] | None = None


class Phase(Enum):
    """How far a job is. LOST: it was started, does not run, and nobody saw it end."""

    RUNNING = "running"
    ENDED = "ended"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Status:
    """What became of a job; `exit_code` of one that has ended, negative for a signal."""

    phase: Phase
    exit_code: int | None = None
    ended: int | None = None


class JobBackend(Protocol):
    """A place where jobs run, on their own: they outlive whoever started them."""

    def submit(self, job: Job) -> None:
        """Start a job, unless one of that id was ever started or stopped: then do nothing.

        When it returns, `status` knows the job. Raises CisrayError when it cannot be started; it
        may then be asked for again.
        """
        ...

    def status(self, job_id: str) -> Status | None:
        """Tell how far a job is; None for one that never began."""
        ...

    def stop(self, job_id: str) -> None:
        """Ask a running job to end, and make sure that one which has not begun never does."""
        ...

    def log(self, job_id: str) -> str | None:
        """Tell where a person finds what the job has printed."""
        ...
