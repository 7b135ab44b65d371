"""Which variants of a run are a background: all, those of a table, common ones, or matched ones.

Knows keys of variants, frequencies in VCF files and distances from starts of genes; knows no
scores. Every variant of the run has one status.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cisray.errors import EvaluationError
from cisray.evaluation.tables import KEY
from cisray.genome.gene_starts import GeneStarts
from cisray.genome.lines import numbered_lines
from cisray.locus import alias_key
from cisray.store.queries.join import STATUS
from cisray.store.query import first_base
from cisray.store.scan import Run

USED = "used"
NOT_SELECTED = "not selected"
NOT_IN_VCF = "not in the VCF with a frequency"
TOO_RARE, TOO_COMMON = "minor allele too rare", "minor allele too common"
NO_START = "no start of a gene on its chromosome"
NOT_DRAWN = "not drawn to match distances"
# Edges of the bins in which distances are matched, bp.
DISTANCES = (0, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
_INFO = 7

Truths = NDArray[np.bool_]
Distances = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Frequencies:
    """A VCF whose INFO has AF, and which minor allele frequencies count, both ends included."""

    vcf: Path
    least: float
    most: float


def rows_of(run: Run, statistic: str) -> pl.DataFrame:
    """List the variants of a run in the order of a scan, each with an empty `status`.

    Raises EvaluationError for a run at sites, of which a variant may have several rows.
    """
    first = int(run.tracks.indices[0])
    scan = run.scan(tracks=first, stats=statistic)
    keys = [name for name, kind in scan.collect_schema().items() if kind != pl.Float32]
    if "site" in keys:
        raise EvaluationError(
            f"{run.path} was scored at sites: scores of different sites are of different bins, and "
            f"no background of each other. Score the variants without --at."
        )
    named = [name for name in ("variant", *KEY, "id") if name in keys]
    rows = scan.select(named).collect()
    return rows.with_columns(pl.col("chrom").cast(pl.String), status=pl.lit(""))


def select_table(run: Run, rows: pl.DataFrame, table: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Leave out what a table of alleles does not have; tell how many of its rows the run lacks.

    Alleles may be spelled as they were scored or as the input of the run had them.
    """
    found = _found(run, table)
    missing = table.height - found.unique("__asked").height
    kept = rows["variant"].is_in(found["variant"].implode()).to_numpy()
    return left_out(rows, NOT_SELECTED, ~kept), missing


def select_frequencies(run: Run, rows: pl.DataFrame, which: Frequencies) -> pl.DataFrame:
    """Leave out variants whose minor allele is too rare or too common, or has no frequency.

    Raises VariantsError, and EvaluationError for a VCF without any frequency.
    """
    table = pl.DataFrame(
        list(_frequencies(which.vcf)),
        schema={"chrom": pl.String, "pos": pl.Int64, "ref": pl.String, "alt": pl.String,
                "af": pl.Float64},
        orient="row",
    )  # fmt: skip
    if not table.height:
        raise EvaluationError(
            f"{which.vcf} has no AF in its INFO column: add it (bcftools +fill-tags), or choose "
            f"variants by a table."
        )
    found = _found(run, table).unique("variant", keep="first")
    told = rows.join(found.select("variant", "af"), on="variant", how="left", maintain_order="left")
    minor = pl.min_horizontal("af", 1 - pl.col("af"))
    told = told.with_columns(minor=minor)
    rows = left_out(rows, NOT_IN_VCF, told["af"].is_null().to_numpy())
    rows = left_out(rows, TOO_RARE, (told["minor"] < which.least).fill_null(False).to_numpy())
    return left_out(rows, TOO_COMMON, (told["minor"] > which.most).fill_null(False).to_numpy())


def match_distances(
    rows: pl.DataFrame, others: pl.DataFrame, starts: GeneStarts, seed: int
) -> pl.DataFrame:
    """Draw variants so that distances from starts of genes are spread as those of `others` are.

    As many are drawn as can be, without repetition, in eight bins of distance. Raises
    EvaluationError where a bin that the others need has none.
    """
    bases: dict[str, list[int]] = {}
    for start in starts.starts:
        bases.setdefault(alias_key(start.base.chrom), []).append(start.base.start)
    sorted_bases = {chrom: np.unique(held) for chrom, held in bases.items()}
    mine, theirs = (_distances(frame, sorted_bases) for frame in (rows, others))
    rows = left_out(rows, NO_START, mine < 0)
    is_open = (rows["status"] == "").to_numpy()
    edges = np.array(DISTANCES[1:])
    bin_V = np.searchsorted(edges, mine, side="right")
    of_others = np.searchsorted(edges, theirs[theirs >= 0], side="right")
    wanted = np.bincount(of_others, minlength=len(DISTANCES))
    there = np.bincount(bin_V[is_open], minlength=len(DISTANCES))
    needed = np.flatnonzero(wanted)
    if not len(needed) or (there[needed] == 0).any():
        lacking = [DISTANCES[at] for at in needed.tolist() if there[at] == 0]
        raise EvaluationError(
            f"distances cannot be matched: the background has no variant in the bins of distance "
            f"from {', '.join(map(str, lacking)) or 'a start'} bp on, where the others have some."
        )
    times = (there[needed] / wanted[needed]).min()
    dice = np.random.default_rng(seed)
    drawn = np.zeros(rows.height, np.bool_)
    for at in needed.tolist():
        among = np.flatnonzero(is_open & (bin_V == at))
        drawn[dice.choice(among, int(times * wanted[at]), replace=False)] = True
    return left_out(rows, NOT_DRAWN, ~drawn)


def used_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Mark what nothing speaks against as used. Raises EvaluationError where nothing is left."""
    done = rows.with_columns(
        status=pl.when(pl.col("status") == "").then(pl.lit(USED)).otherwise("status")
    )
    if not (done["status"] == USED).any():
        told = ", ".join(f"{why} {n:,}" for why, n in counts_of(done).items())
        raise EvaluationError(f"no variant is left for a background: {told or 'the run has none'}.")
    return done


def counts_of(rows: pl.DataFrame) -> dict[str, int]:
    """Count the variants that are left out by reason, the most frequent first."""
    counts = rows.filter(pl.col("status") != USED)["status"].value_counts()
    return dict(counts.sort("count", "status", descending=[True, False]).iter_rows())


def left_out(rows: pl.DataFrame, reason: str, is_out: Truths) -> pl.DataFrame:
    """Give a reason to the rows that are out and have none yet."""
    fresh = (pl.col("status") == "") & pl.Series("out", is_out, dtype=pl.Boolean)
    return rows.with_columns(status=pl.when(fresh).then(pl.lit(reason)).otherwise("status"))


def _found(run: Run, table: pl.DataFrame) -> pl.DataFrame:
    """Find the variants of a run that rows of a table mean: the table's columns and `variant`."""
    asked = table.select(*KEY, *(["af"] if "af" in table.columns else [])).with_row_index("__asked")
    first, statistic = int(run.tracks.indices[0]), (run.statistics or [""])[0]
    joined = run.join_variants(asked, tracks=first, stats=statistic)
    return joined.filter(pl.col(STATUS) == "scored").select(*asked.columns, "variant").collect()


def _frequencies(vcf: Path) -> Iterator[tuple[str, int, str, str, float]]:
    """Give every allele of a VCF that has a frequency, pos 1-based. Raises VariantsError.

    Lines that cannot be read are passed over: no run has scores of them.
    """
    for _, line in numbered_lines(vcf):
        columns = line.split(b"\t", _INFO + 1)
        if line.startswith(b"#") or len(columns) <= _INFO or not columns[1].isdigit():
            continue
        values = _field(columns[_INFO], b"AF=")
        chrom, ref, alts = (columns[at].decode(errors="replace") for at in (0, 3, 4))
        for alt, text in zip(alts.split(","), values, strict=False):
            frequency = _share(text)
            if frequency is not None:
                yield chrom, int(columns[1]), ref, alt, frequency


def _field(info: bytes, name: bytes) -> Sequence[bytes]:
    found = next((part for part in info.split(b";") if part.startswith(name)), b"")
    return found.removeprefix(name).split(b",") if found else []


def _share(text: bytes) -> float | None:
    """Read a frequency; None for one that is missing or cannot be.

    >>> _share(b"0.25"), _share(b"."), _share(b"7")
    (0.25, None, None)
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


def _distances(rows: pl.DataFrame, bases: Mapping[str, NDArray[np.int64]]) -> Distances:
    """Measure how far the first base of each variant is from the nearest start; -1 without any."""
    at_V = rows.select(first_base()).to_series().to_numpy()
    names = rows["chrom"].cast(pl.String).to_numpy()
    found = np.full(len(at_V), -1, np.int64)
    for name in set(names.tolist()):
        near = bases.get(alias_key(name))
        if near is None:
            continue
        mine = np.flatnonzero(names == name)
        after = np.searchsorted(near, at_V[mine])
        right = near[np.clip(after, 0, len(near) - 1)]
        left = near[np.clip(after - 1, 0, len(near) - 1)]
        found[mine] = np.minimum(np.abs(right - at_V[mine]), np.abs(at_V[mine] - left))
    return found
