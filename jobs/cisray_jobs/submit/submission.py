"""Submitting a command once: what runs already is joined, what has ended is submitted again.

Knows ids and attempts; knows nothing of what the command is. A second attempt is the same command,
and goes on where the first one stopped, as the run's folder remembers.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cisray.engine.jobs import STOP_WAIT_S, JobFacts, JobRequest, Jobs
from cisray.errors import EngineError, JobExists, JobNotFound
from cisray_jobs.submit.shipment import Shipment

MAX_ATTEMPTS = 1000
POLL_S = 0.5
# Metadata of a job, by which `cisray jobs` knows its own.
COMMAND, CODE, ATTEMPT = "cisray_command", "cisray_code", "cisray_attempt"


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that is there now. `joined`: it was there already and has not ended."""

    job_id: str
    joined: bool
    attempt: int
    command: str
    url: str


def submit(jobs: Jobs, shipment: Shipment, name: str | None = None) -> Submitted:
    """Submit a command under an id of its own, or join the job that does it already.

    Attempts after the first have -a1, -a2 and so on behind the id. Two who submit the same at the
    same time get one job.
    """
    base = shipment.job_id(name)
    for attempt, job_id in _attempts(base):
        job = jobs.find(job_id)
        if job is None:
            try:
                _send(jobs, shipment, job_id, attempt)
            except JobExists:
                job = jobs.find(job_id)  # somebody was faster
            else:
                return Submitted(job_id, False, attempt, shipment.shown, jobs.url)
        if job is not None and job.is_live:
            return Submitted(job_id, True, attempt, shipment.shown, jobs.url)
    raise EngineError(f"{base} was submitted {MAX_ATTEMPTS} times: give it another --id.")


def _attempts(base: str) -> Iterator[tuple[int, str]]:
    yield 0, base
    for attempt in range(1, MAX_ATTEMPTS):
        yield attempt, f"{base}-a{attempt}"


def _send(jobs: Jobs, shipment: Shipment, job_id: str, attempt: int) -> None:
    with tempfile.TemporaryDirectory(prefix="cisray-") as folder:
        wheel, settings = shipment.pack(Path(folder))
        jobs.submit(
            JobRequest(
                job_id=job_id,
                command=shipment.entrypoint,
                modules=(wheel,),
                folder=settings,
                variables=shipment.variables,
                metadata={
                    COMMAND: shipment.shown,
                    CODE: wheel.name.split("-")[1],
                    ATTEMPT: str(attempt),
                },
            )
        )


def find(jobs: Jobs, job_id: str) -> JobFacts:
    """Look a job up. Raises JobNotFound where the cluster does not know it."""
    job = jobs.find(job_id)
    if job is None:
        raise JobNotFound(
            f"The cluster at {jobs.url} knows no job {job_id!r}; cisray jobs list shows those it "
            f"knows. A head that is started anew forgets all of them."
        )
    return job


def stop(jobs: Jobs, job_id: str) -> JobFacts:
    """Stop a job, and give how it ended; one that has ended already is left as it is.

    Raises JobNotFound for one that the cluster does not know, and EngineError where it does not
    end within a minute.
    """
    job = find(jobs, job_id)
    if not job.is_live:
        return job
    jobs.stop(job_id)
    deadline = time.monotonic() + 2 * STOP_WAIT_S
    while (job := find(jobs, job_id)).is_live:
        if time.monotonic() > deadline:
            raise EngineError(
                f"{job_id} was asked to stop and is {job.state} after {2 * STOP_WAIT_S} s: look at "
                f"it again with cisray jobs status."
            )
        time.sleep(POLL_S)
    return job
