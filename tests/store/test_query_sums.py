"""Sums over intervals: which bins count, which are missing, and what is added up."""

import made_up_runs
import numpy as np
import polars as pl
import pytest
import store_runs as world
import store_variants
from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.errors import ConfigError, CoordinateError, FrameError, WrongRun
from cisray.store.queries import parts, sums
from cisray.store.scan import Run, open_run
from cisray.tracks import TrackSet

SCHEMA = {"chrom": pl.String, "start": pl.Int64, "end": pl.Int64, "name": pl.String}
# Every bin of the run: chromosome, start, and the values of its four tracks.
BINS = [(row[0], row[1], row[3:]) for row in world.expected_rows()]


def genes(*rows: tuple[object, ...]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    path = tmp_path_factory.mktemp("runs") / "run"
    world.finish(path)
    return open_run(path)


def bins_of(places: list[tuple[str, int, int]]) -> set[tuple[str, int]]:
    """Bins of the grid, 128 bp from base 0, that hold a base of any place; base by base."""
    return {
        (chrom, base // 128 * 128) for chrom, start, end in places for base in range(start, end)
    }


def owed(places: list[tuple[str, int, int]], how: str = "sum") -> tuple[int, int, list[float]]:
    wanted = bins_of(places)
    there = [values for chrom, start, values in BINS if (chrom, start) in wanted]
    totals = [sum(column) for column in zip(*there, strict=True)] if there else [None] * 4
    if how == "mean" and there:
        totals = [total / len(there) for total in totals]
    return len(there), len(wanted) - len(there), totals


def assert_row(row: tuple[object, ...], expected: tuple[int, int, list[float]]) -> None:
    bins, missing, totals = expected
    assert row[:2] == (bins, missing)
    for got, total in zip(row[2:], totals, strict=True):
        assert got == (None if total is None else pytest.approx(total, rel=1e-12))


COLUMNS = ["bins", "bins_missing", "t0003", "t0005", "t0008", "t0013"]


@pytest.mark.parametrize(
    ("start", "end", "bins", "missing"),
    [
        (640, 641, 1, 0),  # the first base of a bin, and the last one of the bin before
        (639, 640, 1, 0),
        (639, 641, 2, 0),
        (640, 768, 1, 0),
        (640, 769, 2, 0),
        (383, 513, 1, 2),  # the run begins at 512
        (1535, 2049, 2, 4),  # a tile that is not scored
        (2303, 2305, 2, 0),
        (2304, 99_999, 1, 763),  # beyond the end
        (0, 128, 0, 1),
    ],
)
def test_a_bin_counts_where_one_of_its_bases_does(run, start, end, bins, missing) -> None:
    assert owed([("chr2", start, end)])[:2] == (bins, missing)
    found = run.sum_over(genes(("chr2", start, end, "g")))
    assert_row(found.select(COLUMNS).row(0), owed([("chr2", start, end)]))


PLACES = st.tuples(
    st.sampled_from(["chr2", "HLA-A*01:01"]), st.integers(0, 2600), st.integers(1, 900)
).map(lambda place: (place[0], place[1], place[1] + place[2]))


@settings(max_examples=30, deadline=None)
@given(st.lists(PLACES, min_size=1, max_size=12), st.sampled_from(["sum", "mean"]))
def test_every_interval_is_a_row_in_its_place(run, places, how) -> None:
    frame = genes(*((*place, f"g{number}") for number, place in enumerate(places)))
    found = run.sum_over(frame, how=how)
    assert found.select(frame.columns).equals(frame)
    for row, place in zip(found.select(COLUMNS).rows(), places, strict=True):
        assert_row(row, owed([place], how))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(PLACES, st.sampled_from("abc")), min_size=1, max_size=12),
    st.sampled_from(["sum", "mean"]),
)
def test_intervals_of_one_name_are_a_gene_and_share_no_bin(run, exons, how) -> None:
    found = run.sum_over(genes(*((*place, name) for place, name in exons)), by="name", how=how)
    of_gene: dict[tuple[str, str], list[tuple[str, int, int]]] = {}
    for place, name in exons:
        of_gene.setdefault((place[0], name), []).append(place)
    assert found.select("chrom", "name").rows() == list(of_gene)
    for row, places in zip(found.rows(named=True), of_gene.values(), strict=True):
        assert row["start"] == min(start for _, start, _ in places)
        assert row["end"] == max(end for _, _, end in places)
        assert_row(tuple(row[name] for name in COLUMNS), owed(places, how))


def test_a_run_is_summed_in_parts(tmp_path, monkeypatch) -> None:
    """Genes reach over shards, parts and pieces of tracks; some files hold none of them."""
    tracks = TrackSet.unnamed("human", 7)
    plan = made_up_runs.plan_bins({"chr1": 95, "chr2": 20}, 10, missing=(3,))

    def value(chrom: str, first: int, bins: int, track: int) -> made_up_runs.Values:
        return np.arange(first, first + bins, dtype=np.float32) * (track + 1)

    made_up_runs.write_bins(tmp_path / "run", plan, tracks, value, mantissa_bits=23)
    run = open_run(tmp_path / "run")
    monkeypatch.setattr(sums, "parts_of", lambda run: parts.parts_of(run, rows=25))
    monkeypatch.setattr(parts, "PART_TRACKS", 3)
    places = [("chr1", 15, 75), ("chr1", 88, 95), ("chr2", 9, 11), ("chr1", 30, 40), ("1", 0, 95)]
    frame = genes(*((chrom, low * 128, high * 128, "g") for chrom, low, high in places))
    found = run.sum_over(frame)
    assert found["bins"].to_list() == [50, 7, 2, 0, 85]
    assert found["bins_missing"].to_list() == [10, 0, 0, 10, 10]
    there = [sum(n for n in range(low, high) if chrom == "chr2" or not 30 <= n < 40)
             for chrom, low, high in places]  # fmt: skip
    for track in range(7):
        totals = [total * (track + 1) if total else None for total in there]
        assert found[f"t{track:04d}"].to_list() == totals
    for file in (tmp_path / "run/data").rglob("chr1_00000000*"):
        file.write_bytes(b"garbage")
    assert run.sum_over(frame[1:3])["t0000"].to_list() == there[1:3]


def test_sums_are_float64(tmp_path) -> None:
    """A float32 sum of these would stop at 16,777,216, and one of 10 bits is far off."""
    tracks = TrackSet.unnamed("human", 1)
    plan = made_up_runs.plan_bins({"chr1": 300}, 300)

    def value(chrom: str, first: int, bins: int, track: int) -> made_up_runs.Values:
        return np.where(np.arange(bins) == 0, 2**24, 1).astype(np.float32)

    made_up_runs.write_bins(tmp_path / "run", plan, tracks, value)
    found = open_run(tmp_path / "run").sum_over(genes(("chr1", 0, 300 * 128, "g")))
    assert found["t0000"].to_list() == [2**24 + 299]


def test_chromosomes_in_any_spelling_and_those_of_no_bin(run) -> None:
    frame = genes(("2", 640, 700, "a"), ("chr7", 0, 300, "b"), ("chr2", 600, 650, "a"))
    found = run.sum_over(frame, tracks=5)
    assert found["chrom"].to_list() == ["2", "chr7", "chr2"]
    assert found["bins"].to_list() == [1, 0, 2]
    assert found["bins_missing"].to_list() == [0, 3, 0]
    assert found["t0005"][1] is None
    by_name = run.sum_over(frame, tracks=5, by="name")
    assert by_name["chrom"].to_list() == ["2", "chr7"]
    assert by_name["t0005"].to_list() == [found["t0005"][2], None]


def test_only_intervals_with_bases_are_taken(run) -> None:
    for start, end in ((5, 5), (9, 5), (-1, 5)):
        frame = genes(("chr2", 1, 2, "a"), ("chr2", start, end, "b"), ("chr2", 7, 7, "c"))
        with pytest.raises(CoordinateError, match=rf"row 1 .* chr2 {start} to {end}.*2 rows"):
            run.sum_over(frame)
    with pytest.raises(CoordinateError, match="no end in row 1"):
        run.sum_over(genes(("chr2", 1, 2, "a"), ("chr2", 1, None, "b")))


def test_frames_that_have_no_intervals(run, tmp_path) -> None:
    frame = genes(("chr2", 1, 2, "a"))
    with pytest.raises(FrameError, match=r"lacks the column 'name'\. Did you mean names"):
        run.sum_over(frame.rename({"name": "names"}), by="name")
    with pytest.raises(FrameError, match="already has the columns bins, t0005"):
        run.sum_over(frame.with_columns(bins=1, t0005=2))
    with pytest.raises(FrameError, match="Float64"):
        run.sum_over(frame.with_columns(pl.col("end").cast(pl.Float64)))
    with pytest.raises(ConfigError, match="sum or mean, got 'max'"):
        run.sum_over(frame, how="max")
    with pytest.raises(ConfigError, match="by names a column"):
        run.sum_over(frame, by="start")
    assert run.sum_over(genes()).columns == [*SCHEMA, *COLUMNS]
    store_variants.finish(tmp_path / "variants")
    with pytest.raises(WrongRun, match="no tiles"):
        open_run(tmp_path / "variants").sum_over(frame)
