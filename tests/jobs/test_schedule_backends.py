"""The contract of `JobBackend`, for every backend: a job starts at most once, whoever asks.

Another backend joins by a fixture in `PLACES`. Jobs of a cluster run twice: on a job server that is
a part of the test, and on a cluster of Ray. `MemoryBackend`, which other tests use, is held to the
same contract as far as nothing really runs there.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from job_server import JobServer
from ray_cluster import RayCluster
from schedules import MemoryBackend, lines, program, runner_that_dies

from cisray_jobs.schedule.backend import Job, JobBackend, Phase, Status
from cisray_jobs.schedule.definition import Cluster
from cisray_jobs.schedule.local_backend import LocalBackend
from cisray_jobs.schedule.ray_backend import RayBackend, Reached
from cisray_jobs.schedule.runner import BEGUN, LOCK, lock_of

pytestmark = pytest.mark.usefixtures("importable")

WAIT_S = 90  # a cluster begins its first job after half a minute


@dataclass(frozen=True)
class Apart:
    """A backend whose ids are no other test's: a cluster knows an id for all time."""

    backend: JobBackend
    prefix: str

    def submit(self, job: Job) -> None:
        self.backend.submit(replace(job, id=self.prefix + job.id))

    def __getattr__(self, name: str) -> Any:
        return lambda job_id: getattr(self.backend, name)(self.prefix + job_id)


@dataclass(frozen=True)
class Place:
    """Where jobs run: what makes its backend, anew each time, and the signal that stops a job."""

    make: Callable[[], Any]
    stop: signal.Signals


def at(url: str, folder: Path) -> RayBackend:
    return RayBackend(folder / "jobs", Cluster(address=url), Reached(url))


@pytest.fixture
def local(tmp_path: Path) -> Place:
    return Place(lambda: LocalBackend(tmp_path / "jobs"), signal.SIGTERM)


@pytest.fixture
def job_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "session"))
    with JobServer(tmp_path / "session") as server:
        yield Place(lambda: at(server.url, tmp_path), signal.SIGINT)


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[RayCluster]:
    with RayCluster(workers=1) as started:
        yield started


@pytest.fixture
def cluster(ray_cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    ray_cluster.reach(monkeypatch)
    prefix = f"{uuid4().hex[:6]}."
    return Place(lambda: Apart(at(ray_cluster.url, tmp_path), prefix), signal.SIGINT)


PLACES = (
    "local",
    "job_server",
    pytest.param("cluster", marks=[pytest.mark.slow, pytest.mark.ray]),
)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def backend(place: Place) -> JobBackend:
    made: JobBackend = place.make()
    return made


def job(folder: Path, name: str = "s.1/T.1", seconds: float = 0, report: bool = False) -> Job:
    argv = (*program(folder), name, str(folder), str(seconds))
    return Job(
        name, argv, str(folder), (*argv[:-3], "report", str(folder), "0") if report else None
    )


def ended(backend: JobBackend, name: str = "s.1/T.1") -> Status:
    deadline = time.monotonic() + WAIT_S
    while (status := backend.status(name)) is None or status.phase is Phase.RUNNING:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return status


def until(there: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_job_runs_and_its_end_is_known(backend: JobBackend, tmp_path: Path) -> None:
    assert backend.status("s.1/T.1") is None
    backend.submit(job(tmp_path, report=True))
    assert backend.status("s.1/T.1") is not None
    status = ended(backend)
    assert (status.phase, status.exit_code) == (Phase.ENDED, 0)
    assert lines(tmp_path / "ends") == ["s.1/T.1", "report"]
    assert backend.status("s.1/T.2") is None


def test_asking_again_while_it_runs_and_later_starts_nothing(
    place: Place, backend: JobBackend, tmp_path: Path
) -> None:
    for _ in range(3):
        backend.submit(job(tmp_path, seconds=0.3))
    ended(backend)
    backend.submit(job(tmp_path))
    place.make().submit(job(tmp_path))
    assert ended(backend).exit_code == 0
    assert lines(tmp_path / "starts") == ["s.1/T.1"]


def test_many_that_ask_at_once_start_one(backend: JobBackend, tmp_path: Path) -> None:
    one = job(tmp_path, seconds=0.2)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: (backend.submit(one), backend.status(one.id)), range(8)))
    assert backend.status(one.id) is not None
    assert ended(backend).exit_code == 0
    assert lines(tmp_path / "starts") == ["s.1/T.1"]


def test_exit_codes_and_commands_that_are_not_there(backend: JobBackend, tmp_path: Path) -> None:
    python, here = (sys.executable, "-c"), str(tmp_path)
    report = (*python, "from pathlib import Path; Path('reported').touch()")
    backend.submit(Job("a/1", (*python, "raise SystemExit(3)"), here, report))
    backend.submit(Job("a/2", (str(tmp_path / "none"),), here, report))
    backend.submit(Job("a/3", (*python, "pass"), here, (*python, "raise SystemExit(9)")))
    error = "print('on it'); print('Error: the\\nfile is gone'); raise SystemExit(2)"
    backend.submit(Job("a/4", (*python, error), here, report))
    told = [ended(backend, f"a/{number}") for number in (1, 2, 3, 4)]
    assert [status.exit_code for status in told] == [3, 127, 0, 2]
    assert [told[number].why for number in (0, 2, 3)] == ["", "", "the file is gone"]
    assert not (tmp_path / "reported").exists()


def test_a_local_command_without_its_folder(local: Place, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    local.make().submit(Job("a/1", (sys.executable, "-c", "pass"), gone))
    status = ended(local.make(), "a/1")
    assert (status.exit_code, gone in status.why) == (127, True)


def test_a_stopped_job_ends_and_one_that_has_not_begun_never_does(
    place: Place, backend: JobBackend, tmp_path: Path
) -> None:
    backend.submit(job(tmp_path, seconds=60))
    until(lambda: lines(tmp_path / "starts"))
    backend.stop("s.1/T.1")
    assert ended(backend).exit_code == -place.stop
    backend.stop("s.1/T.2")
    backend.submit(job(tmp_path, "s.1/T.2"))
    assert ended(backend, "s.1/T.2").exit_code == -place.stop
    backend.stop("s.1/T.1")
    assert lines(tmp_path / "starts") == ["s.1/T.1"]
    assert lines(tmp_path / "ends") == []


def test_the_log_has_what_the_job_printed(backend: JobBackend, tmp_path: Path) -> None:
    text = "import sys; print('out'); print('err', file=sys.stderr)"
    backend.submit(Job("a/1", (sys.executable, "-c", text), str(tmp_path)))
    ended(backend, "a/1")
    log = backend.log("a/1")
    assert log is not None
    # A cluster says something itself, before.
    assert sorted(lines(Path(log))[-2:]) == ["err", "out"]
    assert backend.log("a/2") is None


def test_what_a_job_prints_can_be_followed_while_it_runs(
    place: Place, backend: JobBackend, cisray: Any, tmp_path: Path
) -> None:
    text = "import time; print('out', flush=True); time.sleep(60)"
    backend.submit(Job("a/1", (sys.executable, "-c", text), str(tmp_path)))
    log = backend.log("a/1")
    assert log is not None
    if place.stop is signal.SIGTERM:
        until(lambda: lines(Path(log)) == ["out"])
    else:
        until(lambda: cisray(*shlex.split(log)[1:]).out.endswith("out\n"))
    backend.stop("a/1")


def test_a_job_outlives_the_process_that_submitted_it(tmp_path: Path) -> None:
    one = job(tmp_path, seconds=0.5)
    text = (
        "import os, signal, sys, json\nfrom pathlib import Path\n"
        "from cisray_jobs.schedule.backend import Job\n"
        "from cisray_jobs.schedule.local_backend import LocalBackend\n"
        f"LocalBackend(Path({str(tmp_path / 'jobs')!r})).submit("
        f"Job({one.id!r}, {one.argv!r}, {one.folder!r}))\n"
        "os.killpg(os.getpgid(0), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    killed = subprocess.run(
        [sys.executable, "-c", text], env=environment, start_new_session=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert ended(LocalBackend(tmp_path / "jobs")).exit_code == 0
    assert lines(tmp_path / "ends") == ["s.1/T.1"]


@pytest.mark.faults
def test_a_command_outlives_its_runner_and_is_not_lost_before_it_ends(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path / "jobs")
    backend.submit(job(tmp_path, seconds=1.0))
    until(lambda: lines(tmp_path / "starts"))
    place = tmp_path / "jobs/s.1/T.1"
    group = json.loads((place / BEGUN).read_text())["group"]
    (runner,) = [pid for pid in members(group) if b"schedule.runner" in cmdline(pid)]
    os.kill(runner, signal.SIGKILL)
    assert backend.status("s.1/T.1") == Status(Phase.RUNNING)
    assert ended(backend) == Status(Phase.LOST)
    assert lines(tmp_path / "ends") == ["s.1/T.1"]  # it had ended when it was told lost
    backend.submit(job(tmp_path))
    assert backend.status("s.1/T.1") == Status(Phase.LOST)


@pytest.mark.faults
@pytest.mark.parametrize("point", ["before it begins", "after it began", "after the command"])
def test_a_runner_killed_at_any_point_starts_its_command_at_most_once(
    point: str, tmp_path: Path
) -> None:
    backend = LocalBackend(tmp_path / "jobs", runner_that_dies(point, tmp_path))
    if point == "before it begins":
        with pytest.raises(Exception, match="the next tick tries again"):
            backend.submit(job(tmp_path))
        assert backend.status("s.1/T.1") is None
        backend.submit(job(tmp_path))
        assert ended(backend).exit_code == 0
    else:
        backend.submit(job(tmp_path))
        assert ended(backend) == Status(Phase.LOST)
        backend.submit(job(tmp_path))
        assert ended(backend) == Status(Phase.LOST)
    assert lines(tmp_path / "starts") == ([] if point == "after it began" else ["s.1/T.1"])


def test_looking_at_a_job_never_keeps_it_from_beginning(tmp_path: Path) -> None:
    """Who looks has the lock for a moment, in which a runner may want it."""
    backend = LocalBackend(tmp_path / "jobs")
    with ThreadPoolExecutor(2) as pool:
        looking = True

        def look() -> None:
            while looking:
                for number in range(6):
                    backend.status(f"a/{number}")

        looks = pool.submit(look)
        for number in range(6):
            backend.submit(job(tmp_path, f"a/{number}"))
            assert backend.status(f"a/{number}") is not None
        looking = False
        looks.result()
    assert {ended(backend, f"a/{number}").exit_code for number in range(6)} == {0}


def test_several_may_look_at_a_job_at_the_same_moment(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path / "jobs")
    backend.submit(job(tmp_path))
    known = ended(backend)
    looking = lock_of(tmp_path / "jobs/s.1/T.1", to_look=True)
    assert looking is not None
    assert backend.status("s.1/T.1") == known
    os.close(looking)


def test_the_backend_of_other_tests_keeps_the_contract(tmp_path: Path) -> None:
    backend = MemoryBackend()
    assert backend.status("s.1/T.1") is None
    for _ in range(2):
        backend.submit(job(tmp_path))
    assert backend.running() == ["s.1/T.1"]
    backend.end(7)
    backend.submit(job(tmp_path))
    assert backend.status("s.1/T.1") == Status(Phase.ENDED, 7)
    backend.stop("b")
    backend.submit(job(tmp_path, "b"))
    assert backend.running() == []
    backend.submit(job(tmp_path, "c"))
    backend.end(None)
    backend.submit(job(tmp_path, "c"))
    assert backend.status("c") == Status(Phase.LOST)


def members(group: int) -> list[int]:
    """The processes of a group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == group:
            found.append(int(stat.parent.name))
    return found


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_no_lock_is_left_in_this_process(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path / "jobs")
    backend.submit(job(tmp_path))
    ended(backend)
    backend.stop("s.1/T.9")
    for _ in range(3):
        backend.status("s.1/T.1")
        backend.status("s.1/T.9")
    held = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()
            and path.exists()]  # fmt: skip
    assert [name for name in held if name.endswith(f"/{LOCK}")] == []
