"""The direction of effects: whether a score's sign tells up from down, tissue by tissue.

Knows associations with effects, scores of matched tracks and statistics; knows nothing of files.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cisray.errors import EvaluationError
from cisray.evaluation import metrics, paired
from cisray.evaluation.eqtl import shuffled_area
from cisray.evaluation.eqtl_labels import Labels
from cisray.evaluation.eqtl_rows import Chosen
from cisray.evaluation.metrics import Estimate, Metric
from cisray.evaluation.paired import Comparison
from cisray.evaluation.scored_rows import ScoredRows, TaskRows
from cisray.evaluation.tables import KEY
from cisray.evaluation.track_matching import Matched

EVALUATION = "direction"
UNLIKELY = "PIP not above the bound"
NO_EFFECT = "no effect, or an effect of zero"
INCONSISTENT = "opposite effects on different genes"
OTHER_GENE = "another gene of a variant that counts"
RECALLED: Mapping[str, str] = {
    "pip_positive": "fine-mapped variants with PIP > 0.9, recalled",
    "min_variants": "tissues with more than 32 variants, as in later scripts of the authors",
    "opposite effects": "variants with opposite effects on different genes are left out, recalled",
    "tracks": "matched by hand in the paper, whose table is not published; mean over tracks",
}
FEWEST = 33


@dataclass(frozen=True, slots=True, eq=False)
class TaskScores:
    """One tissue: V rows, their effects, and one score for each source, None where unmatched."""

    rows: TaskRows
    effect_V: NDArray[np.float64]
    scores: tuple[NDArray[np.float64] | None, ...]
    reasons: tuple[str, ...]


def choose_signs(labels: Labels, pip_positive: float) -> Chosen:
    """Take each likely variant of each tissue once, if its effects on all genes have one sign.

    Of several genes that of the largest PIP gives the effect. `positive` of the result is whether
    the alternative allele increases expression. Raises EvaluationError for labels without effects.
    """
    frame = labels.frame
    if frame["effect"].null_count() == frame.height:
        raise EvaluationError(
            "the labels have no effect: direction needs a column effect, or beta_posterior or beta "
            "of a published layout; --column effect=COLUMN names it."
        )
    counts: dict[str, int] = {}
    likely = pl.col("pip") > pip_positive
    if labels.prepared:
        likely = pl.col("positive")
    kept = _narrowed(frame, likely, UNLIKELY, counts)
    sign = pl.col("effect").sign()
    kept = _narrowed(kept, (sign != 0) & sign.is_not_nan(), NO_EFFECT, counts)
    one_sign = sign.n_unique().over("tissue", *KEY) == 1
    kept = _narrowed(kept, one_sign, INCONSISTENT, counts)
    ordered = kept.sort("tissue", *KEY, "pip", "gene", descending=[*[False] * 5, True, False])
    first = pl.struct("tissue", *KEY).is_first_distinct()
    kept = _narrowed(ordered, first, OTHER_GENE, counts)
    group = pl.coalesce("group", "gene", pl.col("chrom"))
    return Chosen(kept.with_columns(positive=sign > 0, group=group), counts, "")


def _narrowed(
    frame: pl.DataFrame, keep: pl.Expr, reason: str, counts: dict[str, int]
) -> pl.DataFrame:
    kept = frame.filter(keep.fill_null(value=False))
    if kept.height < frame.height:
        counts[reason] = frame.height - kept.height
    return kept


def task_scores(
    scored: ScoredRows, matches: Mapping[tuple[str, str], Matched], fewest: int
) -> Iterator[TaskScores]:
    """Average the matched features of every source over each tissue's rows.

    A tissue of fewer than `fewest` rows has a reason and no scores.
    """
    effects = scored.frame["effect"].to_numpy()
    for rows in scored.tasks():
        found: list[NDArray[np.float64] | None] = []
        reasons = []
        for source in scored.sources:
            match = matches[rows.tissue, source.name]
            reason = match.reason
            if len(rows.row_V) < fewest:
                reason = f"too few variants: {len(rows.row_V)}, and {fewest} are asked for"
            values_VT = source.values_VT[rows.allele_V][:, list(match.features)]
            reasons.append(reason)
            found.append(None if reason else values_VT.astype(np.float64).mean(axis=1))
        effect_V = np.asarray(effects[rows.row_V], dtype=np.float64)
        yield TaskScores(rows, effect_V, tuple(found), tuple(reasons))


def direction_metrics(
    tasks: Sequence[TaskScores], names: Sequence[str], seed: int
) -> Iterator[Metric]:
    """Give the area of the sign, its control with shuffled labels, and rank correlations."""
    for task in tasks:
        labels_V = task.rows.labels_V
        n, m = task.rows.counts
        for name, scores_V, reason in zip(names, task.scores, task.reasons, strict=True):
            told: dict[str, Any] = {
                "evaluation": EVALUATION, "task": task.rows.tissue, "scores": name
            }  # fmt: skip
            if scores_V is None:
                nothing = Estimate(None, n, m, reason=reason)
                yield Metric(metric="auroc", estimate=nothing, **told)
                yield Metric(metric="spearman_r", estimate=Estimate(None, n, reason=reason), **told)
                continue
            yield Metric(metric="auroc", estimate=metrics.auroc(labels_V, scores_V), **told)
            yield Metric(
                metric="auroc",
                estimate=shuffled_area(task.rows, scores_V, seed),
                control=metrics.SHUFFLED,
                seed=seed,
                **told,
            )
            correlation = metrics.spearman(task.effect_V, scores_V)
            yield Metric(metric="spearman_r", estimate=correlation, **told)


def direction_comparisons(
    tasks: Sequence[TaskScores], names: Sequence[str]
) -> Iterator[Comparison]:
    """Compare the areas of every two sources on the rows of each tissue."""
    for task in tasks:
        for a, b in combinations(range(len(names)), 2):
            first_V, second_V = task.scores[a], task.scores[b]
            if first_V is None or second_V is None:
                reason = task.reasons[a] or task.reasons[b]
                result = paired.Difference(paired.ON_ROWS, len(task.effect_V), reason=reason)
            else:
                result = paired.delong_paired(task.rows.labels_V, first_V, second_V)
            yield Comparison(
                evaluation=EVALUATION,
                task=task.rows.tissue,
                metric="auroc",
                first=names[a],
                second=names[b],
                result=result,
            )
