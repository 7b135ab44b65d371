"""Following jobs when connections break, and what is made of the server's answers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from cisray.engine import jobs as engine_jobs
from cisray.engine.job_server import JobServer
from cisray.engine.jobs import RAY_VERSION, Jobs
from cisray.errors import ClusterRefused, EngineError, JobExists, MissingExtra

URL = "http://127.0.0.1:8265"
LOG = [f"line {number}\n" for number in range(6)]
Step = Callable[[], AsyncIterator[str]]


def details(status: str, code: int | None = None) -> Any:
    return SimpleNamespace(
        submission_id="j",
        status=status,
        entrypoint="cisray",
        start_time=1_700_000_000_500,
        end_time=None,
        driver_exit_code=code,
        message=None,
        metadata=None,
        error_type=None,
    )


class Server:
    """A job server that says what a test has written down, one answer after another."""

    def __init__(self, listens: list[Step], states: list[Any], version: str = RAY_VERSION) -> None:
        self.listens, self.states, self.version = listens, states, version
        self.headers: dict[str, str] = {}

    def __call__(self, url: str, headers: dict[str, str]) -> "Server":
        self.headers = headers
        return self

    @property
    def _server_ray_version(self) -> str:
        return self.version

    def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        return self.listens.pop(0)()

    def get_job_info(self, job_id: str) -> Any:
        state = self.states.pop(0)
        if isinstance(state, Exception):
            raise state
        return state

    def submit_job(self, **request: Any) -> None:
        self.request = request
        raise RuntimeError(self.states.pop(0))


def says(*pieces: str, then: str = "hangs up") -> Step:
    """A connection on which these pieces of a log come, and then something happens."""

    async def listen() -> AsyncIterator[str]:
        for piece in pieces:
            yield piece
        if then == "breaks":
            raise RuntimeError("WebSocket connection closed unexpectedly")
        if then == "says nothing more":
            await asyncio.sleep(60)

    return listen


@pytest.fixture
def reach(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine_jobs, "RETRY_S", 0.0)
    monkeypatch.setattr(engine_jobs, "QUIET_S", 0.05)

    def reached(server: Server, token: str | None = None) -> Jobs:
        monkeypatch.setattr(engine_jobs, "_Client", server)
        return Jobs(JobServer(URL, token))

    return reached


def test_no_line_is_lost_or_said_twice(reach) -> None:
    """The server sends a log from its beginning each time; pieces end anywhere."""
    whole = "".join(LOG)
    server = Server(
        [
            says(whole[:10], whole[10:20], then="breaks"),
            says(whole[:5], then="breaks"),  # less than was heard before
            says(whole[:13], whole[13:27], then="says nothing more"),
            says(whole[:30]),
            says(whole),
        ],
        [details("RUNNING"), details("RUNNING"), details("SUCCEEDED", 0)],
    )
    said: list[str] = []
    facts = reach(server).follow("j", said.append)
    assert "".join(said) == whole
    assert said[0] == whole[:10]
    assert (facts.state, facts.exit_code, facts.is_live) == ("succeeded", 0, False)
    assert server.listens == []
    assert facts.began is not None
    assert facts.began.isoformat() == "2023-11-14T22:13:20.500000+00:00"


def test_a_cluster_that_is_lost_is_given_up_after_a_while(reach, monkeypatch) -> None:
    jobs = reach(Server([says(then="breaks") for _ in range(50)], []))
    monkeypatch.setattr(engine_jobs, "LOST_S", 0.02)
    monkeypatch.setattr(engine_jobs, "RETRY_S", 0.01)
    with pytest.raises(EngineError, match=r"has not answered for .* may be running all the same"):
        jobs.follow("j", print)


def test_a_head_that_was_started_anew_knows_nothing(reach) -> None:
    gone = RuntimeError("Request failed with status code 404: Job j does not exist.")
    with pytest.raises(EngineError, match="does not know the job j any more"):
        reach(Server([says()], [gone])).follow("j", print)
    assert reach(Server([], [gone])).find("j") is None


def test_a_traceback_of_the_server_becomes_a_sentence(reach) -> None:
    trace = "Request failed with status code 500: Traceback (most recent call last):\n  File x\n"
    trace += "OSError: no room."
    with pytest.raises(EngineError) as caught:
        reach(Server([], [RuntimeError(trace)])).find("j")
    assert "could not find the job j: OSError: no room. Is it up" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_repeated_id_is_told_from_other_failures(reach) -> None:
    from cisray.engine.jobs import JobRequest

    repeated = "500: Traceback ...\nValueError: Job with submission_id j already exists. Please use"
    server = Server([], [repeated, "500: no agent"])
    jobs = reach(server)
    with pytest.raises(JobExists):
        jobs.submit(JobRequest("j", "true", variables={"A": "1"}))
    assert server.request["runtime_env"]["env_vars"]["A"] == "1"
    # A driver asks for nothing: only its workers do.
    assert not [name for name in server.request if name.startswith("entrypoint_")]
    with pytest.raises(EngineError, match="could not take the job j"):
        jobs.submit(JobRequest("j", "true"))


def test_another_minor_version_of_ray_is_refused(reach) -> None:
    assert reach(Server([], [], RAY_VERSION + "post1")).url == URL
    with pytest.raises(ClusterRefused, match=r"runs Ray 2\.9\.0"):
        reach(Server([], [], "2.9.0"))


def test_the_token_is_a_header_and_nothing_else(reach) -> None:
    server = Server([], [])
    reach(server, "s3cret")
    assert server.headers == {"Authorization": "Bearer s3cret"}
    reach(server)
    assert server.headers == {}


def test_without_rays_client(monkeypatch) -> None:
    monkeypatch.setattr(engine_jobs.sdk, "aiohttp", None)
    with pytest.raises(MissingExtra, match=r"cisray\[cluster\]"):
        Jobs(JobServer(URL))
