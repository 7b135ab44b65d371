"""The files of a sealed run in other people's hands: every reader finds the rows of `scan`.

With the versions that are installed, and (slow) with the oldest ones that are supported, in an
environment that is made for it.
"""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import store_runs as bins
import store_variants as variants
from read_parquet import READERS, Rows, Where

from cisray.store.scan import Run, open_run

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests/support/read_parquet.py"
OLDEST = ("duckdb", "numpy", "pandas", "polars", "pyarrow")
KEYS = {
    "bins": ["chrom", "start"],
    "variants": ["variant", "chrom", "pos", "ref", "alt", "id", "source_pos"],
}
FOLDERS = {"bins": "tracks", "variants": "effects"}
# Of each kind everything, a part of one chromosome, and a chromosome with an odd name.
PLACES = {
    "bins": [None, Where("chr2", "start", 640, 2176), Where("HLA-A*01:01", "start", 0, 300)],
    "variants": [None, Where("chr2", "pos", 100, 140), Where("HLA-A*01:01", "pos", 8, 10)],
}
CASES = [(kind, block, where) for kind, some in PLACES.items() for where in some
         for block in bins.TWO_BLOCKS]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    # Ten mantissa bits, as runs have by default.
    bins.finish(folder / "bins", mantissa_bits=10)
    variants.finish(folder / "variants", mantissa_bits=10)
    return {name: open_run(folder / name) for name in ("bins", "variants")}


def asked(run: Run, kind: str, block: str) -> tuple[Path, list[str]]:
    """The folder of a block, and columns to read from it."""
    tracks = [f"t{track:04d}" for track in bins.TWO_BLOCKS[block]]
    values = tracks if kind == "bins" else [f"logSAD_{track}" for track in tracks]
    return run.path / f"data/{FOLDERS[kind]}/block={block}", [*KEYS[kind], *values]


def owed(run: Run, columns: list[str], where: Where | None) -> Rows:
    frame = run.scan().with_columns(pl.col("chrom").cast(pl.String))
    if where is not None:
        is_there = pl.col(where.place).is_between(where.first, where.end, closed="left")
        frame = frame.filter(pl.col("chrom") == where.chrom, is_there)
    return sorted(frame.select(columns).collect().rows())


def assert_same(found: Rows, expected: Rows) -> None:
    assert sorted(map(tuple, found)) == expected
    assert all(math.isfinite(value) for row in found for value in row[-2:])


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("kind", "block", "where"), CASES)
def test_the_installed_readers_find_the_rows_of_scan(runs, reader, kind, block, where) -> None:
    folder, columns = asked(runs[kind], kind, block)
    expected = owed(runs[kind], columns, where)
    assert expected
    assert_same(READERS[reader](str(folder), columns, where), expected)


def test_scan_finds_what_was_written(runs) -> None:
    """What readers are compared with, compared with the formulas: 10 bits err by 2^-11 at most."""
    exact = 0
    for kind, world in (("bins", bins), ("variants", variants)):
        frame = runs[kind].scan().select(~pl.selectors.contains("source", "id", "missing"))
        for found, written in zip(frame.collect().rows(), world.expected_rows(), strict=True):
            first = world.FIRST_VALUE
            assert found[:first] == written[:first]
            assert found[first:] == pytest.approx(written[first:], rel=2**-11)
            exact += found[first:] == written[first:]
    assert exact < 5


def oldest() -> list[str]:
    """The lines of requirements.oldest that pin readers and what they need."""
    lines = (ROOT / "requirements.oldest").read_text().splitlines()
    return [line for line in lines if re.split("[=<>]", line)[0] in OLDEST]


def test_the_oldest_readers_are_pinned() -> None:
    assert [line.partition("==")[0] for line in sorted(oldest())] == sorted(OLDEST)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # installs some hundred megabytes
def test_the_oldest_readers_find_the_rows_of_scan(runs, tmp_path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "old"], check=True)
    python = tmp_path / "old/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *oldest()], check=True)
    for kind, block, where in CASES:
        folder, columns = asked(runs[kind], kind, block)
        words = [] if where is None else [str(word) for word in where]
        for reader in READERS:
            done = subprocess.run(
                [python, "-I", SCRIPT, reader, folder, ",".join(columns), *words],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{reader}: {done.stderr}"
            assert_same(json.loads(done.stdout), owed(runs[kind], columns, where))
