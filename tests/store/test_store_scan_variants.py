"""Queries of runs of variants: which rows and columns come back, and which files are opened."""

from dataclasses import dataclass

import polars as pl
import pytest
import store_runs as bins
import store_variants as world
from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.errors import (
    CoordinateError,
    RunNotFound,
    StatisticError,
    StorageError,
    TrackError,
    UnknownChromosome,
    WrongRun,
)
from cisray.store.scan import Run, open_run
from cisray.store.selection import Region


@dataclass(frozen=True)
class Span:
    chrom: str
    start: int
    end: int


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    # The folder above looks like a hive partition and like a glob: neither may matter.
    path = tmp_path_factory.mktemp("runs") / "chrom=zz" / "[a]*" / "run"
    world.finish(path)
    return open_run(path)


def numbers(run: Run, region: Region | None) -> list[int]:
    """The variants of a region, as two statistics of two blocks agree about them."""
    frame = run.scan(region=region).collect()
    for name in ("SAD_t0003", "logSAD_t0013"):
        stat, track = name.split("_t")
        owed = [world.value(n, stat, int(track)) for n in frame["variant"].to_list()]
        assert frame[name].to_list() == owed
    return frame["variant"].to_list()


def test_the_frame_has_the_documented_schema(run) -> None:
    assert dict(run.scan(stats="logSAD").collect_schema()) == {
        "variant": pl.Int64,
        "chrom": pl.Enum(["chr2", "HLA-A*01:01"]),
        "pos": pl.Int32,
        "ref": pl.String,
        "alt": pl.String,
        "id": pl.String,
        "source_chrom": pl.String,
        "source_pos": pl.Int64,
        "source_ref": pl.String,
        "source_alt": pl.String,
        "missing_bp": pl.Int32,
        "logSAD_t0003": pl.Float32,
        "logSAD_t0005": pl.Float32,
        "logSAD_t0008": pl.Float32,
        "logSAD_t0013": pl.Float32,
    }
    assert run.statistics == ["SAD", "logSAD"]
    assert run.chromosomes == ["chr2", "HLA-A*01:01"]


def test_rows_come_in_plan_order_and_sort_to_that_of_the_input(run) -> None:
    assert numbers(run, None) == [3, 8, 5, 0, 10, 1, 7, 2, 4]
    # 6 and 9 were rejected.
    assert run.scan().sort("variant").collect()["variant"].to_list() == [0, 1, 2, 3, 4, 5, 7, 8, 10]
    told = run.scan().select("id", "source_chrom", "source_pos", "missing_bp").collect().rows()
    assert told[3] == ("rs0", "2", 130, 0)


def test_statistics_and_tracks_come_in_the_order_of_the_run(run) -> None:
    # t0003 and t0008 lie in block cage, t0005 in block other.
    frame = run.scan(tracks="C*", stats=["logSAD", "SAD"]).collect()
    values = [name for name in frame.columns if "_t0" in name]
    assert values == [
        *("SAD_t0003", "SAD_t0005", "SAD_t0008"),
        *("logSAD_t0003", "logSAD_t0005", "logSAD_t0008"),
    ]
    row = frame.row(0, named=True)
    assert row["logSAD_t0005"] == world.value(3, "logSAD", 5)
    assert row["SAD_t0008"] == world.value(3, "SAD", 8)


def test_one_track_is_read_from_its_block_only(run) -> None:
    plan = run.scan(tracks="CHIP:CTCF").explain()
    assert "block=other" in plan
    assert "block=cage" not in plan


def test_an_unknown_statistic_is_named_with_what_is_near(run) -> None:
    with pytest.raises(StatisticError, match=r"'logSADR'\. Did you mean logSAD or SAD\? It holds"):
        run.scan(stats=["SAD", "logSADR"])
    with pytest.raises(StatisticError, match="no statistic is chosen"):
        run.scan(stats=[])
    with pytest.raises(TrackError):
        run.scan(tracks="ATAC:*")


def test_region_text_is_one_based_inclusive(run) -> None:
    assert numbers(run, "chr2:100-100") == [3, 8, 5]
    assert numbers(run, "chr2:101-129") == []
    assert numbers(run, "chr2:600-600") == [1]
    assert numbers(run, "2:601-9,999") == []
    assert numbers(run, "{HLA-A*01:01}:9-9") == [4]
    # The deletion of bases 7 and 8 reaches base 8, the substitution at 7 does not.
    assert numbers(run, "{HLA-A*01:01}:8-8") == [7]


def test_region_tuples_and_intervals_are_zero_based_half_open(run) -> None:
    assert numbers(run, ("chr2", 99, 100)) == numbers(run, Span("chr2", 99, 100)) == [3, 8, 5]
    assert numbers(run, ("chr2", 98, 99)) == numbers(run, ("chr2", 100, 129)) == []
    assert numbers(run, Span("HLA-A*01:01", -500, 7)) == [7, 2]


def test_a_long_reference_allele_is_found_wherever_it_reaches(run) -> None:
    # Bases 130-529 (1-based), and a variant at 140 in the next shard.
    assert numbers(run, "chr2:529-599") == [0]
    assert numbers(run, "chr2:530-599") == []
    assert numbers(run, "chr2:140-140") == [0, 10]
    assert numbers(run, "chr2:139-139") == [0]
    assert numbers(run, "chr2:529-600") == [0, 1]


def test_whole_chromosomes(run) -> None:
    for region in ("chr2", "2", ("chr2", 0, None), ("chr2", 0, 10**12)):
        assert numbers(run, region) == [3, 8, 5, 0, 10, 1]
    assert numbers(run, "HLA-A*01:01") == [7, 2, 4]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["chr2", "HLA-A*01:01"]), st.integers(-5, 700), st.integers(1, 500))
def test_a_region_has_every_variant_that_it_overlaps_and_no_other(run, chrom, start, width) -> None:
    owed = [
        number
        for shard in world.SHARDS
        for number, on, pos, ref, _ in shard
        if on == chrom
        and set(range(pos - 1, pos - 1 + len(ref))) & set(range(start, start + width))
    ]
    assert numbers(run, (chrom, start, start + width)) == owed


def test_an_unknown_chromosome_and_an_empty_region_are_errors(run) -> None:
    with pytest.raises(UnknownChromosome, match="no chromosome 'chr21'"):
        run.scan(region="chr21")
    with pytest.raises(CoordinateError, match="is empty"):
        run.scan(region=("chr2", 5, 5))


def test_only_files_that_can_matter_are_opened(tmp_path) -> None:
    path = tmp_path / "run"
    world.finish(path)
    run = open_run(path)
    (path / "data/effects/block=cage/stray.parquet").write_bytes(b"not parquet")
    for file in (path / "data").rglob("*.parquet"):
        if not file.name.startswith("chr2_000000139_"):
            file.write_bytes(b"garbage")
    assert numbers(run, "chr2:530-700") == [1]
    with pytest.raises(StorageError, match="has 7 bytes, the run recorded"):
        run.scan(region="chr2:529-529")


def test_a_missing_file_is_not_passed_over(tmp_path) -> None:
    world.finish(tmp_path / "run")
    next((tmp_path / "run/data").rglob("chr2_000000139_*")).unlink()
    with pytest.raises(StorageError, match="is missing"):
        open_run(tmp_path / "run").scan()


def test_an_unsealed_run_shows_what_is_committed(tmp_path) -> None:
    path = tmp_path / "run"
    with world.begin(path) as sink:
        empty = open_run(path, allow_unsealed=True).scan()
        assert empty.collect().height == 0
        sink.write(2, world.pieces_of(2, sink.blocks))
        run = open_run(path, allow_unsealed=True)
        assert world.rows_of(path, allow_unsealed=True) == world.expected_rows()[-3:]
        assert run.scan().collect_schema() == empty.collect_schema()
        assert run.variants.collect().height == 9
        with pytest.raises(RunNotFound, match="allow_unsealed"):
            open_run(path)


def test_plan_and_rejects_are_tables_of_the_run(run) -> None:
    plan = run.variants.collect()
    assert plan["variant"].to_list() == [3, 8, 5, 0, 10, 1, 7, 2, 4]
    assert plan["line"].to_list() == [5, 10, 7, 2, 12, 3, 9, 4, 6]
    assert plan["chrom"].dtype == pl.Enum(run.chromosomes)
    # Frames of a run can be joined by their chromosomes.
    joined = run.scan(tracks=3).join(run.variants, on=["chrom", "variant"], how="inner").collect()
    assert joined.height == 9
    assert run.rejects.collect().select("record", "reason").rows() == [
        (0, "spanning_deletion"),
        (1, "spanning_deletion"),
    ]
    assert run.verify() == 6


def test_verify_reads_plan_and_rejects_too(tmp_path) -> None:
    for name in world.PLAN_FILES:
        path = tmp_path / name
        world.finish(path)
        run = open_run(path)
        damaged = bytearray((path / name).read_bytes())
        damaged[40] ^= 1
        (path / name).write_bytes(damaged)
        with pytest.raises(StorageError, match=name):
            run.verify()


def test_each_kind_of_run_says_what_it_does_not_have(run, tmp_path) -> None:
    with pytest.raises(WrongRun, match="no tiles"):
        _ = run.windows
    bins.finish(tmp_path / "bins")
    along_the_genome = open_run(tmp_path / "bins")
    assert along_the_genome.statistics is None
    with pytest.raises(WrongRun, match="has no statistics"):
        along_the_genome.scan(stats="SAD")
    with pytest.raises(WrongRun, match="no variants"):
        _ = along_the_genome.variants
    with pytest.raises(WrongRun, match="no variants"):
        _ = along_the_genome.rejects
