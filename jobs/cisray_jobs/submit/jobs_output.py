"""How jobs on a cluster look on a terminal, and as JSON.

Knows text; knows nothing of how the jobs came about.
"""

from dataclasses import dataclass
from datetime import datetime

import typer

from cisray.engine.jobs import JobFacts
from cisray_jobs import output
from cisray_jobs.submit.following import ended
from cisray_jobs.submit.submission import ATTEMPT, CODE, COMMAND
from cisray_jobs.units import duration


@dataclass(frozen=True, slots=True)
class DescribedJob:
    """A job as it is printed. Times are UTC; `code` is the version that was sent with it."""

    id: str
    state: str
    command: str
    code: str
    attempt: int
    began: str | None
    ended: str | None
    seconds: float | None
    exit_code: int | None
    message: str


def described(job: JobFacts) -> DescribedJob:
    """Take a job's facts for printing; one that cisray did not submit has no code."""
    seconds = (job.ended - job.began).total_seconds() if job.began and job.ended else None
    return DescribedJob(
        id=job.job_id,
        state=job.state,
        command=job.metadata.get(COMMAND, job.command),
        code=job.metadata.get(CODE, ""),
        attempt=int(job.metadata.get(ATTEMPT, 0)),
        began=_moment(job.began),
        ended=_moment(job.ended),
        seconds=seconds,
        exit_code=job.exit_code,
        message=ended(job) if job.state == "failed" else "",
    )


def table(jobs: list[DescribedJob]) -> None:
    """Print a line for each job."""
    if not jobs:
        typer.echo("The cluster knows no jobs.")
        return
    width = max(len(job.id) for job in jobs)
    for job in jobs:
        took = "" if job.seconds is None else duration(job.seconds)
        typer.echo(f"{job.id:<{width}}  {job.state:<9}  {job.began or '':<20}  {took}".rstrip())


def facts(job: DescribedJob) -> None:
    """Print all about a job."""
    lines = {"state": job.state, "command": job.command}
    if job.code:
        lines |= {"code": f"cisray {job.code}", "attempt": str(job.attempt)}
    if job.began:
        lines["began"] = job.began
    if job.ended:
        lines["ended"] = job.ended
    if job.seconds is not None:
        lines["took"] = duration(job.seconds)
    if job.exit_code is not None:
        lines["exit code"] = str(job.exit_code)
    if job.message:
        lines["why"] = job.message
    output.facts(job.id, lines)


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")
