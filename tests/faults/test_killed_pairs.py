"""Pairs of a gene are a unit: killed between them, or on workers, the scores are the same."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from cisray.store.lock import RunLock
from cisray_jobs import cli
from cisray_jobs.models import init_model
from cisray_schemas import PAIR_SCORES

HEADER = "chrom\tchromStart\tchromEnd\tmeasuredGeneSymbol\tstartTSS\tendTSS\tRegulated\n"
GENES = 10


def arguments(folder: Path, out: Path, *more: object) -> list[str]:
    given = ("--pairs", folder / "pairs.tsv", "--model", folder / "tiny.safetensors", "--tracks",
             "CAGE", "--fasta", folder / "genome.fa", "--out", out, "--samples", 1, "--threads", 1,
             "--element-bp", 300, "--bootstraps", 10, "-q")  # fmt: skip
    return ["evaluate", "enhancers", *map(str, given), *map(str, more)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten genes on one chromosome, their pairs shuffled, one of them without a TSS on it."""
    home = tmp_path_factory.mktemp("pairs")
    init_model(home / "tiny.safetensors", "tiny", seed=3, randomise_all=True)
    dice = np.random.default_rng(12)
    bases = np.frombuffer(b"ACGT", np.uint8)[dice.integers(0, 4, 9_000)].tobytes().decode()
    (home / "genome.fa").write_text(f">A\n{bases}\n")
    rows = []
    for gene in range(GENES):
        tss = 2_200 + 450 * gene if gene else 9_500
        for start in dice.integers(100, 8_400, 4):
            label = dice.random() < 0.4
            rows.append(f"A\t{start}\t{start + 301}\tG{gene}\t{tss}\t{tss + 1}\t{label}\n")
    (home / "pairs.tsv").write_text(HEADER + "".join(dice.permutation(rows)))
    return home


def tables(out: Path) -> list[pl.DataFrame]:
    return [pl.read_parquet(out / f"{name}.parquet") for name in ("pair_scores", "metrics")]


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    out = folder / "whole"
    assert cli.run(arguments(folder, out)) == 0
    return out


@pytest.mark.long
@pytest.mark.faults
def test_killed_pairs_are_finished_by_the_same_command(folder, whole, tmp_path) -> None:
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    child = subprocess.Popen(
        [sys.executable, "-m", "cisray_jobs.cli", *arguments(folder, out)], env=environment
    )
    deadline = time.monotonic() + 120
    while len(done := list(tmp_path.glob(".out.*.units/unit_*.parquet"))) < 3:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.kill()
    assert child.wait() == -9
    assert not out.exists()
    times = {path: path.stat().st_mtime_ns for path in done}
    (units,) = tmp_path.glob(".out.*.units")
    lock = RunLock(units / ".lock")  # the dead process holds it no more; while we do, nobody else
    assert cli.run(arguments(folder, out)) == 1
    lock.release()
    assert {path: path.stat().st_mtime_ns for path in done} == times
    assert 3 <= len(list(units.glob("unit_*.parquet"))) < GENES
    marked = done[0]
    table = pl.read_parquet(marked)
    frame = table.with_columns(gradient=pl.lit(123.0))
    pq.write_table(frame.to_arrow().cast(PAIR_SCORES.schema), marked)
    assert cli.run(arguments(folder, out)) == 0
    assert list(tmp_path.iterdir()) == [out]
    # What was done was not done again: the mark is there, and everything else as if never killed.
    marks = pl.read_parquet(out / "pair_scores.parquet").filter(gradient=123.0)
    assert marks["row"].to_list() == table["row"].sort().to_list()
    same = [
        frame.filter(~pl.col("row").is_in(marks["row"].to_list()))
        for frame in (pl.read_parquet(side / "pair_scores.parquet") for side in (whole, out))
    ]
    assert_frame_equal(*same)


@pytest.mark.long
@pytest.mark.ray
def test_two_workers_change_nothing(folder, whole, tmp_path) -> None:
    out = tmp_path / "out"
    assert cli.run(arguments(folder, out, "--workers", 2)) == 0
    for one, two in zip(tables(whole), tables(out), strict=True):
        assert_frame_equal(one, two)
    reasons = pl.read_parquet(out / "pair_scores.parquet").filter(gene="G0")["reason"].unique()
    assert reasons.to_list() == ["TSS beyond its chromosome"]
    assert cli.run(arguments(folder, tmp_path / "x", "--num-gpus", 1)) == 2
