"""Which starts of genes count, and why others do not: every start that was read has one status.

Knows starts, bins and what is predicted and measured; knows no values. A gene counts if all of its
starts do: a sum over some of them is not what is measured of the others.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cisray.dataset.coverage import Stretches, unmappable_bins
from cisray.evaluation.bin_masks import BinMask
from cisray.genome.encode import UNKNOWN
from cisray.genome.gene_starts import GeneStarts
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome

USED = "used"
SAME = "same base as an earlier start of its gene"
OTHER_KIND = "other type of gene"
NO_CHROMOSOME = "chromosome not in the FASTA"
OUTSIDE = "outside the regions"
BEYOND = "bins beyond the end of the chromosome"
UNKNOWN_BASES = "more than half of its bins unknown bases"
UNMAPPABLE = "unmappable"
NOT_MEASURED = "not measured"
OTHER_START = "another start of its gene is left out"
TWO_CHROMOSOMES = "gene on several chromosomes"
# The bin of the start, and one on each side.
SIDE_BINS = 1
_MOST_UNKNOWN = 0.5

Truths = NDArray[np.bool_]
Rule = tuple[str, Callable[[pl.DataFrame], Truths]]


@dataclass(frozen=True, slots=True)
class StartRules:
    """What starts are held against: regions, a genome, and the bins that are there.

    `predicted` has the bins of each run, and `skipped` those of its tiles without any A, C, G, T.
    """

    genome: Genome
    kinds: Sequence[str]
    regions: BinMask | None
    measured: BinMask
    predicted: Mapping[str, BinMask]
    skipped: Mapping[str, BinMask]
    unmappable: Stretches | None = None


def start_frame(found: GeneStarts, bin_bp: int) -> pl.DataFrame:
    """Lay starts out in the order of the file: gene, chrom, start, end, kind, line, low, high.

    `low` to before `high` are the bins of a start, numbered from base 0. `status` is empty, or says
    already why a start does not count.
    """
    rows = [
        (s.gene, s.base.chrom, s.base.start, s.base.end, s.kind, s.line, status)
        for status, starts in (("", found.starts), (NO_CHROMOSOME, found.lacking))
        for s in starts
    ]
    names = ("gene", "chrom", "start", "end", "kind", "line", "status")
    types = dict.fromkeys(names, pl.String) | dict.fromkeys(("start", "end", "line"), pl.Int64)
    frame = pl.DataFrame(rows, schema=types, orient="row").sort("line")
    at = pl.col("start") // bin_bp
    frame = frame.with_columns(low=at - SIDE_BINS, high=at + SIDE_BINS + 1)
    again = ~pl.struct("gene", "chrom", "start").is_first_distinct()
    return _left_out(frame, SAME, frame.select(again).to_series().to_numpy())


def with_status(frame: pl.DataFrame, rules: StartRules) -> pl.DataFrame:
    """Say of every start whether it counts: the first reason against it is given."""
    for reason, against in _rules(rules):
        open_rows = frame.filter(pl.col("status") == "").with_row_index("__at")
        is_out = np.zeros(open_rows.height, np.bool_)
        for (_,), of_chrom in open_rows.group_by(["chrom"], maintain_order=True):
            is_out[of_chrom["__at"].to_numpy()] = against(of_chrom)
        told = np.zeros(frame.height, np.bool_)
        told[frame.select(pl.col("status") == "").to_series().to_numpy()] = is_out
        frame = _left_out(frame, reason, told)
    return whole_genes(frame)


def whole_genes(frame: pl.DataFrame) -> pl.DataFrame:
    """Leave out what is left of genes with a start that does not count; the others are used.

    A start that is there twice, or of a gene that was not asked for, takes no other with it.
    """
    harmless = pl.col("status").is_in(["", USED, SAME, OTHER_KIND])
    several = pl.col("chrom").filter(pl.col("status").is_in(["", USED])).n_unique().over("gene") > 1
    counts = pl.col("status").is_in(["", USED])
    return frame.with_columns(
        status=pl.when(counts & several)
        .then(pl.lit(TWO_CHROMOSOMES))
        .when(counts & ~harmless.all().over("gene"))
        .then(pl.lit(OTHER_START))
        .when(counts)
        .then(pl.lit(USED))
        .otherwise("status")
    )


def leave_out_genes(frame: pl.DataFrame, reasons: Mapping[str, str]) -> pl.DataFrame:
    """Leave out the starts of genes for a reason each, where they were to be used."""
    told = pl.col("gene").replace_strict(dict(reasons), default=None, return_dtype=pl.String)
    used = pl.col("status") == USED
    return frame.with_columns(
        status=pl.when(used & told.is_not_null()).then(told).otherwise("status")
    )


def counts_of(frame: pl.DataFrame) -> dict[str, int]:
    """Count the starts that are left out by reason, the most frequent first."""
    left = frame.filter(pl.col("status") != USED)["status"].value_counts()
    return dict(left.sort("count", "status", descending=[True, False]).iter_rows())


def _left_out(frame: pl.DataFrame, reason: str, is_out: Truths) -> pl.DataFrame:
    out = pl.Series("out", is_out, dtype=pl.Boolean)
    fresh = (pl.col("status") == "") & out
    return frame.with_columns(status=pl.when(fresh).then(pl.lit(reason)).otherwise("status"))


def _rules(rules: StartRules) -> Iterator[Rule]:
    """Give the reasons in the order in which they are asked, each with its test on a chromosome."""
    if rules.kinds:
        kinds = list(rules.kinds)
        yield OTHER_KIND, lambda rows: ~rows["kind"].is_in(kinds).to_numpy()
    if rules.regions is not None:
        yield OUTSIDE, _lacking(rules.regions)
    yield BEYOND, lambda rows: _beyond(rows, rules.genome, rules.measured.bin_bp)
    yield UNKNOWN_BASES, lambda rows: _unknown(rows, rules)
    for name, mask in rules.predicted.items():
        skipped = rules.skipped[name]
        reached = mask | skipped
        yield f"{name}: not in the run", _lacking(reached)
        yield f"{name}: tile without A, C, G, T", _lacking(mask)
    yield NOT_MEASURED, _lacking(rules.measured)
    if rules.unmappable is not None:
        regions = rules.unmappable
        yield UNMAPPABLE, lambda rows: _unmappable(rows, regions, rules.measured.bin_bp)


def _lacking(mask: BinMask) -> Callable[[pl.DataFrame], Truths]:
    def against(rows: pl.DataFrame) -> Truths:
        low, high = rows["low"].to_numpy(), rows["high"].to_numpy()
        return ~mask.holds(rows["chrom"][0], low, high)

    return against


def _beyond(rows: pl.DataFrame, genome: Genome, bin_bp: int) -> Truths:
    length = genome.chromosomes[rows["chrom"][0]]
    out: Truths = ((rows["low"] < 0) | (rows["high"] * bin_bp > length)).to_numpy()
    return out


def _unknown(rows: pl.DataFrame, rules: StartRules) -> Truths:
    return np.array(
        [
            (rules.genome.fetch(place) == UNKNOWN).mean() > _MOST_UNKNOWN
            for place in _places(rows, rules.measured.bin_bp)
        ],
        dtype=np.bool_,
    )


def _unmappable(rows: pl.DataFrame, regions: Stretches, bin_bp: int) -> Truths:
    return np.array(
        [unmappable_bins(regions, place, bin_bp).any() for place in _places(rows, bin_bp)],
        dtype=np.bool_,
    )


def _places(rows: pl.DataFrame, bin_bp: int) -> Iterator[Interval]:
    for chrom, low, high in rows.select("chrom", "low", "high").iter_rows():
        yield Interval(chrom, low * bin_bp, high * bin_bp)
