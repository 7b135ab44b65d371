"""Jobs on a Ray cluster: submitting, finding, following and stopping them through its job server.

Knows Ray's client, its traps and its words; knows nothing of what a job does. Job history lives in
the memory of the head: after a restart of the head a job is unknown, which is told as None.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from ray.dashboard.modules import dashboard_sdk
from ray.dashboard.modules.job import sdk

from cisray.engine.job_server import JobServer, is_loopback
from cisray.engine.rayenv import ray
from cisray.errors import ClusterRefused, EngineError, JobExists, MissingExtra

State = Literal["pending", "running", "succeeded", "failed", "stopped"]
LIVE: tuple[State, ...] = ("pending", "running")
REQUEST_S = 60.0  # of silence, within a request
LOST_S = 300.0  # without an answer, until a job that is followed is given up
QUIET_S = 30.0  # without a line: ask whether the job is alive, and begin to listen anew
RETRY_S = 1.0
STOP_WAIT_S = 30
RAY_VERSION = str(ray.__version__)

# The job server's own names for them; pydantic puts more into its objects than is promised.
_STATES: dict[str, State] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "STOPPED": "stopped",
}
_ELSEWHERE = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_UNSEEN = ("JOB_SUPERVISOR_ACTOR_DIED", "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE")
_NOT_FOUND = "status code 404"
_REPEATED = "already exists"

# A stop that lets a run release its lock and say what is kept; Ray's default is SIGTERM and 3 s.
GRACEFUL_STOP = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}

log = logging.getLogger(__name__)

for module in (sdk, dashboard_sdk):
    module.logger.setLevel(logging.WARNING)  # both set it to INFO, and tell of every upload


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job to submit: a shell command, and what it finds where it runs.

    `modules` are wheels that are put before what is installed there; `folder` is copied and becomes
    the working directory. No resources are asked for: the command drives, and its workers ask.
    """

    job_id: str
    command: str
    modules: tuple[Path, ...] = ()
    folder: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What a job server knows of a job. Times are UTC; `exit_code` is that of the command.

    `error` is Ray's name for how it failed (`JobErrorType`).
    """

    job_id: str
    state: State
    command: str
    began: datetime | None
    ended: datetime | None
    exit_code: int | None
    message: str
    metadata: Mapping[str, str]
    error: str | None = None

    @property
    def is_live(self) -> bool:
        """Whether it has not ended."""
        return self.state in LIVE

    @property
    def is_unseen(self) -> bool:
        """Whether it ended with nobody to see how: with the machine of the process that watched."""
        return self.exit_code is None and self.error in _UNSEEN


class Jobs:
    """The jobs of one cluster."""

    def __init__(self, server: JobServer) -> None:
        """Reach the server.

        Raises EngineError where none answers, ClusterRefused where it does not let us in or runs
        another minor version of Ray, MissingExtra where Ray's client is not installed.
        """
        if sdk.aiohttp is None:
            raise MissingExtra(
                "A cluster's job server is asked through Ray's own client, which is not installed: "
                "pip install 'cisray[cluster]'."
            )
        self.url = server.url
        headers = {"Authorization": f"Bearer {server.token}"} if server.token else {}
        with self._asking("reach its job server"), _nowhere_else():
            self._client = _Client(server.url, headers=headers)
        self._check_version(str(self._client._server_ray_version))

    def submit(self, request: JobRequest) -> None:
        """Submit a job. Raises JobExists where its id was used already on this cluster."""
        surroundings: dict[str, Any] = {
            "env_vars": {**GRACEFUL_STOP, **request.variables},
            "py_modules": [str(wheel) for wheel in request.modules],
        }
        if request.folder is not None:
            surroundings["working_dir"] = str(request.folder)
        with self._asking(f"take the job {request.job_id}"):
            try:
                self._client.submit_job(
                    entrypoint=request.command,
                    submission_id=request.job_id,
                    runtime_env=surroundings,
                    metadata=dict(request.metadata),
                )
            except RuntimeError as error:
                # The server answers 500 with a traceback, whatever went wrong.
                if _REPEATED in str(error):
                    raise JobExists(
                        f"The cluster at {self.url} has a job {request.job_id} already."
                    ) from None
                raise

    def find(self, job_id: str) -> JobFacts | None:
        """Look a job up; None where the cluster does not know it."""
        with self._asking(f"find the job {job_id}"):
            try:
                return _facts(self._client.get_job_info(job_id))
            except RuntimeError as error:
                if _NOT_FOUND in str(error):
                    return None
                raise

    def all(self) -> list[JobFacts]:
        """List the jobs that were submitted, the newest first."""
        with self._asking("list its jobs"):
            told = self._client.list_jobs()
        jobs = [_facts(one) for one in told if one.submission_id]
        return sorted(jobs, key=lambda job: _begun(job.began), reverse=True)

    def log_of(self, job_id: str) -> str:
        """Give all that a job has printed."""
        with self._asking(f"give the log of {job_id}"):
            return str(self._client.get_job_logs(job_id))

    def stop(self, job_id: str) -> None:
        """Ask a job to stop: SIGINT to its command, and after 30 s SIGKILL. Does not wait."""
        with self._asking(f"stop the job {job_id}"):
            self._client.stop_job(job_id)

    def follow(self, job_id: str, say: Callable[[str], None]) -> JobFacts:
        """Say what a job prints, from its first line on, until it ends; give how it ended.

        A connection that breaks is made again, and no line is said twice. Raises EngineError where
        the cluster does not answer for 5 minutes, or does not know the job any more.
        """
        heard = _Heard(say)
        lost = (EngineError, OSError, RuntimeError, sdk.aiohttp.ClientError)
        answered = time.monotonic()
        while True:
            try:
                asyncio.run(self._listen(job_id, heard))
                facts = self.find(job_id)
                answered = time.monotonic()
            except lost as error:
                if time.monotonic() - answered > LOST_S:
                    raise EngineError(
                        f"the cluster at {self.url} has not answered for {LOST_S:.0f} s: {error}. "
                        f"The job may be running all the same: cisray jobs status {job_id}."
                    ) from error
                log.info("listening to %s again: %s", job_id, error)
                time.sleep(RETRY_S)
                continue
            if facts is None:
                raise EngineError(
                    f"the cluster at {self.url} does not know the job {job_id} any more: its head "
                    f"was started anew, and jobs end with it. The same command submits it again."
                )
            if not facts.is_live:
                return facts
            time.sleep(RETRY_S)

    def is_on_this_machine(self) -> bool:
        """Tell whether the whole cluster runs here, and not behind a tunnel that ends here.

        It does if the session's folder is on this disk, all nodes have one address, and one of them
        has CPUs: a head without waits for nodes elsewhere.
        """
        with self._asking("say which nodes it has"):
            version = self._client._do_request("GET", "/api/version").json()
            told = self._client._do_request("GET", "/api/v0/nodes?limit=1000&detail=1").json()
        session = _temporary_folder() / str(version["session_name"])
        nodes = [node for node in told["data"]["result"]["result"] if node["state"] == "ALIVE"]
        addresses = {node["node_ip"] for node in nodes}
        has_cpus = any(node["resources_total"].get("CPU", 0) for node in nodes)
        return session.is_dir() and len(addresses) == 1 and has_cpus

    async def _listen(self, job_id: str, heard: "_Heard") -> None:
        """Listen until the server hangs up, or nothing was said for a while."""
        heard.begin()
        async with aclosing(self._client.tail_job_logs(job_id)) as lines:
            while (text := await _next_within(lines, QUIET_S)) is not None:
                heard.hear(text)

    def _check_version(self, theirs: str) -> None:
        ours = RAY_VERSION.split(".")[:2]
        if theirs.split(".")[:2] != ours:
            raise ClusterRefused(
                f"The cluster at {self.url} runs Ray {theirs}, and this cisray is made for "
                f"{'.'.join(ours)}: start it from an image with Ray {RAY_VERSION}."
            )

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Tell what was asked when the server fails; its own words may be a traceback."""
        try:
            yield
        except ray.exceptions.AuthenticationError:
            raise ClusterRefused(
                f"The cluster at {self.url} wants a token, and not the one it was given, or none "
                f"was. Set RAY_AUTH_TOKEN to it, or RAY_AUTH_TOKEN_PATH to a file that holds it."
            ) from None
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise EngineError(
                f"the cluster at {self.url} could not {what}: {_last_line(error)}. Is it up, and "
                f"is the tunnel to it (ray dashboard CLUSTER.yaml)?"
            ) from error


class _Client(sdk.JobSubmissionClient):  # type: ignore[misc]  # Ray is not typed
    """Ray's client, with an end to waiting, and straight to this machine where that is asked.

    By itself it waits for ever, and sends requests to 127.0.0.1 through the proxy of `http_proxy`.
    """

    def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
        options.setdefault("timeout", REQUEST_S)
        host = urlsplit(str(self._address)).hostname or ""
        if is_loopback(host):
            options.setdefault("proxies", {"no_proxy": host})
        return super()._do_request(method, endpoint, **options)


class _Heard:
    """What was said of a log. The server sends all of it at every connection."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._said, self._at = say, 0, 0

    def begin(self) -> None:
        """Take notice of a new connection."""
        self._at = 0

    def hear(self, text: str) -> None:
        """Say what of a piece is new."""
        fresh = text[max(0, self._said - self._at) :]
        self._at += len(text)
        if fresh:
            self._said = self._at
            self._say(fresh)


async def _next_within(lines: AsyncIterator[str], seconds: float) -> str | None:
    """Give the next piece of a log; None where it has ended, or nothing came in time."""
    try:
        async with asyncio.timeout(seconds):
            return await anext(lines)
    except (StopAsyncIteration, TimeoutError):
        return None


@contextmanager
def _nowhere_else() -> Iterator[None]:
    """Hide the variables that Ray's client prefers to the address that it is given."""
    hidden = {name: os.environ.pop(name) for name in _ELSEWHERE if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _facts(told: Any) -> JobFacts:
    return JobFacts(
        job_id=str(told.submission_id),
        state=_STATES[str(getattr(told.status, "value", told.status))],
        command=str(told.entrypoint),
        began=_time(told.start_time),
        ended=_time(told.end_time),
        exit_code=told.driver_exit_code,
        message=str(told.message or ""),
        metadata=dict(told.metadata or {}),
        error=told.error_type,
    )


def _time(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None


def _begun(moment: datetime | None) -> datetime:
    return moment or datetime.fromtimestamp(0, UTC)


def _temporary_folder() -> Path:
    """Where Ray keeps sessions on this machine, unless it was started with --temp-dir."""
    return Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray"


def _last_line(error: Exception) -> str:
    """What an error says; of a traceback, that is its last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" .")]
    return lines[-1].rstrip(".")[:300] if lines else type(error).__name__
