"""One job for one command: what is joined, what is submitted again, and who is faster."""

from collections.abc import Callable
from typing import Any

import pytest

from cisray.engine.jobs import JobFacts, JobRequest
from cisray.errors import EngineError, JobExists, JobNotFound
from cisray_jobs.submit import submission
from cisray_jobs.submit.jobs_output import described
from cisray_jobs.submit.shipment import Shipment

SHIPMENT = Shipment(("runs", "show"), ("runs", "show", "--", "/r"), None, {"A": "1"})
BASE = SHIPMENT.job_id(None)


def facts(job_id: str, state: Any) -> JobFacts:
    return JobFacts(job_id, state, "python -m ...", None, None, None, "", {})


class Jobs:
    """A cluster's jobs, in this process; `before` happens right before a job is submitted."""

    url = "http://127.0.0.1:8265"

    def __init__(self, before: Callable[["Jobs", str], None] = lambda jobs, job_id: None) -> None:
        self.states: dict[str, str] = {}
        self.requests: list[JobRequest] = []
        self.before = before
        self.stops: list[str] = []

    def find(self, job_id: str) -> JobFacts | None:
        return facts(job_id, self.states[job_id]) if job_id in self.states else None

    def submit(self, request: JobRequest) -> None:
        self.before(self, request.job_id)
        if request.job_id in self.states:
            raise JobExists("already exists")
        assert all(wheel.is_file() for wheel in request.modules)
        self.requests.append(request)
        self.states[request.job_id] = "pending"

    def stop(self, job_id: str) -> None:
        self.stops.append(job_id)


def submit(jobs: Jobs) -> submission.Submitted:
    cluster: Any = jobs
    return submission.submit(cluster, SHIPMENT)


def test_attempts_follow_each_other_and_what_runs_is_joined() -> None:
    jobs, seen = Jobs(), []
    for ending in ("failed", "stopped", "succeeded"):
        first = submit(jobs)
        assert not first.joined
        again = submit(jobs)
        assert (again.joined, again.job_id) == (True, first.job_id)
        jobs.states[first.job_id] = "running"
        assert submit(jobs).joined
        jobs.states[first.job_id] = ending
        seen.append((first.job_id, first.attempt))
    assert seen == [(BASE, 0), (f"{BASE}-a1", 1), (f"{BASE}-a2", 2)]
    assert [request.job_id for request in jobs.requests] == [job_id for job_id, _ in seen]


def test_what_is_submitted() -> None:
    jobs = Jobs()
    submit(jobs)
    (request,) = jobs.requests
    assert request.command == "python -m cisray_jobs.cli runs show -- /r"
    assert request.variables == {"A": "1"}
    (wheel,) = request.modules
    assert request.metadata["cisray_code"] in wheel.name
    job = described(JobFacts(BASE, "running", "", None, None, None, "", request.metadata))
    assert (job.command, job.attempt) == ("cisray runs show -- /r", 0)
    assert job.code.startswith("0.1.0+g")


@pytest.mark.parametrize(("state", "expected"), [("running", BASE), ("failed", f"{BASE}-a1")])
def test_somebody_is_faster(state: str, expected: str) -> None:
    """Between the look and the submission; their job is joined, or followed if it ended at once."""

    def overtake(jobs: Jobs, job_id: str) -> None:
        if job_id == BASE:
            jobs.states[BASE] = state

    told = submit(Jobs(overtake))
    assert (told.job_id, told.joined) == (expected, state == "running")


def test_a_head_that_forgot_everything_begins_anew() -> None:
    jobs = Jobs()
    submit(jobs)
    jobs.states.clear()
    assert submit(jobs).job_id == BASE


def test_it_does_not_try_for_ever(monkeypatch) -> None:
    monkeypatch.setattr(submission, "MAX_ATTEMPTS", 3)
    jobs = Jobs()
    jobs.states = {BASE: "failed", f"{BASE}-a1": "failed", f"{BASE}-a2": "failed"}
    with pytest.raises(EngineError, match=f"{BASE} was submitted 3 times"):
        submit(jobs)


def test_stopping(monkeypatch) -> None:
    monkeypatch.setattr(submission, "POLL_S", 0.0)
    jobs: Any = Jobs()
    with pytest.raises(JobNotFound, match="knows no job 'x'"):
        submission.stop(jobs, "x")
    jobs.states["done"] = "succeeded"
    assert submission.stop(jobs, "done").state == "succeeded"
    assert jobs.stops == []
    jobs.states["on"] = "running"
    monkeypatch.setattr(submission, "STOP_WAIT_S", 0)
    with pytest.raises(EngineError, match="was asked to stop and is running"):
        submission.stop(jobs, "on")
    monkeypatch.setattr(jobs, "stop", lambda job_id: jobs.states.update({job_id: "stopped"}))
    assert submission.stop(jobs, "on").state == "stopped"
