"""Fires as jobs of a cluster: what is sent, how what is told is read, and what silence means.

The job server is a part of the test; it answers over HTTP and runs what it is sent.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import schedules
from job_server import JobServer
from schedules import Bench, cluster_points, counting_at, due, lines, minute

from cisray.errors import ClusterSilent, ConfigError
from cisray_jobs.schedule import ray_backend
from cisray_jobs.schedule.backend import Job, Phase, Settled, Status
from cisray_jobs.schedule.definition import Cluster
from cisray_jobs.schedule.local_backend import LocalBackend
from cisray_jobs.schedule.ray_backend import RayBackend, Reached
from cisray_jobs.schedule_places import backends

JOB = "night.0123abcd/20261127T030000Z.1"
ID = "cisray-night.0123abcd-20261127T030000Z.1"
TOKEN = "c0ffee" * 10

pytestmark = pytest.mark.usefixtures("importable")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobServer]:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "session"))
    monkeypatch.setattr(ray_backend, "QUIET_S", 0.0)
    # What the job server calls `python` is this one.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CISRAY_CLUSTER_PATHS", raising=False)
    # A Ray that other tests have in this process holds its clients to its own token.
    for name in () if ray.is_initialized() else ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    # A shell ignores SIGINT for what it runs in the background, and so would every job.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with JobServer(tmp_path / "session") as started:
        yield started
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def backend(server: JobServer, tmp_path: Path) -> RayBackend:
    return at(server, tmp_path)


def at(server: JobServer, folder: Path, **more: Any) -> RayBackend:
    cluster = Cluster(address=server.url, **more)
    return RayBackend(folder / "ledger/jobs", cluster, Reached(server.url))


def sleeping(name: str = JOB, seconds: float = 60) -> Job:
    return Job(name, (sys.executable, "-c", f"import time; time.sleep({seconds})"), "/")


def until_ended(backend: RayBackend, name: str = JOB) -> Status | None:
    deadline = time.monotonic() + 30
    while (status := backend.status(name)) == Status(Phase.RUNNING):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return status


def test_what_is_sent(server: JobServer, tmp_path: Path) -> None:
    """The id is the fire's; the wheel goes once, and settings with the command."""
    backend = at(server, tmp_path, variables={"HF_HOME": "/shared/hub"})
    argv = (*backend.program, "score", "genome", "--out=/runs/a b")
    backend.submit(Job(JOB, argv, "/", settings="workers: 2\n"))
    backend.submit(Job("b.0123abcd/T.1", argv, "/"))
    assert list(server.jobs) == [ID, "cisray-b.0123abcd-T.1"]
    first, second = (taken.asked for taken in server.jobs.values())
    assert first["entrypoint"] == "python -m cisray_jobs.cli score genome '--out=/runs/a b'"
    assert first["metadata"]["cisray_command"] == "cisray score genome '--out=/runs/a b'"
    for asked in (first, second):
        given = asked["runtime_env"]["env_vars"]
        assert given["HF_HOME"] == "/shared/hub"
        assert given["RAY_JOB_STOP_SIGNAL"] == "SIGINT"
    wheels = [name for name in server.packages if name.endswith(".whl")]
    assert len(wheels) == 1
    assert first["metadata"]["cisray_code"] in wheels[0]
    assert first["runtime_env"]["py_modules"] == second["runtime_env"]["py_modules"]
    assert "working_dir" in first["runtime_env"]
    assert "working_dir" not in second["runtime_env"]


DIED = {"error_type": "JOB_SUPERVISOR_ACTOR_DIED", "message": "the node\n is gone"}
SETUP = {"error_type": "RUNTIME_ENV_SETUP_FAILURE", "message": "no\n pip"}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"status": "PENDING"}, Status(Phase.RUNNING)),
        ({"status": "RUNNING"}, Status(Phase.RUNNING)),
        ({"status": "SUCCEEDED", "driver_exit_code": 0}, Status(Phase.ENDED, 0, 1_700_000_000)),
        ({"status": "FAILED", "driver_exit_code": 3}, Status(Phase.ENDED, 3, 1_700_000_000)),
        ({"status": "FAILED", "driver_exit_code": -9}, Status(Phase.ENDED, -9, 1_700_000_000)),
        (
            {"status": "STOPPED", "driver_exit_code": None},
            Status(Phase.ENDED, -signal.SIGINT, 1_700_000_000),
        ),
        (
            {"status": "FAILED", "driver_exit_code": None, **SETUP},
            Status(Phase.ENDED, 1, 1_700_000_000, "no pip"),
        ),
        (
            {"status": "FAILED", "driver_exit_code": None, **DIED},
            Status(Phase.LOST, why="the cluster says the node is gone"),
        ),
    ],
)
def test_what_the_cluster_says_is_read(
    server: JobServer, backend: RayBackend, said: dict[str, Any], expected: Status
) -> None:
    backend.submit(sleeping())
    server.say(ID, end_time=1_700_000_000_999, **said)
    assert backend.status(JOB) == expected


def test_an_end_and_its_log_are_kept_when_the_cluster_has_forgotten_them(
    server: JobServer, backend: RayBackend, tmp_path: Path
) -> None:
    backend.submit(Job(JOB, (sys.executable, "-c", "print('said'); raise SystemExit(3)"), "/"))
    log = backend.log(JOB)
    assert log == f"cisray jobs logs --address {server.url} {ID}"
    known = until_ended(backend)
    assert known is not None
    assert (known.phase, known.exit_code) == (Phase.ENDED, 3)
    server.forget()
    backend.submit(sleeping())
    assert at(server, tmp_path).status(JOB) == known
    assert server.jobs == {}
    log = backend.log(JOB)
    assert log is not None
    assert lines(Path(log)) == ["said"]


def test_a_log_that_the_cluster_has_lost_keeps_no_end_from_being_known(
    server: JobServer, backend: RayBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.submit(Job(JOB, ("false",), "/"))
    server.jobs[ID].log.unlink()
    server.jobs[ID].process.wait()
    status = backend.status(JOB)
    assert status is not None
    assert (status.exit_code, status.phase) == (1, Phase.ENDED)
    assert f"what {JOB} has printed stays on its cluster" in caplog.text
    assert backend.log(JOB) == f"cisray jobs logs --address {server.url} {ID}"


def bench_at(server: JobServer, folder: Path) -> Bench:
    return counting_at(server.url, folder, minute(0))


def test_silence_is_no_end_and_what_is_found_afterwards_counts(
    server: JobServer, tmp_path: Path
) -> None:
    bench = bench_at(server, tmp_path)
    bench.add("s", "{time}", str(tmp_path), "0")
    assert bench.tick(60) == ["due", "running"]
    server.close()
    told = bench.ticker.tick()
    assert [event.state for event in told] == ["running"]
    assert told[0].note.startswith("unknown: the cluster at http://127.0.0.1:")
    assert bench.tick() == []  # said once
    (fire,) = bench.fires()
    assert (fire.state, fire.note) == ("running", told[0].note)
    assert bench.tick(60) == ["skipped"]
    server.open()
    wait_for_ends(tmp_path, 1)
    assert bench.tick() == ["succeeded"]
    assert [fire.state for fire in bench.fires()] == ["succeeded", "skipped"]
    assert lines(tmp_path / "starts") == [due(1)]


def test_a_job_that_runs_after_a_silence_is_known_again(server: JobServer, tmp_path: Path) -> None:
    bench = bench_at(server, tmp_path)
    bench.add("s", "{time}", str(tmp_path), "60", cron="0 * * * *")
    assert bench.tick(3600) == ["due", "running"]
    server.close()
    assert bench.tick() == ["running"]
    server.open()
    told = bench.ticker.tick()
    assert [(event.state, event.note) for event in told] == [("running", "its job is known again")]
    assert bench.fires()[0].note == ""
    assert bench.tick() == []


def test_a_job_that_the_cluster_has_forgotten_is_lost_and_goes_on_as_another(
    server: JobServer, tmp_path: Path
) -> None:
    bench = bench_at(server, tmp_path)
    bench.add("s", "{time}", str(tmp_path), "0.5", cron="0 * * * *")
    assert bench.tick(3600) == ["due", "running"]
    wait_for_starts(tmp_path, 1)
    server.close()
    assert bench.tick() == ["running"]
    server.forget()
    server.open()
    told = bench.ticker.tick()
    assert [event.state for event in told] == ["ready", "running"]
    assert "does not know it any more; the same command goes on" in told[0].note
    wait_for_ends(tmp_path, 1)
    assert bench.tick() == ["succeeded"]
    (fire,) = bench.fires()
    assert (fire.attempt, fire.losses, fire.failures) == (2, 1, 0)
    assert [one.exit_code for one in bench.ledger.attempts("s", fire.time)] == [None, 0]
    assert [name[-2:] for name in server.jobs] == [".2"]
    assert lines(tmp_path / "starts") == [due(60)] * 2


def test_a_cluster_that_is_away_fails_no_fire_that_is_to_begin(
    server: JobServer, tmp_path: Path
) -> None:
    bench = bench_at(server, tmp_path)
    bench.add("s", "{time}", str(tmp_path), "0", cron="0 * * * *", back_off_s=60)
    server.close()
    assert bench.tick(3600) == ["due", "due"]
    for _ in range(3):
        assert bench.tick(61) == ["due"]
    assert bench.tick(60) == []
    (fire,) = bench.fires()
    assert fire.failures == 0
    assert "could not reach its job server" in fire.note
    server.open()
    assert bench.tick(1) == ["running"]


def test_who_does_not_answer_is_not_asked_at_once_again(
    server: JobServer, backend: RayBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_backend, "QUIET_S", 60.0)
    server.version = "2.3.0"
    with pytest.raises(ClusterSilent, match=r"runs Ray 2\.3\.0"):
        backend.reach()
    asked = list(server.asked)
    assert set(asked) == {"GET /api/version"}
    for _ in range(2):
        with pytest.raises(ClusterSilent, match=r"runs Ray 2\.3\.0"):
            backend.reach()
    assert server.asked == asked


@pytest.mark.faults
@pytest.mark.parametrize(
    "point",
    [
        point if point == "after it is sent" else pytest.param(point, marks=pytest.mark.slow)
        for point in cluster_points()
    ],
)
def test_a_pass_killed_around_a_submission_starts_one_job(
    point: str, server: JobServer, tmp_path: Path
) -> None:
    bench = bench_at(server, tmp_path)
    bench.add("s", "{time}", str(tmp_path), "0", cron="0 * * * *")
    at_end = point == "within the record of its end"
    if at_end:
        assert bench.tick(3600) == ["due", "running"]
        wait_for_ends(tmp_path, 1)
    given = [str(tmp_path), str(minute(60)), point, "1", server.url]
    killed = subprocess.run([sys.executable, schedules.__file__, *given], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    bench.clock.moment = minute(60) + schedules.MINUTE * 10  # beyond its claim
    if not at_end:
        assert len(server.jobs) == (0 if point == "before it is sent" else 1)
        assert bench.fires()[0].state == "ready"
        assert bench.tick() == ["running"]
        wait_for_ends(tmp_path, 1)
    assert bench.tick() == ["succeeded"]
    assert list(server.jobs) == [f"cisray-s.0123abcd-{due(60)}.1"]
    assert lines(tmp_path / "starts") == [due(60)]


def test_a_stop_that_nobody_hears_is_said_again_when_somebody_does(
    server: JobServer, tmp_path: Path
) -> None:
    bench = bench_at(server, tmp_path)
    bench.add("s", "{time}", str(tmp_path), "60", cron="0 * * * *", retries=3)
    assert bench.tick(3600) == ["due", "running"]
    wait_for_starts(tmp_path, 1)
    server.close()
    with pytest.raises(ClusterSilent, match="will be asked to end by the next pass"):
        bench.ticker.stop("s")
    server.open()
    assert bench.tick() == []  # it runs still, and is asked to end
    server.processes[0].wait(timeout=30)
    assert bench.tick() == ["failed"]
    assert bench.fires()[0].note == "stopped (exit code -2)"
    assert lines(tmp_path / "ends") == []


def test_a_job_that_was_stopped_before_it_began_never_begins(
    server: JobServer, backend: RayBackend
) -> None:
    server.close()
    with pytest.raises(ClusterSilent):
        backend.stop(JOB)
    server.open()
    backend.submit(sleeping())
    assert server.jobs == {}
    status = backend.status(JOB)
    assert status is not None
    assert (status.phase, status.exit_code) == (Phase.ENDED, -signal.SIGINT)


def test_one_that_was_sent_and_not_put_down_is_found_by_a_stop(
    server: JobServer, backend: RayBackend, tmp_path: Path
) -> None:
    backend.submit(sleeping())
    (tmp_path / "ledger/jobs" / JOB / "begun.json").unlink()
    backend.stop(JOB)
    status = until_ended(backend)
    assert status is not None
    assert status.exit_code == -signal.SIGINT
    assert (tmp_path / "ledger/jobs" / JOB / "begun.json").exists()


def test_the_token_is_of_the_environment_and_nowhere_else(
    server: JobServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token = TOKEN
    bench = bench_at(server, tmp_path)
    bench.add("s", "{time}", str(tmp_path), "0", cluster=Cluster(address=server.url))
    assert bench.tick(60) == ["due", "due"]
    assert "wants a token" in bench.fires()[0].note
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    assert bench.tick(61)[-1] == "running"
    wait_for_ends(tmp_path, 1)
    assert "succeeded" in bench.tick()
    bench.ledger.close()
    files = [path for path in (tmp_path / "ledger").rglob("*") if path.is_file()]
    assert len(files) > 5
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []


@pytest.mark.long
def test_a_command_is_settled_in_its_folder_with_the_file_of_settings(
    server: JobServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "elsewhere"))  # as at the end of a tunnel
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "run.yaml").write_text("fasta: hg.fa\nworkers: 2\n")
    backend = at(server, tmp_path, shared=("/shared", str(tmp_path)))
    given = ("score", "genome", "--config", "run.yaml", "--model", "../m.safetensors", "--out",
             "runs/a", "--device", "cpu")  # fmt: skip
    assert backend.settle(given, str(folder)) == Settled(
        ("score", "genome", "--config=settings.yaml", f"--model={tmp_path}/m.safetensors",
         f"--out={folder}/runs/a", "--device=cpu"),
        f"fasta: {folder}/hg.fa\nworkers: 2\n",
    )  # fmt: skip
    with pytest.raises(ConfigError, match="nothing can be started in it"):
        backend.settle(given, str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match="--dpeth"):
        backend.settle(("runs", "list", "--dpeth", "2"), str(folder))


def wait_for_starts(folder: Path, count: int) -> None:
    _wait(folder / "starts", count)


def wait_for_ends(folder: Path, count: int) -> None:
    _wait(folder / "ends", count)
    time.sleep(0.2)  # until the process has ended


def _wait(path: Path, count: int) -> None:
    deadline = time.monotonic() + 30
    while len(lines(path)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_each_schedule_runs_where_it_says(server: JobServer, tmp_path: Path) -> None:
    backend_of = backends(tmp_path)
    bench = bench_at(server, tmp_path)
    here = backend_of(bench.add("here"))
    there = backend_of(bench.add("there", cluster=Cluster(address=server.url)))
    assert isinstance(here, LocalBackend)
    assert isinstance(there, RayBackend)
    assert there.log(JOB) is None
    there.submit(Job(JOB, ("true",), "/"))
    assert list(server.jobs) == [ID]
    assert here.cluster_id(JOB) is None


Cli = Any


@pytest.fixture
def schedule(cisray: Cli, server: JobServer, tmp_path: Path, monkeypatch: Any) -> Cli:
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CISRAY_SCHEDULE", str(tmp_path / "ledger"))
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", server.url)
    return lambda *arguments: cisray("schedule", *arguments)


@pytest.fixture
def no_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: JobServer) -> None:
    """Let jobs end at once: what they do is another test's business."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")


def add(schedule: Cli, *options: str, command: tuple[str, ...]) -> Any:
    return schedule("add", "night", "--cron", "0 3 * * *", *options, "--", *command)


LIST = ("runs", "list", ".", "--json")


@pytest.mark.long
def test_a_fire_of_the_command_line_runs_there_and_is_shown(
    schedule: Cli, server: JobServer, tmp_path: Path
) -> None:
    added = json.loads(add(schedule, "--cluster", "--json", command=LIST).out)
    assert (added["address"], added["shared"]) == (server.url, [])
    assert server.url in schedule("list").out
    schedule("add", "here", "--cron", "0 3 * * *", "--", *LIST)
    assert [one["address"] for one in json.loads(schedule("list", "--json").out)] == [
        None,
        server.url,
    ]
    told = json.loads(schedule("run-now", "night", "--wait", "--json").out)
    assert [event["state"] for event in told] == ["running", "succeeded"]
    (job,) = server.jobs.values()
    assert job.asked["entrypoint"] == (
        f"python -m cisray_jobs.cli runs list --depth=1 --json -- {tmp_path / 'mine'}"
    )
    (fire,) = json.loads(schedule("show", "night", "--json").out)["fires"]
    (attempt,) = fire["attempts"]
    assert attempt["job"] == job.asked["submission_id"]
    assert json.loads(Path(attempt["log"]).read_text()) == []
    shown = schedule("show", "night").out
    assert attempt["job"] in shown
    assert f"runs on {server.url} " in " ".join(shown.split())
    assert "this machine" in schedule("show", "here").out


@pytest.mark.long
@pytest.mark.usefixtures("no_python")
def test_how_to_follow_a_job_that_runs_and_that_its_cluster_is_away(
    schedule: Cli, server: JobServer
) -> None:
    add(schedule, "--cluster", command=LIST)
    schedule("run-now", "night")
    (name,) = server.jobs
    server.say(name, status="RUNNING")
    shown = schedule("show", "night").out
    assert f"cisray jobs logs --address {server.url} {name}" in shown
    server.close()
    answer = schedule("tick")
    assert answer.code == 0
    assert "running: unknown: the cluster at" in answer.out
    server.open()


@pytest.mark.parametrize(
    ("options", "command", "told"),
    [
        ((), ("runs", "list", "runs"), ("may not have it", "/shared")),
        ((), ("runs", "list", "/shared/{time}", "--depth", "x"), ("--depth",)),
        (("--env", "HF_TOKEN=abc"), ("runs", "list", "/shared"), ("looks like a secret",)),
        (("--shared", "here"), ("runs", "list", "/shared"), ("must be absolute",)),
        (
            ("--watch", "in/*.vcf"),
            ("runs", "summarise", "{input}"),
            ("in/*.vcf", "may not have it"),
        ),
        (
            ("--watch", "https://example.org/a.vcf"),
            ("runs", "list", "{input}"),
            ("ledger/inputs/night", "may not have it"),
        ),
    ],
)
def test_what_the_cluster_could_not_run_is_refused(
    schedule: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    command: tuple[str, ...],
    told: tuple[str, ...],
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "elsewhere"))
    given = ("--cluster", "--shared", "/shared", *options)
    add(schedule, *given, command=command).assert_one_paragraph(*told)
    assert json.loads(schedule("list", "--json").out) == []


def test_a_previous_output_is_seen_where_outputs_are(
    schedule: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "elsewhere"))
    given = ("--model", "/shared/m", "--fasta", "/shared/g", "--vcf", "/shared/v", "--out",
             "/shared/runs/{time}", "--since", "{previous}", "--workers", "1",
             "--device", "cpu")  # fmt: skip
    answer = add(
        schedule, "--cluster", "--shared", "/shared", command=("score", "variants", *given)
    )
    assert answer.code == 0, answer.err


def test_options_of_clusters_go_with_one_and_it_must_answer(
    schedule: Cli, server: JobServer
) -> None:
    answer = add(schedule, "--shared", "/shared", command=LIST)
    assert (answer.code, "go with --cluster" in answer.told) == (2, True)
    server.close()
    answer = add(schedule, "--cluster", command=LIST)
    assert (answer.code, "could not reach its job server" in answer.told) == (1, True)
    assert json.loads(schedule("list", "--json").out) == []
    server.open()
