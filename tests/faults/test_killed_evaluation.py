"""An evaluation that is killed between its units goes on, and comes to the same numbers."""

import os
import subprocess
import sys
import time
from pathlib import Path

import made_up_eqtls as made
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cisray.store.lock import RunLock
from cisray_jobs import cli

pytestmark = pytest.mark.faults
UNITS = 16  # eight repeats of two tissues


def arguments(tables: Path, out: Path) -> list[str]:
    given = {
        "labels": tables / "labels.tsv", "external": f"good={tables}/good.tsv", "out": out,
        "repeats": 8, "folds": 2, "workers": 0,
    }  # fmt: skip
    return ["evaluate", "eqtl", *(str(x) for n, v in given.items() for x in (f"--{n}", v)), "-q"]


@pytest.mark.long
def test_a_killed_evaluation_is_finished_by_the_same_command(tmp_path: Path) -> None:
    labels = made.associations()
    made.write(tmp_path / "labels.tsv", labels)
    made.write(tmp_path / "good.tsv", made.scores(labels, 4))
    killed, whole = tmp_path / "killed/out", tmp_path / "whole/out"
    for out in (killed, whole):
        out.parent.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "cisray_jobs.cli", *arguments(tmp_path, killed)]
    child = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 120
    while len(done := list(killed.parent.glob(".out.*.units/unit_*.npz"))) < 3:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.kill()
    assert child.wait() == -9
    assert not killed.exists()
    times = {path: path.stat().st_mtime_ns for path in done}
    (units,) = killed.parent.glob(".out.*.units")
    lock = RunLock(units / ".lock")  # the dead process holds it no more; while we do, nobody else
    assert cli.run(arguments(tmp_path, killed)) == 1  # busy: the command itself is right
    lock.release()
    assert {path: path.stat().st_mtime_ns for path in done} == times
    assert len(list(units.glob("unit_*.npz"))) < UNITS
    for out in (killed, whole):
        assert cli.run(arguments(tmp_path, out)) == 0
        assert list(out.parent.iterdir()) == [out]
    for name in ("metrics", "folds", "rows", "importance"):
        one, two = (pl.read_parquet(out / f"{name}.parquet") for out in (killed, whole))
        assert_frame_equal(one, two)
