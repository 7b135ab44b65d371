"""What a schedule asks of a place where commands run; knows no such place.

A backend is written for callers that may die at any moment and ask again, and for several of them
at once. Whatever is asked names its job, and asking twice is asking once.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

_REASON = 600  # letters


@dataclass(frozen=True, slots=True)
class Job:
    """A command to be started once. `id` is a relative path, its own for all time.

    `report` is a second command, of this machine, run after the first has succeeded; how it ends
    counts for nothing. `settings` is the text of a file that goes along with the command.
    """

    id: str
    argv: tuple[str, ...]
    folder: str
    report: tuple[str, ...] | None = None
    settings: str | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """A cisray command as a place runs it, and the text of the file of settings that it needs."""

    arguments: tuple[str, ...]
    settings: str | None = None


class Phase(Enum):
    """How far a job is. LOST: it was started, does not run, and nobody saw it end."""

    RUNNING = "running"
    ENDED = "ended"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Status:
    """What became of a job; `exit_code` of one that has ended, negative for a signal.

    `why` is what it said of its failure, if it said anything.
    """

    phase: Phase
    exit_code: int | None = None
    ended: int | None = None
    why: str = ""


class JobBackend(Protocol):
    """A place where jobs run, on their own: they outlive whoever started them.

    One that is elsewhere may be out of reach. Then all but `log` raise ClusterSilent, which says
    nothing of any job: whoever asked asks again later.
    """

    @property
    def program(self) -> tuple[str, ...]:
        """Tell what runs cisray there: the words before a command."""
        ...

    def settle(self, arguments: tuple[str, ...], folder: str) -> Settled:
        """Write a cisray command, meant for a folder of this machine, so that it means the same.

        Raises CisrayError for one that cannot run there.
        """
        ...

    def reach(self) -> None:
        """Do nothing where jobs can be started now; asked before anything is prepared for one."""
        ...

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

    def cluster_id(self, job_id: str) -> str | None:
        """Tell by what id a person finds a job on its cluster; None where there is no cluster."""
        ...

    def log(self, job_id: str) -> str | None:
        """Tell where a person finds what the job has printed: a path, or a command that shows it.

        None for a job that never began.
        """
        ...


def reason_in(log: str) -> str:
    """Give what a cisray command said of its failure, in one line; empty where it said nothing.

    >>> reason_in("scoring\\nError: --vcf x.vcf: there is\\nno such file.\\n")
    '--vcf x.vcf: there is no such file.'
    """
    _, said, told = f"\n{log}".rpartition("\nError: ")
    return " ".join(told.partition("\n\n")[0].split())[:_REASON] if said else ""
