"""What a query reads: bytes that the process has read from files, as the kernel counts them."""

import subprocess
import sys
from pathlib import Path

import made_up_runs
import numpy as np
import pytest
from made_up_runs import plan_bins, plan_variants, write_bins, write_variants

from cisray.tracks import TrackSet

TRACKS = TrackSet.unnamed("human", 120)
BLOCKS = {"sel": list(range(60)), "rest": list(range(60, 120))}
COUNTING = Path("/proc/self/io")
pytestmark = pytest.mark.skipif(not COUNTING.exists(), reason="the kernel does not count reads")
# POLARS_FORCE_ASYNC: older versions map local files into memory, where reads are not counted.
CHILD = """
import sys
import polars as pl
import cisray

def read():
    lines = dict(line.split(": ") for line in open("/proc/self/io"))
    return int(lines["rchar"])

run = cisray.open_run(sys.argv[1])
pl.LazyFrame({"a": [1]}).filter(pl.col("a") > 0).collect()
variants = pl.DataFrame({"chrom": ["chr1"], "pos": [40_001], "ref": ["A"], "alt": ["C"]})
genes = pl.DataFrame({"chrom": ["chr1"], "start": [1_300_000], "end": [1_310_000]})
for query in sys.argv[2:]:
    before = read()
    frame = eval(query)
    height = (frame.collect() if isinstance(frame, pl.LazyFrame) else frame).height
    print(height, read() - before)
"""


def bytes_read(run: Path, *queries: str) -> list[tuple[int, int]]:
    """Rows of each query, and the bytes that were read for it."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, run, *queries], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": ":".join(sys.path), "POLARS_FORCE_ASYNC": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [tuple(map(int, line.split())) for line in done.stdout.splitlines()]


def stored(run: Path) -> int:
    return sum(file.stat().st_size for file in (run / "data").rglob("*.parquet"))


def noise(track: int, rows: int) -> made_up_runs.Values:
    return np.random.default_rng(track).normal(size=rows).astype(np.float32)


def test_one_track_over_one_gene_reads_a_small_part_of_the_run(tmp_path) -> None:
    run = tmp_path / "run"
    plan = plan_bins({"chr1": 40_000, "chr2": 4_000}, 8_000)
    write_bins(run, plan, TRACKS, lambda _c, _f, bins, track: noise(track, bins), blocks=BLOCKS)
    gene, track, gene_of_track, total = bytes_read(
        run,
        "run.scan(region=('chr1', 1_300_000, 1_310_000))",
        "run.scan(tracks=70)",
        "run.scan(tracks=70, region=('chr1', 1_300_000, 1_310_000))",
        "run.sum_over(genes, tracks=70)",
    )[:4]
    everything = bytes_read(run, "run.scan()")[0]
    assert everything[0] == 44_000
    assert everything[1] > 0.95 * stored(run)
    assert gene_of_track[0] == gene[0] == 79
    assert track[0] == 44_000
    assert gene_of_track[1] < 0.04 * everything[1]
    assert total[1] < 0.04 * everything[1]
    # Of each file at least its last 256 KB are read, which a footer may take.
    # A gene of all tracks lies in one file of six.
    assert gene[1] < 0.25 * everything[1]
    assert track[1] < 0.2 * everything[1]


def test_one_variant_of_many_reads_a_small_part_of_the_run(tmp_path) -> None:
    run = tmp_path / "run"
    rows = made_up_runs.snvs({"chr1": np.arange(20_000) * 4 + 1, "chr2": np.arange(20_000) + 1})
    plan = plan_variants(tmp_path, rows, shard_rows=10_000)
    write_variants(run, plan, TRACKS, lambda _s, t, _f, count: noise(t, count), blocks=BLOCKS)
    joined, ranked, everything = bytes_read(
        run, "run.join_variants(variants, tracks=70)", "run.top(5, tracks=70)", "run.scan()"
    )
    assert (joined[0], ranked[0], everything[0]) == (1, 5, 40_000)
    assert everything[1] > 0.95 * stored(run)
    # The plan is looked through for the keys; a ranking reads the keys of all rows in the end.
    assert joined[1] < 0.03 * everything[1] + (run / "variants.parquet").stat().st_size
    assert ranked[1] < 0.15 * everything[1]


def test_the_count_sees_bytes(tmp_path) -> None:
    """Else the tests above would be blind: a file that is read whole is counted whole."""
    run = tmp_path / "run"
    plan = plan_bins({"chr1": 100}, 100)
    write_bins(run, plan, TRACKS.select("0-3"), lambda _c, _f, bins, track: noise(track, bins))
    (tmp_path / "big").write_bytes(b"x" * 3_000_000)
    found = bytes_read(run, f"pl.DataFrame([len(open({str(tmp_path / 'big')!r}).read())])")
    assert 3_000_000 <= found[0][1] < 3_100_000
