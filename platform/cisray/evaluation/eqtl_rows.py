"""Positives and their negatives: which fine-mapped variants a tissue's classifier is trained on.

Knows associations (`eqtl_labels`) and the published rules; knows no scores. Each tissue draws from
a stream of its own, so that its rows do not depend on which other tissues there are.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cisray.errors import EvaluationError
from cisray.evaluation.eqtl_labels import Labels
from cisray.evaluation.tables import KEY, read_table
from cisray.genome.variant import starts_at
from cisray.locus import alias_key

Match = Literal["z-score", "tss-distance"]
SAME_GENE, GENOME_WIDE, BY_DISTANCE = "same gene", "genome-wide", "tss distance"
NO_NEGATIVE = "positive without a matching negative"
NOT_CHOSEN = "neither positive nor drawn as a negative"
TWICE = "listed twice"
RECALLED: Mapping[str, str] = {
    "pip_positive": "PIP > 0.9, recalled from the paper's methods",
    "pip_negative": "PIP < 0.01, recalled",
    "z_same_gene": "|Z| > 4 for the same gene, recalled",
    "z_genome_wide": "|Z| > 6 where the gene has none, recalled",
    "one negative per positive": "recalled; the published lists cannot be made again from the text",
    "best PIP over genes": "a negative's PIP is below the bound for all genes of the tissue: ours",
}
# Columns that tell folds apart that share nothing, the first that is there counts.
_GROUPS = ("group", "gene")
MEGABASE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The rules by which positives and negatives are chosen; bounds are strict inequalities."""

    pip_positive: float = 0.9
    pip_negative: float = 0.01
    z_same_gene: float = 4.0
    z_genome_wide: float = 6.0
    match: Match = "z-score"
    seed: int = 44

    def __post_init__(self) -> None:
        """Refuse bounds between which nothing or everything lies."""
        if not 0 <= self.pip_negative <= self.pip_positive <= 1:
            raise EvaluationError(
                f"--pip-negative {self.pip_negative:g} and --pip-positive {self.pip_positive:g} "
                f"must lie in this order between 0 and 1."
            )


@dataclass(frozen=True, slots=True)
class Chosen:
    """The rows of all tissues: positives first, each negative in the place of its positive.

    Columns as `eqtl_labels.ASSOCIATIONS`, and `rule`, by which a negative was found; `group` is
    never null. `left_out` counts the other associations by reason.
    """

    frame: pl.DataFrame
    left_out: Mapping[str, int]
    grouped_by: str


def choose_rows(labels: Labels, choice: Choice) -> Chosen:
    """Choose positives and their negatives in every tissue, or take those that were prepared.

    Raises EvaluationError for labels that lack what the rules need.
    """
    if not labels.frame.height:
        raise EvaluationError("no row is left of the labels: is the tissue spelled as it is there?")
    if labels.prepared:
        frame = labels.frame.sort("tissue", ~pl.col("positive"), maintain_order=True)
        once = _refuse_both(frame.unique(["tissue", *KEY, "positive"], maintain_order=True))
        twice = {TWICE: frame.height - once.height} if frame.height > once.height else {}
        return _grouped(once.with_columns(rule=pl.lit("prepared")), twice)
    _require(labels, choice)
    parts, lonely = [], 0
    for (tissue,), rows in labels.frame.group_by(["tissue"], maintain_order=True):
        chosen, without = _choose(str(tissue), rows, choice)
        parts.append(chosen)
        lonely += without
    frame = pl.concat(parts).sort("tissue", maintain_order=True)
    rest = labels.frame.height - frame.height - lonely
    left_out = {NO_NEGATIVE: lonely, NOT_CHOSEN: rest}
    return _grouped(frame, {reason: count for reason, count in left_out.items() if count})


def _require(labels: Labels, choice: Choice) -> None:
    needed = "z" if choice.match == "z-score" else "tss_distance"
    if labels.frame[needed].null_count() == labels.frame.height:
        way_out = {
            "z": "give a table with z, choose --match tss-distance, or give prepared labels",
            "tss_distance": "give --tss, or a table with tss_distance",
        }
        raise EvaluationError(
            f"--match {choice.match} needs the column {needed}, and the labels have none: "
            f"{way_out[needed]}."
        )


def _choose(tissue: str, rows: pl.DataFrame, choice: Choice) -> tuple[pl.DataFrame, int]:
    """Choose the rows of one tissue; also count the positives without a negative."""
    # The same variant may be mapped for several genes: its best gene speaks for it.
    best = rows.sort(["pip", "gene"], descending=[True, False]).unique(KEY, keep="first")
    best = best.sort(KEY)
    positives = best.filter(pl.col("pip") > choice.pip_positive)
    unlikely = best.filter(pl.col("pip") < choice.pip_negative).select(KEY)
    candidates = rows.join(unlikely, on=KEY, how="semi").sort(*KEY, "gene")
    dice = np.random.default_rng([choice.seed, zlib.crc32(tissue.encode())])
    draw = _by_z if choice.match == "z-score" else _by_distance
    picked = draw(positives, candidates, choice, dice)
    kept = [row for row, pick in enumerate(picked) if pick is not None]
    found = [pick for pick in picked if pick is not None]
    negatives = candidates[[at for at, _ in found]].with_columns(
        positive=pl.lit(False), rule=pl.Series([rule for _, rule in found], dtype=pl.String)
    )
    chosen = positives[kept].with_columns(positive=pl.lit(True), rule=pl.lit(""))
    return pl.concat([chosen, negatives]), positives.height - len(kept)


# For each positive the row of its negative among the candidates, and the rule that found it.
Picks = list[tuple[int, str] | None]


def _by_z(
    positives: pl.DataFrame, candidates: pl.DataFrame, choice: Choice, dice: np.random.Generator
) -> Picks:
    """Draw for each positive one of its gene's strong variants, else one of the strongest."""
    z = candidates["z"].abs().fill_null(0.0)
    strong = (z > choice.z_same_gene).to_numpy()
    by_gene: dict[str, list[int]] = {}
    for row, gene in enumerate(candidates["gene"].to_list()):
        if gene is not None and strong[row]:
            by_gene.setdefault(gene, []).append(row)
    everywhere = np.flatnonzero((z > choice.z_genome_wide).to_numpy()).tolist()
    genes = positives["gene"].to_list()

    def options(row: int, free: Callable[[list[int]], list[int]]) -> tuple[list[int], str]:
        near = free(by_gene.get(genes[row], []))
        return (near, SAME_GENE) if near else (free(everywhere), GENOME_WIDE)

    return _drawn(positives.height, candidates, options, dice)


def _by_distance(
    positives: pl.DataFrame, candidates: pl.DataFrame, choice: Choice, dice: np.random.Generator
) -> Picks:
    """Take for each positive the variant whose distance from a start is most like its own.

    Distances are compared by their logarithms; of equals one is drawn.
    """
    far = _log_distance(candidates)
    own = _log_distance(positives)
    known = np.flatnonzero(np.isfinite(far)).tolist()

    def options(row: int, free: Callable[[list[int]], list[int]]) -> tuple[list[int], str]:
        left = free(known)
        if not left or not np.isfinite(own[row]):
            return [], BY_DISTANCE
        off = np.abs(far[left] - own[row])
        return [left[at] for at in np.flatnonzero(off == off.min())], BY_DISTANCE

    return _drawn(positives.height, candidates, options, dice)


def _log_distance(rows: pl.DataFrame) -> NDArray[np.float64]:
    distance = np.asarray(rows["tss_distance"].cast(pl.Float64).fill_null(np.nan), dtype=np.float64)
    logarithm: NDArray[np.float64] = np.log10(1.0 + np.abs(distance))
    return logarithm


def _drawn(
    count: int,
    candidates: pl.DataFrame,
    options: Callable[[int, Callable[[list[int]], list[int]]], tuple[list[int], str]],
    dice: np.random.Generator,
) -> Picks:
    """Draw a candidate for each of `count` rows, in random order; no variant is drawn twice."""
    variant = candidates.select(pl.struct(KEY).rank("dense")).to_series().to_list()
    taken: set[int] = set()

    def free(rows: list[int]) -> list[int]:
        return [row for row in rows if variant[row] not in taken]

    picks: Picks = [None] * count
    for row in dice.permutation(count).tolist():
        left, rule = options(row, free)
        if left:
            pick = left[int(dice.integers(len(left)))]
            taken.add(variant[pick])
            picks[row] = (pick, rule)
    return picks


def _refuse_both(frame: pl.DataFrame) -> pl.DataFrame:
    both = frame.filter(frame.select("tissue", *KEY).is_duplicated())
    if both.height:
        tissue, chrom, pos, ref, alt = both.select("tissue", *KEY).row(0)
        raise EvaluationError(
            f"the labels have {chrom}:{pos} {ref}>{alt} of {tissue} as positive and as negative: "
            f"leave one of them."
        )
    return frame


def _grouped(frame: pl.DataFrame, left_out: Mapping[str, int]) -> Chosen:
    """Tell groups that share no gene or block: from the labels, else stretches of a megabase."""
    for name in _GROUPS:
        if not frame[name].null_count():
            return Chosen(frame.with_columns(group=pl.col(name)), left_out, name)
    block = pl.concat_str("chrom", (pl.col("pos") // MEGABASE).cast(pl.String), separator=":")
    return Chosen(frame.with_columns(group=block), left_out, "stretches of 1 Mb")


def with_tss_distance(frame: pl.DataFrame, bed: Path) -> pl.DataFrame:
    """Give every row the distance from the nearest start of its gene, in bp, where there is none.

    `bed` has chrom, start (0-based), end and name of each start; versions of genes are ignored.
    Raises EvaluationError for a file in which no gene of the labels is found.
    """
    starts = read_table(
        pl.scan_csv(bed, separator="\t", has_header=False, comment_prefix="#", infer_schema=False),
        bed,
    )
    if starts.width < 4:
        raise EvaluationError(f"{bed} needs four columns: chrom, start, end and the gene's name.")
    chrom, start, _, name, *_ = starts.columns
    starts = starts.select(
        _folded(starts[chrom]).alias("__chrom"),
        pl.col(start).cast(pl.Int64).alias("__tss"),
        _unversioned(name).alias("__gene"),
    )
    asked = frame.with_row_index("__row").with_columns(
        _folded(frame["chrom"]).alias("__chrom"), _unversioned("gene").alias("__gene")
    )
    pairs = asked.join(starts, on=("__chrom", "__gene"), how="inner")
    if not pairs.height:
        raise EvaluationError(
            f"no gene of the labels is in {bed}: they have {frame['gene'].head(3).to_list()}, the "
            f"file {starts['__gene'].head(3).to_list()}."
        )
    distance = starts_at(pairs["pos"].to_numpy()) - pairs["__tss"].to_numpy()
    nearest = (
        pairs.select("__row", pl.Series("__distance", distance))
        .sort(pl.col("__distance").abs(), "__distance")
        .unique("__row", keep="first")
    )
    found = asked.join(nearest, on="__row", how="left", maintain_order="left")
    return found.with_columns(
        tss_distance=pl.coalesce("tss_distance", "__distance").cast(pl.Int64)
    ).select(frame.columns)


def _folded(names: pl.Series) -> pl.Series:
    known = {name: alias_key(name) for name in names.unique().to_list()}
    return names.replace_strict(known, return_dtype=pl.String)


def _unversioned(name: str) -> pl.Expr:
    """Take ENSG00000177757.2 for ENSG00000177757; other names stay."""
    return pl.col(name).cast(pl.String).str.replace(r"^(ENS[A-Z]*\d+)\.\d+$", "$1")
