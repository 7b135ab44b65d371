"""Schedules on a real cluster, a head and a worker, which is killed and started anew."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import growing_vcf as growing
import pytest
import schedules
from ray_cluster import RayCluster
from schedules import MINUTE, Bench, SetClock, counting_at, due, lines, minute

from cisray_jobs.schedule import ray_backend
from cisray_jobs.schedule.definition import Cluster
from cisray_jobs.schedule.ray_backend import RayBackend, Reached

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(900)]

WAIT_S = 180.0  # a cluster starts a job in seconds, on a busy machine in many


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, importable: None) -> Iterator[RayCluster]:
    monkeypatch.setattr(ray_backend, "QUIET_S", 0.0)
    with RayCluster(workers=1) as started:
        started.reach(monkeypatch)
        yield started


def test_a_watched_file_a_head_that_is_killed_and_only_what_is_new(
    cluster: RayCluster, tmp_path: Path
) -> None:
    """A run is lost with its cluster and goes on where it stopped; the next scores two alleles."""
    vcf, ledger = growing.write_first(tmp_path), tmp_path / "ledger"
    backend = RayBackend(ledger / "jobs", Cluster(address=cluster.url), Reached(cluster.url))
    bench = Bench(ledger, SetClock(minute(0)), backend)
    growing.schedule_scores(bench, tmp_path, vcf, "--workers", 1, "--device", "cpu")

    assert bench.tick(60) == ["due", "running"]
    run = growing.output(bench)
    growing.until(lambda: len(growing.commits(run)) >= 2, wait_s=WAIT_S)
    kept = growing.commits(run)

    cluster.kill_node(1)
    cluster.kill_node(0)
    assert bench.tick() == ["running"]
    assert bench.fires()[0].note.startswith("unknown: the cluster at")
    assert not (run / "_SUCCESS").exists()
    assert bench.tick(1) == []
    cluster.start_again()
    told = bench.ticker.tick()
    assert [event.state for event in told] == ["ready", "running"]
    assert "does not know it any more" in told[0].note
    growing.succeeds(bench, wait_s=WAIT_S)
    growing.assert_the_first_went_on(bench, run, kept)
    # The report of how scores drift is written here, when the job has ended there.
    growing.assert_the_next_scores_what_is_new(bench, vcf, wait_s=WAIT_S)


def test_a_daemon_killed_between_submission_and_record_has_one_job(
    cluster: RayCluster, tmp_path: Path
) -> None:
    bench = counting_at(cluster.url, tmp_path, minute(0))
    bench.add("s", "{time}", str(tmp_path), "0", cron="0 * * * *")
    given = [str(tmp_path), str(minute(60)), "after it is sent", "1", cluster.url]
    killed = subprocess.run([sys.executable, schedules.__file__, *given], check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    (fire,) = bench.fires()
    assert fire.state == "ready"  # nobody wrote down that it began
    bench.clock.moment = minute(60) + 10 * MINUTE
    assert bench.tick() == ["running"]
    growing.succeeds(bench, wait_s=WAIT_S)
    (job,) = cluster.ask("/api/jobs/")
    assert job["submission_id"] == f"cisray-s.0123abcd-{due(60)}.1"
    assert lines(tmp_path / "starts") == lines(tmp_path / "ends") == [due(60)]
