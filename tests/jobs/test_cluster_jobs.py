"""`cisray submit` and `cisray jobs` on a real cluster, a head and a worker, started here."""

import http.client
import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from listening import listening
from ray_cluster import RayCluster

from cisray.engine.job_server import job_server
from cisray.engine.jobs import JobRequest, Jobs
from cisray.errors import ClusterRefused, EngineError, JobExists
from cisray_jobs.submit.wheel import build_wheel

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with RayCluster(workers=1) as started:
        yield started


@pytest.fixture(autouse=True)
def reached(cluster: RayCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.reach(monkeypatch)


@pytest.fixture
def jobs() -> Jobs:
    return Jobs(job_server(os.environ["RAY_API_SERVER_ADDRESS"]))


def test_what_runs_is_the_code_that_was_sent(jobs: Jobs, tmp_path: Path) -> None:
    """Driver and workers import the wheel, and not what is installed here or there."""
    wheel = build_wheel(tmp_path)
    code = (
        "import cisray, ray, os; ray.init(); "
        "there = ray.remote(lambda: __import__('cisray').__file__); "
        "print('CODE', cisray.__file__, ray.get(there.remote()), os.environ['A'])"
    )
    request = JobRequest("code", f'python -c "{code}"', (wheel,), variables={"A": "1"})
    jobs.submit(request)
    with pytest.raises(JobExists, match="code already"):
        jobs.submit(request)
    said: list[str] = []
    facts = jobs.follow("code", said.append)
    assert (facts.state, facts.exit_code) == ("succeeded", 0), "".join(said)
    (line,) = [line for line in "".join(said).splitlines() if line.startswith("CODE ")]
    _, driver, worker, variable = line.split()
    assert driver == worker
    assert "py_modules_files" in driver
    assert wheel.stem.partition("+g")[2][:12] in driver
    assert variable == "1"
    assert "".join(said) == jobs.log_of("code")


def test_a_command_that_fails_ends_with_its_own_exit_code(cisray, tmp_path: Path) -> None:
    answer = cisray("submit", "--id", "wrong", "--", "runs", "show", tmp_path / "none")
    assert answer.code == 2
    assert "Submitted cisray-wrong-" in answer.err
    assert "failed, exit code 2" in answer.err
    assert f"{tmp_path / 'none'} holds no cisray run" in " ".join(answer.out.split())


def test_a_wrong_token_and_no_token(monkeypatch, cisray, cluster: RayCluster) -> None:
    for token, mode in (("f" * 64, "token"), ("", "disabled")):
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
        with pytest.raises(ClusterRefused, match="wants a token"):
            Jobs(job_server(cluster.url))
        answer = cisray("jobs", "list")
        answer.assert_one_paragraph("wants a token", "RAY_AUTH_TOKEN_PATH")
        assert (token or "nothing") not in answer.err


def test_where_nothing_answers() -> None:
    with pytest.raises(EngineError, match="could not reach its job server"):
        Jobs(job_server("http://127.0.0.1:1"))


def test_a_job_that_is_not_known(cisray) -> None:
    for command in (("status",), ("logs",), ("logs", "--follow"), ("stop",)):
        cisray("jobs", *command, "nobody").assert_one_paragraph("knows no job 'nobody'")


def test_all_nodes_are_here_or_the_paths_must_be_shared(
    cisray, jobs: Jobs, cluster: RayCluster, monkeypatch, tmp_path: Path
) -> None:
    assert jobs.is_on_this_machine()
    # As at the end of a tunnel: the session's folder is on another machine.
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert not jobs.is_on_this_machine()
    before = len(jobs.all())
    answer = cisray("submit", "--shared", "/shared", "--", "runs", "show", tmp_path / "r")
    answer.assert_one_paragraph(str(tmp_path / "r"), "may not have it", "--shared", "/shared")
    assert len(jobs.all()) == before


def test_no_secret_is_stored(cluster: RayCluster, jobs: Jobs) -> None:
    """Neither in what the job server knows nor in the logs of the session."""
    assert cluster.token not in json.dumps(cluster.ask("/api/jobs/"))
    logs = [p for p in cluster.folder.rglob("*") if p.is_file() and p.suffix in (".log", ".out")]
    assert len(logs) > 5
    assert [p for p in logs if cluster.token.encode() in p.read_bytes()] == []


def test_the_dashboard_listens_on_this_machine_and_nothing_else_answers_without_a_token(
    cluster: RayCluster,
) -> None:
    """What listens on a network speaks to holders of the token; numbers for Prometheus are open."""
    found = listening(cluster.processes())
    assert {address for address, port in found if port == cluster.dashboard} == {"127.0.0.1"}
    for address, port in sorted(found):
        host = "127.0.0.1" if address in ("0.0.0.0", "::") else address.removeprefix("::ffff:")
        answers = {path: answer(host, port, path) for path in ("/api/jobs/", "/api/version", "/")}
        told = {path: text for path, text in answers.items() if text is not None}
        is_numbers = all(text.lstrip().startswith("# HELP") for text in told.values())
        is_page = port == cluster.dashboard and set(told) == {"/"}
        assert is_numbers or is_page, (address, port, told)


def answer(host: str, port: int, path: str) -> str | None:
    """What a port says to anybody over HTTP; None where it refuses, or speaks something else."""
    caller = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with caller.open(f"http://{host}:{port}{path}", timeout=2) as said:
            return str(said.read(1_000_000).decode(errors="replace"))
    except (OSError, http.client.HTTPException):
        return None
