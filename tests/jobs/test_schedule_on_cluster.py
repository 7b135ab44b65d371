"""Schedules on a real cluster, a head and a worker, which is killed and started anew."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
import schedules
from effect_jobs import EXACT, genome_with_traps, write_genome, write_model, write_vcf
from ray_cluster import RayCluster
from schedules import MINUTE, Bench, SetClock, counting_at, due, lines, minute, states

from cisray.store.scan import open_run
from cisray_jobs.schedule import ray_backend
from cisray_jobs.schedule.definition import Cluster
from cisray_jobs.schedule.drift import read_report
from cisray_jobs.schedule.ray_backend import RayBackend, Reached
from cisray_jobs.schedule.tick import report_of

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(900)]

TEXT = genome_with_traps()["chr1"].upper()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, importable: None) -> Iterator[RayCluster]:
    monkeypatch.setattr(ray_backend, "QUIET_S", 0.0)
    with RayCluster(workers=1) as started:
        started.reach(monkeypatch)
        yield started


def snv(pos: int) -> tuple[str, int, str, str, str]:
    return "chr1", pos, f"rs{pos}", TEXT[pos - 1], "ACGT"["CGTA".index(TEXT[pos - 1])]


def until(there: Callable[[], object]) -> None:
    deadline = time.monotonic() + 180
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def scheduled(folder: Path, url: str, vcf: Path) -> Bench:
    """A schedule that scores a file every minute on the cluster, if it has changed."""
    ledger = folder / "ledger"
    backend = RayBackend(ledger / "jobs", Cluster(address=url), Reached(url))
    bench = Bench(ledger, SetClock(minute(0)), backend)
    given = ("--model", write_model(folder / "m.safetensors"), "--fasta",
             write_genome(folder / "g.fa", genome_with_traps()), *EXACT, "--rows-per-shard", 1,
             "--workers", 1, "--device", "cpu", "--threads", 1, "--quiet")  # fmt: skip
    command = ("score", "variants", "--vcf", "{input}", "--since", "{previous}", "--out",
               "runs/{time}", *map(str, given))  # fmt: skip
    bench.add("s", *command, watch=vcf.name)
    return bench


def test_a_watched_file_a_head_that_is_killed_and_only_what_is_new(
    cluster: RayCluster, tmp_path: Path
) -> None:
    """A run is lost with its cluster and goes on where it stopped; the next scores two alleles."""
    old, new = [snv(pos) for pos in range(400, 480, 4)], [snv(500), snv(420), snv(504)]
    vcf = write_vcf(tmp_path / "in.vcf", old)
    os.utime(vcf, (minute(-9), minute(-9)))
    bench = scheduled(tmp_path, cluster.url, vcf)
    assert bench.tick(60) == ["due", "running"]
    run = output(bench)
    until(lambda: len(list(run.glob("_commits/*.json"))) >= 2)
    kept = {path: path.stat().st_mtime_ns for path in run.glob("_commits/*.json")}

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
    until(lambda: states(bench.ticker.tick()) == ["succeeded"])
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # not scored anew
    assert [a.exit_code for a in bench.ledger.attempts("s", minute(1))] == [None, 0]
    assert ids(open_run(run).scan()) == names(old)

    assert bench.tick(60) == ["due", "unchanged"]
    write_vcf(vcf, [*new, *old])
    os.utime(vcf, (minute(2), minute(2)))
    assert bench.tick(120) == ["due", "running"]
    until(lambda: states(bench.ticker.tick()) == ["succeeded"])
    second = open_run(output(bench))
    # rs420 stands twice in the file, and was scored before.
    assert ids(second.scan(linked=False)) == names([snv(500), snv(504)])
    assert ids(second.scan()) == names([*new, *old])
    assert_report(bench)


def assert_report(bench: Bench) -> None:
    """It is written here, when the job has ended there."""
    report = read_report(report_of(bench.folder, bench.ledger.schedule("s")[0], minute(4)))
    assert report is not None
    told = {change.what: (change.before, change.after) for change in report.changes}
    assert (told["entries"], told["rows"], told["linked"]) == ((20, 23), (20, 2), (0, 21))


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
    until(lambda: states(bench.ticker.tick()) == ["succeeded"])
    (job,) = cluster.ask("/api/jobs/")
    assert job["submission_id"] == f"cisray-s.0123abcd-{due(60)}.1"
    assert lines(tmp_path / "starts") == lines(tmp_path / "ends") == [due(60)]


def output(bench: Bench) -> Path:
    plan = bench.fires()[-1].plan
    assert plan is not None
    return Path(str(plan.output))


def ids(rows: pl.LazyFrame) -> list[str]:
    found: list[str] = rows.select("id").collect()["id"].sort().to_list()
    return found


def names(records: list[tuple[str, int, str, str, str]]) -> list[str]:
    return sorted(record[2] for record in records)
