"""Queries: which rows and columns come back, and which files are opened for them."""

from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import store_runs as world
from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.errors import CoordinateError, RunNotFound, StorageError, UnknownChromosome
from cisray.store.rows import Piece
from cisray.store.run import ShardSink
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


def starts(run: Run, region: Region) -> list[tuple[str, int]]:
    frame = run.scan(region=region).collect()
    return frame.select("chrom", "start").rows()


def test_the_frame_has_the_documented_schema(run) -> None:
    assert dict(run.scan().collect_schema()) == {
        "chrom": pl.Enum(["chr2", "HLA-A*01:01"]),
        "start": pl.Int32,
        "end": pl.Int32,
        "t0003": pl.Float32,
        "t0005": pl.Float32,
        "t0008": pl.Float32,
        "t0013": pl.Float32,
    }
    assert run.sealed
    assert run.tracks.head == "human"
    assert run.windows.height == 5
    assert run.files.height == 6
    assert run.manifest.digest == world.make_manifest().digest


def test_a_run_is_shown_in_one_line(run) -> None:
    rows = run.scan().collect().height
    assert repr(run) == f"Run({str(run.path)!r}, {run.manifest.job}, {rows:,} rows, sealed)"


def test_tracks_come_in_head_order_across_blocks(run) -> None:
    # t0003 and t0008 lie in block cage, t0005 in block other.
    frame = run.scan(tracks="C*").collect()
    assert frame.columns == ["chrom", "start", "end", "t0003", "t0005", "t0008"]
    assert frame.rows() == [row[:6] for row in world.expected_rows()]


def test_one_track_is_read_from_its_block_only(run) -> None:
    plan = run.scan(tracks="CHIP:CTCF").explain()
    assert "block=other" in plan
    assert "block=cage" not in plan


def test_region_text_is_one_based_inclusive(run) -> None:
    # Bin 640-768 (0-based half-open) is 641-768 in browser words. 769 is the next bin's first base.
    assert starts(run, "chr2:641-768") == [("chr2", 640)]
    assert starts(run, "chr2:768-769") == [("chr2", 640), ("chr2", 768)]
    assert starts(run, "chr2:640-640") == [("chr2", 512)]
    assert starts(run, "2:1,409-2,049") == [("chr2", 1408), ("chr2", 2048)]


def test_region_tuples_and_intervals_are_zero_based_half_open(run) -> None:
    for region in (("chr2", 640, 768), Span("chr2", 640, 768), ("chr2", 767, 768)):
        assert starts(run, region) == [("chr2", 640)]
    assert starts(run, ("chr2", 767, 769)) == [("chr2", 640), ("chr2", 768)]
    # Intervals of windows may begin before the chromosome.
    assert starts(run, Span("HLA-A*01:01", -500, 129)) == [("HLA-A*01:01", 128)]


def test_a_whole_chromosome(run) -> None:
    owed = [("chr2", start) for shard in (0, 1) for start in world.STARTS[shard]]
    assert starts(run, "chr2") == owed
    assert starts(run, ("chr2", 0, None)) == owed
    assert starts(run, ("chr2", 0, 10**12)) == owed


def test_a_contig_whose_name_looks_like_a_locus(run) -> None:
    owed = [("HLA-A*01:01", start) for start in world.STARTS[2]]
    assert starts(run, "HLA-A*01:01") == owed
    # Bases 256-257 (0-based) are 257-258 to browsers: bin 256-384.
    assert starts(run, "{HLA-A*01:01}:257-258") == owed[1:2]


REGIONS = st.tuples(
    st.sampled_from(["chr2", "HLA-A*01:01"]), st.integers(0, 2600), st.integers(1, 1500)
)


@settings(max_examples=60, deadline=None)
@given(REGIONS)
def test_a_region_has_every_bin_that_it_overlaps_and_no_other(run, picked) -> None:
    chrom, start, width = picked
    owed = [
        row
        for row in world.expected_rows()
        if row[0] == chrom and max(row[1], start) < min(row[2], start + width)
    ]
    assert run.scan(region=(chrom, start, start + width)).collect().rows() == owed


@pytest.mark.parametrize(
    "region",
    [
        "chr2:1,600-1,700",
        "chr2:900,000-900,100",
        "chr2:9,000,000,000-9,000,000,001",
        ("chr2", 2432, 2433),
    ],
)
def test_where_the_run_has_no_rows_the_frame_is_empty(run, region) -> None:
    frame = run.scan(tracks="CAGE:*", region=region).collect()
    assert frame.height == 0
    assert frame.schema == run.scan(tracks="CAGE:*").collect_schema()


def test_an_unknown_chromosome_is_named(run) -> None:
    with pytest.raises(
        UnknownChromosome, match=r"no chromosome 'chr21'.*covers chr2, HLA-A\*01:01"
    ):
        run.scan(region="chr21:5-10")


@pytest.mark.parametrize("region", [("chr2", 640, 640), ("chr2", 640, 600)])
def test_an_empty_region_is_an_error(run, region) -> None:
    with pytest.raises(CoordinateError, match="chr2 640"):
        run.scan(region=region)


def test_only_files_that_can_matter_are_opened(tmp_path) -> None:
    path = tmp_path / "run"
    world.finish(path)
    run = open_run(path)
    (path / "data/tracks/block=cage/chrom=chr2/stray.parquet").write_bytes(b"not parquet")
    for file in (path / "data").rglob("*.parquet"):
        if not file.name.startswith("chr2_000002048_"):
            file.write_bytes(b"garbage")
    assert starts(run, "chr2:2,049-2,050") == [("chr2", 2048)]
    with pytest.raises(StorageError, match="has 7 bytes, the run recorded"):
        run.scan(region="chr2:513-600")


def test_a_missing_file_is_not_passed_over(tmp_path) -> None:
    path = tmp_path / "run"
    world.finish(path)
    next((path / "data").rglob("chr2_000002048_*")).unlink()
    with pytest.raises(StorageError, match="is missing"):
        open_run(path).scan()


def test_an_unsealed_run_shows_what_is_committed(tmp_path) -> None:
    path = tmp_path / "run"
    with world.begin(path) as sink:
        empty = open_run(path, allow_unsealed=True).scan()
        assert empty.collect().height == 0
        sink.write(2, world.pieces_of(2, sink.blocks))
        # A file without a record, as a killed writer leaves it.
        source = next((path / "data").rglob("*.parquet"))
        source.with_name("HLA-A%2A01%3A01_000000128_000000640.deadbeef.parquet").write_bytes(
            source.read_bytes()
        )
        run = open_run(path, allow_unsealed=True)
        assert not run.sealed
        assert run.scan().collect().rows() == world.expected_rows()[-4:]
        assert run.scan().collect_schema() == empty.collect_schema()
        with pytest.raises(RunNotFound, match="allow_unsealed"):
            open_run(path)


def test_no_run_is_told_apart_from_an_unsealed_one(tmp_path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(RunNotFound, match="holds no cisray run"):
            open_run(path)


ODD_NAMES = ["HLA-A*01:01:01:01", "a/b=c", "50% x", "chrµ", "9", "..", "_un"]


def test_odd_chromosome_names_survive_every_reader(tmp_path) -> None:
    tiles = tuple((i, i, name, 128, 1, True) for i, name in enumerate(ODD_NAMES))
    plan, tracks = world.make_plan(tiles), world.make_tracks((3,))
    manifest = world.make_manifest(
        plan_sha256=plan.sha256, num_shards=len(tiles), tracks_sha256=tracks.sha256
    )
    blocks = {"sel": [3]}
    with ShardSink.begin(tmp_path / "r", manifest, plan=plan, tracks=tracks, blocks=blocks) as sink:
        for shard, name in enumerate(ODD_NAMES):
            columns = pa.table(
                {
                    "start": pa.array([128], pa.int32()),
                    "t0003": pa.array([shard + 0.5], pa.float32()),
                }
            )
            sink.write(shard, [Piece("sel", name, 128, 256, columns)])
        sink.seal()
    owed = [(name, shard + 0.5) for shard, name in enumerate(ODD_NAMES)]
    run = open_run(tmp_path / "r")
    assert run.scan().select("chrom", "t0003").collect().rows() == owed
    assert run.scan(region=("a/b=c", 200, 201)).collect()["t0003"].to_list() == [1.5]
    folder = tmp_path / "r/data/tracks"
    naive = pl.scan_parquet(folder, hive_partitioning=True).select("chrom", "t0003").collect()
    assert sorted(naive.rows()) == sorted(owed)
    arrow = pq.read_table(folder, columns=["chrom", "t0003"]).to_pydict()
    assert sorted(zip(arrow["chrom"], arrow["t0003"], strict=True)) == sorted(owed)
