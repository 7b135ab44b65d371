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
from cisray_jobs.schedule.tick import PROGRAM, report_of

pytestmark = [pytest.mark.faults]

TEXT = genome_with_traps()["chr1"].upper()


def snv(pos: int) -> tuple[str, int, str, str, str]:
    return "chr1", pos, f"rs{pos}", TEXT[pos - 1], "ACGT"["CGTA".index(TEXT[pos - 1])]


def until(there: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_minutes_of_a_growing_file_with_a_kill_within_the_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    old, new = [snv(pos) for pos in range(400, 480, 4)], [snv(500), snv(420), snv(504)]
    vcf = write_vcf(tmp_path / "in.vcf", old)
    os.utime(vcf, (minute(-9), minute(-9)))
    folder = tmp_path / "ledger"
    bench = Bench(folder, SetClock(minute(0)), LocalBackend(folder / "jobs"), PROGRAM)
    given = ("--model", write_model(tmp_path / "m.safetensors"), "--fasta",
             write_genome(tmp_path / "g.fa", genome_with_traps()), *EXACT,
             "--rows-per-shard", 1, "--workers", 0, "--threads", 1, "--quiet")  # fmt: skip
    command = ("score", "variants", "--vcf", "{input}", "--since", "{previous}", "--out",
               "runs/{time}", *map(str, given))  # fmt: skip
    schedule = bench.add("s", *command, watch="in.vcf")

    assert bench.tick(60) == ["due", "running"]
    plan = bench.fires()[0].plan
    assert plan is not None
    assert "--since" not in plan.arguments
    run = Path(str(plan.output))
    until(lambda: len(list(run.glob("_commits/*.json"))) >= 2)
    job = folder / "jobs" / schedule.job_id(minute(1), 1)
    os.killpg(json.loads((job / "begun.json").read_text())["group"], signal.SIGKILL)
    until(lambda: states(bench.ticker.tick()) == ["ready", "running"])
    kept = {path: path.stat().st_mtime_ns for path in run.glob("_commits/*.json")}
    assert not (run / "_SUCCESS").exists()
    until(lambda: states(bench.ticker.tick()) == ["succeeded"])
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # not scored anew
    assert [a.exit_code for a in bench.ledger.attempts("s", minute(1))] == [None, 0]
    first = open_run(run)
    assert first.sealed
    assert first.scan().select("id").collect()["id"].sort().to_list() == names(old)

    assert bench.tick(60) == ["due", "unchanged"]
    write_vcf(vcf, [*new, *old])
    os.utime(vcf, (minute(2), minute(2)))
    assert bench.tick(120) == ["due", "running"]
    until(lambda: states(bench.ticker.tick()) == ["succeeded"])
    plan = bench.fires()[-1].plan
    assert plan is not None
    second = open_run(str(plan.output))
    own = second.scan(linked=False).select("id").collect()["id"].sort().to_list()
    # rs420 stands twice in the file, and was scored before.
    assert own == names([snv(500), snv(504)])
    assert second.linked.select(pl.len()).collect().item() == len(old) + 1
    assert second.scan().select("id").collect()["id"].sort().to_list() == names([*new, *old])
    report = read_report(report_of(folder, schedule, minute(4)))
    assert report is not None
    told = {change.what: (change.before, change.after) for change in report.changes}
    assert (told["entries"], told["rows"], told["linked"]) == ((20, 23), (20, 2), (0, 21))


def names(records: list[tuple[str, int, str, str, str]]) -> list[str]:
    return sorted(record[2] for record in records)
