"""Jobs of a Ray cluster, each with a folder here that says what was asked and how it ended.

Knows the cluster's job server; knows nothing of schedules. A job's id on the cluster is made of its
id here and of nothing else, so whoever asks for it again finds it. What is in a folder:

    job.json     the command, written before
    begun.json   written when the cluster has taken the job: who finds it submits nothing
    stop         somebody wants it ended
    ended.json   how it ended, kept for when the cluster has forgotten it
    log          what it printed, fetched when it had ended
    report/      the report, a job of this machine

A cluster that does not know a job which it had taken was started anew, and its jobs ended with it.
One that does not answer says nothing of any job.
"""

import fcntl
import json
import logging
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cisray.engine.job_server import job_server
from cisray.engine.jobs import JobFacts, JobRequest, Jobs
from cisray.errors import (
    CisrayError,
    ClusterRefused,
    ClusterSilent,
    ConfigError,
    EngineError,
    JobExists,
    MissingExtra,
)
from cisray.store.files import make_folder, publish, writing_to
from cisray_jobs.schedule import local_backend
from cisray_jobs.schedule.backend import Job, Phase, Settled, Status, reason_in
from cisray_jobs.schedule.definition import Cluster
from cisray_jobs.schedule.local_backend import LocalBackend
from cisray_jobs.schedule.runner import BEGUN, ENDED, JOB, LOCK, LOG, write_whole
from cisray_jobs.submit.shipment import MODULE, pack
from cisray_jobs.submit.submission import CODE, COMMAND

PROGRAM = ("python", "-m", MODULE)
# Prints what `settle` gives. A process of its own: it runs in the folder of the schedule, and all
# that commands import would stay in a daemon.
SETTLE = (*local_backend.PROGRAM, "schedule", "settle")
STOP, REPORT = "stop", "report"
QUIET_S = 10.0  # after silence, until a cluster is asked again
_STOPPED = -signal.SIGINT  # with which the cluster is asked to stop a job

log = logging.getLogger(__name__)


def cluster_id(job_id: str) -> str:
    """Give the id that a job has on the cluster; a job's id has a name without `.` or `/` first.

    >>> cluster_id("night.0123abcd/20261127T030000Z.1")
    'cisray-night.0123abcd-20261127T030000Z.1'
    """
    return f"cisray-{job_id.replace('/', '-')}"


def how_to_follow(job_id: str, address: str) -> str:
    """Give the command that shows what a job prints."""
    return f"cisray jobs logs --address {address} {cluster_id(job_id)}"


def status_of(facts: JobFacts) -> Status:
    """Read how far a job is from what its cluster says."""
    if facts.is_live:
        return Status(Phase.RUNNING)
    ended = None if facts.ended is None else int(facts.ended.timestamp())
    if facts.state == "stopped":
        return Status(Phase.ENDED, _STOPPED, ended)
    why = " ".join(facts.message.split())[-600:]
    if facts.is_unseen:
        return Status(Phase.LOST, why=f"the cluster says {why}")
    if facts.exit_code is None:
        return Status(Phase.ENDED, int(facts.state != "succeeded"), ended, why)
    return Status(Phase.ENDED, facts.exit_code, ended)


class Reached:
    """The way of one process to the jobs of a cluster; the token is that of its environment."""

    def __init__(self, address: str) -> None:
        """Take the address of the job server; nothing is asked yet."""
        self.address = address
        self._silent = 0.0, ""

    @contextmanager
    def asking(self) -> Iterator[Jobs]:
        """Give the jobs. Raises ClusterSilent for all that keeps them from being asked.

        Who does not answer is not asked again for some seconds: others wait meanwhile.
        """
        until, why = self._silent
        if time.monotonic() < until:
            raise ClusterSilent(why)
        try:
            yield self._connected()
        except (EngineError, ClusterRefused, ConfigError, MissingExtra) as error:
            raise ClusterSilent(str(error)) from error

    def _connected(self) -> Jobs:
        try:
            return Jobs(job_server(self.address))
        except CisrayError as error:
            self._silent = time.monotonic() + QUIET_S, str(error)
            raise


class RayBackend:
    """Jobs of a cluster, with their folders below one of a local disk."""

    program: tuple[str, ...] = PROGRAM

    def __init__(self, folder: Path, cluster: Cluster, reached: Reached) -> None:
        """Keep the folders in `folder`; `reached` is the way to the cluster."""
        self._folder = folder
        self._cluster = cluster
        self._reached = reached
        self._here = LocalBackend(folder)

    def settle(self, arguments: tuple[str, ...], folder: str) -> Settled:
        """Write a command with its places as the cluster sees them.

        Raises ClusterSilent, and ConfigError for a command or a place that it could not run with.
        """
        with self._reached.asking() as jobs:
            all_here = jobs.is_on_this_machine()
        shared = [f"--shared={one}" for one in self._cluster.shared]
        options = [*shared, "--all-here"] if all_here else shared
        try:
            done = subprocess.run(
                [*SETTLE, *options, "--", *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            raise ConfigError(
                f"{folder} is the folder of the schedule, and nothing can be started in it: "
                f"{error.strerror}. Mend that, or add the schedule anew."
            ) from error
        if done.returncode != 0:
            raise ConfigError(reason_in(done.stderr) or f"the command fails here: {done.stderr}")
        told = json.loads(done.stdout)
        return Settled(tuple(told["arguments"]), told["settings"])

    def reach(self) -> None:
        """Do nothing where the cluster answers. Raises ClusterSilent."""
        with self._reached.asking() as jobs:
            jobs.is_on_this_machine()

    def submit(self, job: Job) -> None:
        """Start a job, unless one of that id was ever started or stopped: then do nothing.

        Raises ClusterSilent when nobody can say whether the cluster has taken it; asking again
        finds it there. Raises StorageError when its folder cannot be written.
        """
        place = self._prepared(job.id)
        publish(json.dumps(asdict(job)).encode(), place / JOB, staging=place, exclusive=True)
        with writing_to(place), _locked(place):
            if (place / BEGUN).exists() or (place / ENDED).exists():
                return
            if (place / STOP).exists():
                self._stop(job.id, place)
                return
            self._send(job)
            self._put_down_begin(job.id, place)

    def _send(self, job: Job) -> None:
        with self._reached.asking() as jobs, tempfile.TemporaryDirectory(prefix="cisray-") as made:
            wheel, settings = pack(Path(made), job.settings)
            # Whoever asked before and was killed has submitted the very same.
            with suppress(JobExists):
                jobs.submit(
                    JobRequest(
                        job_id=cluster_id(job.id),
                        command=shlex.join(job.argv),
                        modules=(wheel,),
                        folder=settings,
                        variables=self._cluster.variables,
                        metadata={COMMAND: _shown(job.argv), CODE: wheel.name.split("-")[1]},
                    )
                )

    def _put_down_begin(self, job_id: str, place: Path) -> None:
        told = {"id": cluster_id(job_id), "address": self._reached.address}
        write_whole(place / BEGUN, told | {"begun": int(time.time())})

    def status(self, job_id: str) -> Status | None:
        """Tell how far a job is, its report included; None for one that never began.

        Raises ClusterSilent.
        """
        place = self._folder / job_id
        if not place.is_dir():
            return None
        with writing_to(place), _locked(place):
            known = _ended(place) or self._asked(job_id, place)
        if known is None or known.phase is not Phase.ENDED or known.exit_code != 0:
            return known
        return self._reported(job_id, place, known)

    def _asked(self, job_id: str, place: Path) -> Status | None:
        facts = self._find(job_id)
        if facts is None:
            told = f"the cluster at {self._reached.address} does not know it any more"
            return Status(Phase.LOST, why=told) if (place / BEGUN).exists() else None
        status = status_of(facts)
        if status.phase is Phase.RUNNING and (place / STOP).exists():
            self._ask_to_stop(job_id)
        if status.phase is Phase.ENDED:
            status = self._put_down_end(job_id, place, status)
        return status

    def _put_down_end(self, job_id: str, place: Path, status: Status) -> Status:
        text = self._fetched_log(job_id)
        if text is not None:
            publish(text.encode(), place / LOG, staging=place, exclusive=False)
        why = status.why or (reason_in(text or "") if status.exit_code else "")
        told = {"exit_code": status.exit_code, "ended": status.ended, "why": why}
        write_whole(place / ENDED, told)
        return Status(Phase.ENDED, status.exit_code, status.ended, why)

    def _fetched_log(self, job_id: str) -> str | None:
        """Fetch what a job has printed; None where its cluster has not kept it, which is said."""
        try:
            with self._reached.asking() as jobs:
                return jobs.log_of(cluster_id(job_id))
        except ClusterSilent as error:
            log.warning("what %s has printed stays on its cluster: %s", job_id, error)
            return None

    def _reported(self, job_id: str, place: Path, known: Status) -> Status:
        job = _read(place / JOB)
        if job is None or job["report"] is None:
            return known
        report = Job(f"{job_id}/{REPORT}", tuple(job["report"]), job["folder"])
        self._here.submit(report)
        status = self._here.status(report.id)
        return status if status is not None and status.phase is Phase.RUNNING else known

    def stop(self, job_id: str) -> None:
        """Ask a running job to end, and make sure that one which has not begun never does.

        Raises ClusterSilent when it cannot be asked; `status` asks it again.
        """
        place = self._prepared(job_id)
        with writing_to(place), _locked(place):
            if (place / ENDED).exists():
                return
            (place / STOP).touch()
            try:
                self._stop(job_id, place)
            except ClusterSilent as error:
                raise ClusterSilent(
                    f"{error} {cluster_id(job_id)} will be asked to end by the next pass that "
                    f"reaches its cluster."
                ) from error

    def _stop(self, job_id: str, place: Path) -> None:
        """End what the cluster has taken, if it has; else put down that it never begins."""
        begun = (place / BEGUN).exists()
        if self._find(job_id) is not None:
            if not begun:
                self._put_down_begin(job_id, place)
            self._ask_to_stop(job_id)
        elif not begun:
            told = {"exit_code": _STOPPED, "ended": int(time.time()), "why": ""}
            write_whole(place / ENDED, told)

    def _find(self, job_id: str) -> JobFacts | None:
        with self._reached.asking() as jobs:
            return jobs.find(cluster_id(job_id))

    def _ask_to_stop(self, job_id: str) -> None:
        with self._reached.asking() as jobs:
            jobs.stop(cluster_id(job_id))

    def cluster_id(self, job_id: str) -> str:
        """Tell the id of a job on its cluster."""
        return cluster_id(job_id)

    def log(self, job_id: str) -> str | None:
        """Tell the path of what a job has printed, or before it has ended, how it is shown."""
        place = self._folder / job_id
        if (place / LOG).exists():
            return str(place / LOG)
        return how_to_follow(job_id, self._reached.address) if (place / BEGUN).exists() else None

    def _prepared(self, job_id: str) -> Path:
        place = self._folder / job_id
        with writing_to(place):
            make_folder(place)
        return place


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    """Be the only process that brings a job on; others wait, and find what was done."""
    descriptor = os.open(place / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _ended(place: Path) -> Status | None:
    told = _read(place / ENDED)
    return None if told is None else Status(Phase.ENDED, **told)


def _read(path: Path) -> dict[str, Any] | None:
    with suppress(FileNotFoundError):
        told: dict[str, Any] = json.loads(path.read_bytes())
        return told
    return None


def _shown(argv: tuple[str, ...]) -> str:
    """Write a command as a person would."""
    size = len(PROGRAM)
    return shlex.join(["cisray", *argv[size:]] if argv[:size] == PROGRAM else argv)
