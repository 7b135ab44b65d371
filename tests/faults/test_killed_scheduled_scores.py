"""A schedule that scores a growing file: killed within a run, and only what is new is scored.

The clock is set, the commands are real processes.
"""

import json
import os
import signal
import sys
from pathlib import Path

import growing_vcf as growing
import pytest
from schedules import Bench, SetClock, minute, states

from cisray_jobs.schedule.local_backend import LocalBackend

pytestmark = [pytest.mark.faults]


@pytest.mark.long
def test_two_minutes_of_a_growing_file_with_a_kill_within_the_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    vcf, ledger = growing.write_first(tmp_path), tmp_path / "ledger"
    bench = Bench(ledger, SetClock(minute(0)), LocalBackend(ledger / "jobs"))
    growing.schedule_scores(bench, tmp_path, vcf, "--workers", 0)

    assert bench.tick(60) == ["due", "running"]
    run = growing.output(bench)
    kill_within(bench, run)
    kept = growing.commits(run)
    growing.succeeds(bench)
    growing.assert_the_first_went_on(bench, run, kept)
    growing.assert_the_next_scores_what_is_new(bench, vcf)


def kill_within(bench: Bench, run: Path) -> None:
    """Kill everything of the job that writes a run, when some of its shards are done."""
    plan = bench.fires()[0].plan
    assert plan is not None
    assert "--since" not in plan.arguments
    growing.until(lambda: len(growing.commits(run)) >= 2)
    job = bench.folder / "jobs" / bench.ledger.schedule("s")[0].job_id(minute(1), 1)
    os.killpg(json.loads((job / "begun.json").read_text())["group"], signal.SIGKILL)
    growing.until(lambda: states(bench.ticker.tick()) == ["ready", "running"])
    assert not (run / "_SUCCESS").exists()
