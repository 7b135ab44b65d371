"""A schedule that scores a growing file: killed within a run, and only what is new is scored.

The clock is set, the commands are real processes.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from effect_jobs import EXACT, genome_with_traps, write_genome, write_model, write_vcf
from schedules import Bench, SetClock, minute, states

from cisray.store.scan import open_run
from cisray_jobs.schedule.drift import read_report
from cisray_jobs.schedule.local_backend import LocalBackend
from cisray_jobs.schedule.tick import report_of

pytestmark = [pytest.mark.faults]

TEXT = genome_with_traps()["chr1"].upper()


def snv(pos: int) -> tuple[str, int, str, str, str]:
    return "chr1", pos, f"rs{pos}", TEXT[pos - 1], "ACGT"["CGTA".index(TEXT[pos - 1])]


def until(there: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def scheduled(folder: Path, vcf: Path) -> Bench:
    """A schedule that scores a file every minute, if it has changed."""
    ledger = folder / "ledger"
    bench = Bench(ledger, SetClock(minute(0)), LocalBackend(ledger / "jobs"))
    given = ("--model", write_model(folder / "m.safetensors"), "--fasta",
             write_genome(folder / "g.fa", genome_with_traps()), *EXACT,
             "--rows-per-shard", 1, "--workers", 0, "--threads", 1, "--quiet")  # fmt: skip
    command = ("score", "variants", "--vcf", "{input}", "--since", "{previous}", "--out",
               "runs/{time}", *map(str, given))  # fmt: skip
    bench.add("s", *command, watch=vcf.name)
    return bench


def test_two_minutes_of_a_growing_file_with_a_kill_within_the_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    old, new = [snv(pos) for pos in range(400, 480, 4)], [snv(500), snv(420), snv(504)]
    vcf = write_vcf(tmp_path / "in.vcf", old)
    os.utime(vcf, (minute(-9), minute(-9)))
    bench = scheduled(tmp_path, vcf)

    assert bench.tick(60) == ["due", "running"]
    run = output(bench)
    kill_within(bench, run)
    kept = {path: path.stat().st_mtime_ns for path in run.glob("_commits/*.json")}
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
    report = read_report(report_of(bench.folder, bench.ledger.schedule("s")[0], minute(4)))
    assert report is not None
    told = {change.what: (change.before, change.after) for change in report.changes}
    assert (told["entries"], told["rows"], told["linked"]) == ((20, 23), (20, 2), (0, 21))


def kill_within(bench: Bench, run: Path) -> None:
    """Kill everything of the job that writes a run, when some of its shards are done."""
    plan = bench.fires()[0].plan
    assert plan is not None
    assert "--since" not in plan.arguments
    until(lambda: len(list(run.glob("_commits/*.json"))) >= 2)
    job = bench.folder / "jobs" / bench.ledger.schedule("s")[0].job_id(minute(1), 1)
    os.killpg(json.loads((job / "begun.json").read_text())["group"], signal.SIGKILL)
    until(lambda: states(bench.ticker.tick()) == ["ready", "running"])
    assert not (run / "_SUCCESS").exists()


def output(bench: Bench) -> Path:
    plan = bench.fires()[-1].plan
    assert plan is not None
    return Path(str(plan.output))


def ids(rows: pl.LazyFrame) -> list[str]:
    found: list[str] = rows.select("id").collect()["id"].sort().to_list()
    return found


def names(records: list[tuple[str, int, str, str, str]]) -> list[str]:
    return sorted(record[2] for record in records)
