"""Sums over the bins of genes, and what correlations over bins need to know, of runs and measures.

Knows bins and values; knows no statistics beyond sums. All sums are float64, and bins of several
starts of a gene count once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cisray.errors import ResultsError
from cisray.evaluation.bin_masks import BinMask, Stretch
from cisray.evaluation.observed import Observed, Values, read_all
from cisray.genome.reference import Genome
from cisray.locus import match_chromosome
from cisray.store.queries.parts import query_of
from cisray.store.queries.sums import bin_ranges
from cisray.store.scan import Run

# Bins of all tracks that are held at once, 131 kb, and at least as many as lie in a block.
STRETCH_BINS, FEWEST_BINS = 1_024, 64
# Sums of so many blocks of bins are kept, to draw from.
BLOCKS = 200
SUMS = 5  # of p, y, p p, y y, p y
_NOT_VALUES = {"gene", "chrom", "start", "end", "bins", "bins_missing"}


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Sums over blocks of bins: float64 (blocks, 5, T) of p, y, p², y², p y; and bins of each."""

    sums: Values
    bins: NDArray[np.int64]


def masks_of(run: Run, genome: Genome) -> tuple[BinMask, BinMask]:
    """Give the bins that a run along the genome holds, and those of its tiles that it skipped.

    Raises WrongRun for a run of variants.
    """
    tiles = run.windows.select("chrom", "start", "bins", "scored")
    bin_bp = run.manifest.bin_bp
    held = BinMask.none(genome.chromosomes, bin_bp)
    skipped = BinMask.none(genome.chromosomes, bin_bp)
    for chrom, start, bins, scored in tiles.iter_rows():
        low = start // bin_bp
        (held if scored else skipped).add(genome.resolve(chrom), low, low + bins)
    return held, skipped


def predicted_sums(
    run: Run, starts: pl.DataFrame, genes: Sequence[str], tracks: Sequence[int]
) -> Values:
    """Sum the predictions of genes over the bins of their starts: float64 (genes, T).

    `starts` has gene, chrom, low and high. Raises ResultsError if a bin is not there.
    """
    bin_bp = run.manifest.bin_bp
    places = starts.select(
        "gene", "chrom", start=pl.col("low") * bin_bp, end=pl.col("high") * bin_bp
    )
    found = run.sum_over(places, tracks=query_of(tracks), by="gene")
    if found["bins_missing"].sum():
        raise ResultsError(f"{run.path} lacks bins that its plan has: verify the run.")
    asked = pl.DataFrame({"gene": genes}, schema={"gene": pl.String})
    ordered = asked.join(found, on="gene", how="left", maintain_order="left")
    columns = [name for name in found.columns if name not in _NOT_VALUES]
    return ordered.select(columns).to_numpy().astype(np.float64)


def observed_sums(
    observed: Observed, starts: pl.DataFrame, genes: Sequence[str], rows: Sequence[int]
) -> Values:
    """Sum what is measured over the same bins: float64 (genes, T)."""
    numbers = {gene: number for number, gene in enumerate(genes)}
    bin_bp = observed.mask.bin_bp
    places = starts.select(
        pl.col("gene").replace_strict(numbers, return_dtype=pl.Int64),
        "chrom",
        start=pl.col("low") * bin_bp,
        end=pl.col("high") * bin_bp,
    )
    ranges = bin_ranges(places, bin_bp)
    wanted = BinMask(
        bin_bp, {chrom: np.zeros_like(held) for chrom, held in observed.mask.by_chrom.items()}
    )
    for chrom, low, high in ranges.select("chrom", "low", "high").iter_rows():
        wanted.add(chrom, low, high)
    stretches = list(wanted.stretches(STRETCH_BINS))
    by_chrom = {str(chrom): part for (chrom,), part in ranges.group_by(["chrom"])}
    totals_GT = np.zeros((len(genes), len(rows)))
    for piece, number, values_NT in read_all(observed, rows, stretches):
        stretch = stretches[number]
        _add(totals_GT[:, piece], by_chrom[stretch.chrom], stretch, values_NT)
    return totals_GT


def _add(totals_GT: Values, ranges: pl.DataFrame, stretch: Stretch, values_NT: Values) -> None:
    """Add the bins of a stretch to the genes that have them."""
    low, high, gene = (ranges[name].to_numpy() for name in ("low", "high", "gene"))
    meets = (low < stretch.high) & (high > stretch.low)
    first = np.maximum(low[meets], stretch.low) - stretch.low
    last = np.minimum(high[meets], stretch.high) - stretch.low
    until_NT = np.concatenate([np.zeros((1, values_NT.shape[1])), np.cumsum(values_NT, axis=0)])
    np.add.at(totals_GT, gene[meets], until_NT[last] - until_NT[first])


def bin_moments(
    runs: Mapping[str, Run],
    observed: Observed,
    bins: BinMask,
    tracks: Sequence[int],
    rows: Sequence[int],
) -> dict[str, Moments]:
    """Add up all bins of a set, run by run.

    `tracks` of the runs, by index, are held against `rows` of what is measured. Bins are cut into
    stretches of 64 to 1,024, and these, in order, are put into at most 200 blocks.
    """
    most = min(max(len(bins) // BLOCKS, FEWEST_BINS), STRETCH_BINS)
    stretches = list(bins.stretches(most))
    blocks = min(BLOCKS, len(stretches))
    sums = {name: np.zeros((blocks, SUMS, len(tracks))) for name in runs}
    counts = np.zeros(blocks, np.int64)
    for piece, number, y_NT in read_all(observed, rows, stretches):
        block = number * blocks // len(stretches)
        if piece.start == 0:
            counts[block] += len(y_NT)
        for name, run in runs.items():
            p_NT = _predicted(run, stretches[number], tracks[piece], bins.bin_bp)
            parts = (p_NT, y_NT, p_NT * p_NT, y_NT * y_NT, p_NT * y_NT)
            for place, part in enumerate(parts):
                sums[name][block, place, piece] += part.sum(axis=0)
    return {name: Moments(held, counts) for name, held in sums.items()}


def _predicted(run: Run, stretch: Stretch, tracks: Sequence[int], bin_bp: int) -> Values:
    """Read the bins of a stretch: float64 (N, T). Raises ResultsError if one is not there."""
    chrom = match_chromosome(stretch.chrom, run.chromosomes)
    region = (chrom or stretch.chrom, stretch.low * bin_bp, stretch.high * bin_bp)
    frame = run.scan(tracks=query_of(tracks), region=region).drop("chrom", "end").collect()
    starts = np.arange(stretch.low, stretch.high) * bin_bp
    if not np.array_equal(frame["start"].to_numpy(), starts):
        raise ResultsError(f"{run.path} lacks bins at {region} that its plan has: verify the run.")
    return frame.drop("start").to_numpy().astype(np.float64)


def shared(masks: Sequence[BinMask]) -> BinMask:
    """Take the bins that all sets have."""
    first, *others = masks
    for other in others:
        first = first & other
    return first
