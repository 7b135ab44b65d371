"""Sums of tracks over genes and other intervals, from the bins of a run along the genome.

Knows bins and intervals; knows nothing of genes or of files. A run is read once, part by part, and
only its files that hold bins of an interval are. Sums are float64 over whole bins.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cisray.errors import ConfigError, CoordinateError
from cisray.store.queries.frames import (
    AnyFrame,
    as_run_spells,
    collected,
    refuse_same_names,
    texts,
    whole_numbers,
)
from cisray.store.queries.parts import holding, in_pieces, parts_of, query_of
from cisray.store.tile_plan import as_tiles
from cisray.tracks import column_name

if TYPE_CHECKING:
    from cisray.store.scan import Run
    from cisray.store.selection import TrackQuery

How = Literal["sum", "mean"]
_WHAT = "the frame of intervals"
_PLACE = ("chrom", "start", "end")
_COUNTS = ("bins", "bins_missing")


def sum_over(
    run: "Run",
    intervals: AnyFrame,
    *,
    tracks: "TrackQuery | None" = None,
    how: How = "sum",
    by: str | None = None,
) -> pl.DataFrame:
    """Sum tracks over intervals, as `Run.sum_over` says."""
    bin_bp = as_tiles(run.plan).bin_bp
    if how not in ("sum", "mean"):
        raise ConfigError(f"how is sum or mean, got {how!r}.")
    if by in _PLACE:
        raise ConfigError(f"by names a column of genes or the like, got {by!r}.")
    selected = run.tracks if tracks is None else run.tracks.select(tracks)
    given = _checked(intervals, by)
    # Where the run has no such chromosome its own name does: no bin is found on it.
    spelled = as_run_spells(given["chrom"], run.chromosomes).fill_null(given["chrom"])
    genes, places = _as_genes(given, spelled, by)
    refuse_same_names(genes, [*_COUNTS, *selected.columns], _WHAT)
    ranges = bin_ranges(places, bin_bp)
    owed = np.zeros(genes.height, np.int64)
    np.add.at(owed, ranges["gene"].to_numpy(), (ranges["high"] - ranges["low"]).to_numpy())
    totals_GT, found = _add_up(run, ranges, selected.indices.tolist(), genes.height)
    if how == "mean":
        totals_GT /= np.maximum(found, 1)[:, np.newaxis]
    values = pl.DataFrame(totals_GT, schema=list(selected.columns))
    counts = pl.DataFrame({"bins": found, "bins_missing": owed - found})
    has_bins = pl.col("bins") > 0
    return pl.concat([genes, counts, values], how="horizontal").with_columns(
        pl.when(has_bins).then(pl.col(column)).alias(column) for column in selected.columns
    )


def bin_ranges(places: pl.DataFrame, bin_bp: int) -> pl.DataFrame:
    """List the bins of every gene as disjoint ranges of numbers, `low` to before `high`.

    `places` have `gene`, `chrom`, and `start`, `end` in bp, 0-based half-open. A bin is in where
    one of its bases is. Ranges are sorted by chromosome and `low`.
    """
    bins = places.select(
        "gene",
        "chrom",
        low=pl.col("start") // bin_bp,
        high=-(-pl.col("end") // bin_bp),
    ).sort("gene", "chrom", "low", "high")
    reach = pl.col("high").cum_max().shift(1).over("gene", "chrom")
    return (
        bins.with_columns(part=(pl.col("low") > reach).fill_null(False).cum_sum())
        .group_by("gene", "chrom", "part")
        .agg(pl.col("low").min(), pl.col("high").max())
        .select(pl.col("gene").cast(pl.Int64), "chrom", "low", "high")
        .sort("chrom", "low", "gene")
    )


def _checked(intervals: AnyFrame, by: str | None) -> pl.DataFrame:
    required = [*_PLACE, *([] if by is None else [by])]
    given = collected(intervals, required, _WHAT)
    for name in required:
        if given[name].null_count():
            row = given[name].is_null().arg_max()
            raise CoordinateError(f"{_WHAT} has no {name} in row {row} (counted from 0).")
    start, end = (whole_numbers(given, name, _WHAT) for name in ("start", "end"))
    wrong = ((start < 0) | (end <= start)).arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise CoordinateError(
            f"row {row} (counted from 0) of {_WHAT} is {given['chrom'][row]} {start[row]} to "
            f"{end[row]}; intervals are 0-based and half-open, as in BED, and hold a base. "
            f"{len(wrong):,} rows are like that. Of a GTF, take 1 from its start."
        )
    return given.with_columns(texts(given, "chrom", _WHAT), start, end)


def _as_genes(
    given: pl.DataFrame, spelled: pl.Series, by: str | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Give the rows of the result, and the places of each: `gene` is the number of its row.

    Without `by` every interval is a row. Otherwise a row is a name on a chromosome, in order of
    first appearance.
    """
    bounds = given.select("start", "end", chrom=spelled)
    if by is None:
        return given, bounds.with_row_index("gene")
    named = bounds.with_columns(name=given[by], stated=given["chrom"])
    genes = named.group_by("chrom", "name", maintain_order=True).agg(
        pl.col("stated").first(), pl.col("start").min(), pl.col("end").max()
    )
    numbered = genes.select("chrom", "name").with_row_index("gene")
    rows = genes.select("start", "end", chrom="stated", **{by: "name"})
    return rows.select(*_PLACE, by), named.join(numbered, on=["chrom", "name"])


def _add_up(
    run: "Run", ranges: pl.DataFrame, tracks: Sequence[int], genes: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum the bins of every gene: totals (G, T), and how many bins there were (G,)."""
    bin_bp = run.manifest.bin_bp
    totals_GT = np.zeros((genes, len(tracks)))
    found = np.zeros(genes, np.int64)
    places = ranges.select("chrom", start=pl.col("low") * bin_bp, end=pl.col("high") * bin_bp)
    for part in parts_of(holding(run, places)):
        of_chrom = ranges.filter(pl.col("chrom") == part.files["chrom"][0])
        lows, highs, genes_there = (of_chrom[name].to_numpy() for name in ("low", "high", "gene"))
        for first, piece in in_pieces(tracks):
            columns = [column_name(track) for track in piece]
            frame = part.scan(tracks=query_of(piece)).select("start", *columns).collect()
            bins = frame["start"].to_numpy() // bin_bp
            low, high = np.searchsorted(bins, lows), np.searchsorted(bins, highs)
            some = high > low
            low, high, gene = low[some], high[some], genes_there[some]
            if first == 0:
                np.add.at(found, gene, high - low)
            for place, column in enumerate(columns, start=first):
                sums = _sums_between(frame[column].to_numpy(), low, high)
                np.add.at(totals_GT[:, place], gene, sums)
    return totals_GT, found


def _sums_between(
    values_N: NDArray[np.float32], low: NDArray[np.int64], high: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum values from each `low` to before its `high`, in float64."""
    # `reduceat` sums from one index to the next, and takes no index past the end.
    bounds = np.column_stack([low, high]).ravel()
    padded = np.append(values_N, np.float32(0)).astype(np.float64)
    sums: NDArray[np.float64] = np.add.reduceat(padded, bounds)[::2]
    return sums
