"""bigWig and bedGraph: every bin of every track read back, ends cut, and no error passed over."""

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pybigtools
import pysam
import pytest
import store_runs as world
from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.errors import ConfigError, CoordinateError, StorageError
from cisray.store.export import bigwig as bigwig_module
from cisray.store.export.bedgraph import write_bedgraph
from cisray.store.export.bigwig import write_bigwig
from cisray.store.export.bins import file_stem
from cisray.store.export.columns import GenomeTracks
from cisray.store.export.runs import genome_tracks_of
from cisray.store.export.text import index_suffix
from cisray.store.scan import Run, open_run

# The last bins, 2304-2432 and 512-640, reach over the ends.
LENGTHS = {"chr2": 2_400, "HLA-A*01:01": 600, "chrUn": 90}
ENDS = {("chr2", 2304): 2_400, ("HLA-A*01:01", 512): 600}
Bin = tuple[str, int, int, float]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    path = tmp_path_factory.mktemp("runs") / "run"
    world.finish(path)
    return open_run(path)


def owed(track: int) -> list[Bin]:
    """Every bin of a track, chromosomes in the order of their bytes (H before c)."""
    bins = [
        (chrom, start, ENDS.get((chrom, start), start + 128), world.value(chrom, start, track))
        for shard, chrom in world.CHROMS.items()
        for start in world.STARTS[shard]
    ]
    return sorted(bins, key=lambda row: row[0].encode())


def in_bigwig(path: Path) -> list[Bin]:
    with pybigtools.open(str(path)) as file:
        return [
            (chrom, start, end, np.float32(value))
            for chrom in sorted(file.chroms())
            for start, end, value in file.records(chrom)
        ]


def in_text(text: str) -> list[Bin]:
    rows = (line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    return [(c, int(start), int(end), np.float32(value)) for c, start, end, value in rows]


@pytest.mark.parametrize("track", world.TRACKS_HELD)
def test_every_bin_of_a_bigwig_reads_back(run, tmp_path, track) -> None:
    path = tmp_path / "x.bw"
    tracks = genome_tracks_of(run, LENGTHS)
    # 8 + 3 bins on chr2, 4 on the other; chrUn has none and is left out.
    assert write_bigwig(tracks, f"t{track:04d}", path) == 15
    assert in_bigwig(path) == owed(track)
    with pybigtools.open(str(path)) as file:
        assert file.chroms() == {"chr2": 2_400, "HLA-A*01:01": 600}


@pytest.mark.parametrize("name", ["x.bedgraph", "x.bedgraph.gz"])
@pytest.mark.parametrize("track", world.TRACKS_HELD)
def test_every_bin_of_a_bedgraph_reads_back(run, tmp_path, track, name) -> None:
    path = tmp_path / name
    assert write_bedgraph(genome_tracks_of(run, LENGTHS), f"t{track:04d}", path) == 15
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if name.endswith(".gz") else raw).decode()
    assert in_text(text) == owed(track)
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert comments[0].startswith(f"#track=t{track:04d} X{track} C") or track == 13
    assert f"#cisray_run={run.manifest.run_id}" in comments


def test_a_compressed_bedgraph_is_indexed(run, tmp_path) -> None:
    path = tmp_path / "x.bedgraph.gz"
    write_bedgraph(genome_tracks_of(run, LENGTHS), "t0005", path)
    with pysam.TabixFile(str(path)) as file:
        # 0-based half-open: bases 640 and 767 lie in bin 640-768, 768 in the next.
        assert [line.split("\t")[1] for line in file.fetch("chr2", 640, 768)] == ["640"]
        assert [line.split("\t")[1] for line in file.fetch("chr2", 767, 769)] == ["640", "768"]


def test_a_region_takes_whole_bins(run, tmp_path) -> None:
    # chr2:768-769, 1-based, meets bins 640-768 and 768-896.
    tracks = genome_tracks_of(run, LENGTHS, tracks=["CHIP:CTCF"], region="chr2:768-769")
    assert tracks.tracks.columns == ("t0005",)
    assert write_bigwig(tracks, "t0005", tmp_path / "x.bw") == 2
    assert [row[1:3] for row in in_bigwig(tmp_path / "x.bw")] == [(640, 768), (768, 896)]


def frames_of(bins: dict[str, list[tuple[int, float]]], lengths: dict[str, int]) -> GenomeTracks:
    """Bins of 128 bp by their starts, of track 3."""
    frames = {
        chrom: pl.LazyFrame(
            {
                "start": pl.Series([start for start, _ in rows], dtype=pl.Int32),
                "end": pl.Series([start + 128 for start, _ in rows], dtype=pl.Int32),
                "t0003": pl.Series([value for _, value in rows], dtype=pl.Float32),
            }
        )
        for chrom, rows in bins.items()
    }
    return GenomeTracks(
        tuple(frames), lambda chrom, _: frames[chrom], lengths, world.make_tracks((3,)), {}
    )


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=6),
    st.integers(1, 128),
)
def test_any_float32_reads_back_equal_and_the_end_is_cut(tmp_path_factory, values, over) -> None:
    rows = [(128 * i, value) for i, value in enumerate(values)]
    # The last bin has `over` bases on the chromosome.
    length = 128 * (len(values) - 1) + over
    tracks = frames_of({"c": rows}, {"c": length})
    folder = tmp_path_factory.mktemp("x")
    write_bigwig(tracks, "t0003", folder / "x.bw")
    write_bedgraph(tracks, "t0003", folder / "x.bg")
    expected = [("c", s, min(s + 128, length), np.float32(v)) for s, v in rows]
    assert in_bigwig(folder / "x.bw") == expected
    assert in_text((folder / "x.bg").read_text()) == expected


@pytest.mark.parametrize("write", [write_bigwig, write_bedgraph])
@pytest.mark.parametrize("lengths", [{"c": 256}, {"d": 1000}])
def test_another_genome_is_noticed(tmp_path, write, lengths) -> None:
    # The bin that starts at 256 has no base on a chromosome of 256.
    with pytest.raises(CoordinateError, match="starts at 256"):
        write(frames_of({"c": [(128, 1.0), (256, 2.0)]}, lengths), "t0003", tmp_path / "x.bw")


def test_no_bins_are_an_empty_bedgraph_and_no_bigwig(run, tmp_path) -> None:
    tracks = genome_tracks_of(run, LENGTHS, region="chr2:2,000-2,048")
    assert write_bedgraph(tracks, "t0003", tmp_path / "x.bedgraph.gz") == 0
    text = gzip.decompress((tmp_path / "x.bedgraph.gz").read_bytes()).decode()
    assert [line for line in text.splitlines() if not line.startswith("#")] == []
    assert f"#cisray_run={run.manifest.run_id}\n" in text
    with pysam.TabixFile(str(tmp_path / "x.bedgraph.gz")) as file:
        assert list(file.fetch()) == []
    with pytest.raises(ConfigError, match=r"no bins to export.*--format bedgraph"):
        write_bigwig(tracks, "t0003", tmp_path / "x.bw")
    assert not (tmp_path / "x.bw").exists()


def test_an_error_of_the_run_is_raised_and_not_printed(tmp_path, capfd) -> None:
    """pybigtools prints what its values raise, and returns; chr2 comes second."""
    world.finish(tmp_path / "run")
    tracks = genome_tracks_of(open_run(tmp_path / "run"), LENGTHS)
    for file in (tmp_path / "run").rglob("chr2_000002048_*.parquet"):
        file.write_bytes(b"garbage")
    with pytest.raises(StorageError, match="has 7 bytes"):
        write_bigwig(tracks, "t0003", tmp_path / "x.bw")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("after", [0, 1])
def test_an_interrupt_is_not_swallowed(tmp_path, monkeypatch, after) -> None:
    def stop(run, column):
        yield from [("c", run.bins("c", column).select("start", "end", value=column).collect())][
            :after
        ]
        raise KeyboardInterrupt

    monkeypatch.setattr(bigwig_module, "chromosome_bins", stop)
    with pytest.raises(KeyboardInterrupt):
        write_bigwig(frames_of({"c": [(0, 1.0)]}, {"c": 128}), "t0003", tmp_path / "x.bw")


def test_a_bigwig_that_lacks_bins_is_refused(tmp_path, monkeypatch) -> None:
    """pybigtools refuses bins that overlap, and says so on stderr alone."""
    tracks = frames_of({"c": [(0, 1.0), (64, 2.0)]}, {"c": 512})
    with pytest.raises(StorageError, match=r"x\.bw could not be written"):
        write_bigwig(tracks, "t0003", tmp_path / "x.bw")


def test_a_track_is_read_from_its_block_alone(run) -> None:
    # t0005 lies in block other.
    plan = genome_tracks_of(run, LENGTHS).bins("chr2", "t0005").explain()
    assert "block=other" in plan
    assert "block=cage" not in plan


def test_names_of_files_are_harmless() -> None:
    tracks = world.make_tracks((3,))
    rows = tracks.to_rows() | {"identifier": ["a/b c:1"]}
    odd = GenomeTracks((), pl.LazyFrame, {}, type(tracks).from_rows("human", rows), {})
    assert file_stem(odd, "t0003") == "t0003.a_b_c_1"


def test_long_chromosomes_get_the_other_index() -> None:
    assert index_suffix({"a": 1 << 29}) == ".tbi"
    assert index_suffix({"a": 5, "b": (1 << 29) + 1}) == ".csi"
