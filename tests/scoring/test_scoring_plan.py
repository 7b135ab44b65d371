"""Tiles and shards over made-up genomes: every bin is owed by one row, or known as not scored."""

import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.windows import WindowSpec
from cisray.scoring.plan import (
    MAX_TILES_PER_SHARD,
    SHARD_SECONDS,
    cut_shards,
    group_regions,
    plan_tiles,
    tiles_per_shard,
)
from cisray_schemas.windows import WINDOWS

# Bins of 8 bp, 3 to a tile of 24 bp, 16 bp of context on each side: windows of 56 bp.
SPEC = WindowSpec(input_bp=56, bin_bp=8, target_bins=3)
TILE, CONTEXT = 24, 16

# A chromosome as stretches of known bases and of N, in turn.
chromosome = st.lists(st.integers(1, 150), min_size=1, max_size=5).map(
    lambda runs: "".join(("ACGT" * 40)[:n] if i % 2 == 0 else "N" * n for i, n in enumerate(runs))
)
genomes = st.lists(chromosome, min_size=1, max_size=4)


def opened(folder: str, sequences: list[str]) -> Genome:
    path = Path(folder) / "genome.fa"
    path.write_text("".join(f">chr{i}\n{text}\n" for i, text in enumerate(sequences)))
    return Genome.open(path)


def planned(sequences: list[str], regions=None, *, per_shard: int = 3) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder, opened(folder, sequences) as genome:
        wanted = dict.fromkeys(genome.chromosomes) if regions is None else group_regions(regions)
        table = cut_shards(plan_tiles(genome, SPEC, wanted), per_shard)
    assert table.schema.equals(WINDOWS.schema)
    return table.to_pylist()


@settings(max_examples=80, deadline=None)
@given(genomes, st.integers(1, 7))
@example(["A"], 1)
@example(["A" * 24], 1)
@example(["A" * 25], 2)
@example(["N" * 130], 3)
def test_every_bin_is_in_one_tile(sequences: list[str], per_shard: int) -> None:
    rows = planned(sequences, per_shard=per_shard)
    bins = Counter((row["chrom"], row["start"] + 8 * i) for row in rows for i in range(row["bins"]))
    # A bin starts at each multiple of 8 on the chromosome.
    assert bins == Counter(
        (f"chr{c}", start) for c, text in enumerate(sequences) for start in range(0, len(text), 8)
    )


@settings(max_examples=80, deadline=None)
@given(genomes)
@example(["A" + "N" * 200])
@example(["N" * 200 + "A"])
def test_the_bases_under_a_window_are_counted(sequences: list[str]) -> None:
    for row in planned(sequences):
        text = sequences[int(row["chrom"].removeprefix("chr"))]
        assert row["start"] % TILE == 0
        assert row["tile"] == row["start"] // TILE
        assert row["end"] - row["start"] == TILE
        assert row["input_start"] == row["start"] - CONTEXT
        assert row["input_end"] == row["end"] + CONTEXT
        window = [
            text[base] if 0 <= base < len(text) else "-"
            for base in range(row["input_start"], row["input_end"])
        ]
        assert row["missing_bp"] == window.count("-")
        assert row["acgt_bp"] == sum(base in "ACGT" for base in window)
        assert row["scored"] == (row["acgt_bp"] > 0)


@settings(max_examples=60, deadline=None)
@given(genomes, st.integers(1, 7))
def test_shards_are_neighbours_on_one_chromosome(sequences: list[str], per_shard: int) -> None:
    rows = planned(sequences, per_shard=per_shard)
    shards: dict[int, list[dict]] = {}
    for row in rows:
        shards.setdefault(row["shard"], []).append(row)
    assert list(shards) == list(range(len(shards)))
    for members in shards.values():
        assert len({row["chrom"] for row in members}) == 1
        assert len(members) <= per_shard
        first = members[0]["tile"]
        assert [row["tile"] for row in members] == list(range(first, first + len(members)))
    for c, text in enumerate(sequences):
        mine = [m for m in shards.values() if m[0]["chrom"] == f"chr{c}"]
        tiles = -(-len(text) // TILE)
        assert len(mine) == -(-tiles // per_shard)  # no shard is short but the last


@settings(max_examples=60, deadline=None)
@given(genomes, st.data())
def test_regions_choose_tiles_of_the_same_grid(sequences: list[str], data: st.DataObject) -> None:
    regions = []
    for _ in range(data.draw(st.integers(1, 4))):
        c = data.draw(st.integers(0, len(sequences) - 1))
        start = data.draw(st.integers(0, len(sequences[c]) - 1))
        end = data.draw(st.integers(start + 1, len(sequences[c])))
        regions.append(Interval(f"chr{c}", start, end))
    keep = ("chrom", "tile", "start", "input_start", "bins", "acgt_bp", "missing_bp", "scored")
    every = {(r["chrom"], r["tile"]): {k: r[k] for k in keep} for r in planned(sequences)}
    chosen = planned(sequences, regions)
    # A tile is chosen when a base of a region lies in its target, looked at base by base.
    expected = {
        (region.chrom, base // TILE)
        for region in regions
        for base in range(region.start, region.end)
    }
    assert len(chosen) == len(expected)
    for row in chosen:
        assert (row["chrom"], row["tile"]) in expected
        assert {k: row[k] for k in keep} == every[row["chrom"], row["tile"]]


def test_regions_keep_the_order_in_which_chromosomes_appear() -> None:
    regions = [Interval("chr2", 5, 9), Interval("chr1", 30, 31), Interval("chr2", 70, 80)]
    grouped = group_regions(regions)
    assert list(grouped) == ["chr2", "chr1"]
    assert grouped["chr2"] == [regions[0], regions[2]]


def test_no_tiles_are_no_shards() -> None:
    table = cut_shards([], 3)
    assert isinstance(table, pa.Table)
    assert (table.num_rows, table.schema.equals(WINDOWS.schema)) == (0, True)


times = st.floats(1e-6, 1e6)


@given(times, times)
def test_slower_tiles_never_make_larger_shards(one: float, other: float) -> None:
    fast, slow = sorted((one, other))
    assert tiles_per_shard(lambda n: slow * n) <= tiles_per_shard(lambda n: fast * n)


@given(times)
def test_shards_take_a_minute_at_most_where_they_can(seconds: float) -> None:
    size = tiles_per_shard(lambda n: seconds * n)
    assert 1 <= size <= MAX_TILES_PER_SHARD
    assert size & (size - 1) == 0
    assert size == 1 or size * seconds <= SHARD_SECONDS
    assert size == MAX_TILES_PER_SHARD or 2 * size * seconds > SHARD_SECONDS


@pytest.mark.parametrize(("seconds", "size"), [(0.9375, 64), (0.9376, 32), (30.0, 2), (30.1, 1)])
def test_the_bounds_of_a_shard(seconds: float, size: int) -> None:
    # 64 x 0.9375 s = 60 s; 2 x 30 s = 60 s.
    assert tiles_per_shard(lambda n: n * seconds) == size


def test_the_first_tile_of_a_shard_may_cost_more() -> None:
    # 15 + 3 x 15 s = 60 s; with a first tile of 16 s four take 61 s, and two 31 s.
    assert tiles_per_shard(lambda n: 15.0 + (n - 1) * 15.0) == 4
    assert tiles_per_shard(lambda n: 16.0 + (n - 1) * 15.0) == 2
