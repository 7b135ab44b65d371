"""The eQTL evaluation's numbers: from cross-validated repeats, or one score each, to tables.

Knows rows, repeats and metrics; knows nothing of files and of how the repeats were computed.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from cisray.evaluation import metrics, paired
from cisray.evaluation.forest import SEED, Kind
from cisray.evaluation.metrics import Estimate, Metric
from cisray.evaluation.paired import Comparison
from cisray.evaluation.scored_rows import ScoredRows, TaskRows

EVALUATION = "eqtl"
KINDS: tuple[Kind, ...] = ("shuffled", "grouped")
CONTROLS = 10  # repeats that are done with shuffled labels as well
SHUFFLES = 100  # of the labels, where a score needs no training
UNKNOWN_DISTANCE = "TSS distance unknown"
UNTRAINED = "a fold's training rows are of one class, and its test rows have no rank"
Strata = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True, slots=True, eq=False)
class Repeats:
    """What the repeats of one tissue and kind of folds came to: R repeats, S sources, F folds.

    `rank_SV` is the mean over repeats of the rows' ranks within their folds; `reason` says why
    there is none of it all. `importance` has for each source the share of each assay.
    """

    auroc_RSF: NDArray[np.float64]
    auprc_RSF: NDArray[np.float64]
    rank_SV: NDArray[np.float64]
    importance: tuple[Mapping[str, float], ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class TaskResult:
    """One tissue: its rows, its repeats by kind of folds, and some with shuffled labels."""

    rows: TaskRows
    kinds: Mapping[Kind, Repeats]
    control: Repeats


def control_labels(rows: TaskRows, seed: int, repeat: int) -> NDArray[np.bool_]:
    """Shuffle the labels of a tissue for one repeat."""
    stream = [seed, zlib.crc32(rows.tissue.encode()), repeat]
    return np.random.default_rng(stream).permutation(rows.labels_V)


def shuffled_area(rows: TaskRows, scores_V: ArrayLike, seed: int) -> Estimate:
    """Say which areas a score without meaning would have on these rows."""
    n, m = rows.counts
    of_rows = metrics.auroc(rows.labels_V, scores_V)
    if of_rows.value is None:
        return of_rows
    shuffled = (control_labels(rows, seed, at) for at in range(SHUFFLES))
    areas = [metrics.placements(labels_V, scores_V)[0].mean() for labels_V in shuffled]
    return metrics.over_shuffles(areas, n=n, n_positive=m)


def strata_of(frame: pl.DataFrame, edges: Sequence[int]) -> Strata:
    """Divide rows by their distance from the gene's start, in bp, at edges such as 1000, 10000.

    Rows without a distance are a stratum of their own; strata without rows are left out.
    """
    distance = frame["tss_distance"].abs()
    found = {}
    for low, high in pairwise([0, *edges, None]):
        inside, upper = distance >= (low or 0), " and more"
        if high is not None:
            inside, upper = inside & (distance < high), f"-{high:,}"
        found[f"TSS distance {low:,}{upper}"] = inside.fill_null(value=False).to_numpy()
    found[UNKNOWN_DISTANCE] = distance.is_null().to_numpy()
    return {name: rows for name, rows in found.items() if rows.any()}


def forest_metrics(
    result: TaskResult, names: Sequence[str], folds: int, strata: Strata
) -> Iterator[Metric]:
    """Give the metrics of one tissue; `strata` are of all rows of the frame."""
    n, m = result.rows.counts
    for at, name in enumerate(names):
        for kind, repeats in result.kinds.items():

            def row(
                metric: str, estimate: Estimate, *, kind: Kind = kind, name: str = name, **more: str
            ) -> Metric:
                return Metric(
                    evaluation=EVALUATION,
                    task=result.rows.tissue,
                    scores=name,
                    metric=metric,
                    estimate=estimate,
                    folds=kind,
                    seed=SEED,
                    **more,
                )

            for metric, values in (("auroc", repeats.auroc_RSF), ("auprc", repeats.auprc_RSF)):
                yield row(metric, _over_folds(values, at, folds, repeats.reason, (n, m)))
            yield from _pooled(result, repeats, at, strata, row)
            if kind == "shuffled":
                yield row("auroc", _control(result, at), control=metrics.SHUFFLED)


def _over_folds(
    values_RSF: NDArray[np.float64], at: int, folds: int, reason: str, counts: tuple[int, int]
) -> Estimate:
    n, m = counts
    if reason:
        return Estimate(None, n, m, reason=reason)
    values = values_RSF[:, at].ravel()
    return metrics.over_folds(values, test_share=1 / folds, n=n, n_positive=m)


def _pooled(
    result: TaskResult, repeats: Repeats, at: int, strata: Strata, row: Callable[..., Metric]
) -> Iterator[Metric]:
    """Judge the mean of each row's ranks within its folds, over all rows and within strata."""
    labels_V = result.rows.labels_V
    everything = {"all": np.ones(len(labels_V), dtype=np.bool_)}
    parts = everything | {name: rows[result.rows.row_V] for name, rows in strata.items()}
    for stratum, inside_V in parts.items():
        n, m = int(inside_V.sum()), int(labels_V[inside_V].sum())
        reason, rank_V = repeats.reason, np.empty(0)
        if not reason:
            rank_V = repeats.rank_SV[at][inside_V]
            reason = "" if np.isfinite(rank_V).all() else UNTRAINED
        if reason:
            estimate = Estimate(None, n, m, reason=reason)
        else:
            estimate = metrics.auroc(labels_V[inside_V], rank_V)
        yield row("auroc_pooled", estimate, stratum=stratum)


def _control(result: TaskResult, at: int) -> Estimate:
    """Average the area over repeats, each with labels that were shuffled anew.

    The shuffles are independent, as folds and repeats of the same labels are not.
    """
    n, m = result.rows.counts
    if result.control.reason:
        return Estimate(None, n, m, reason=result.control.reason)
    values_RF = result.control.auroc_RSF[:, at]
    known = [values_F[~np.isnan(values_F)] for values_F in values_RF]
    means = [float(values.mean()) for values in known if len(values)]
    return metrics.mean_over("shuffles", means, least=0.0, n=n, n_positive=m)


def single_metrics(
    rows: TaskRows, scores_SV: NDArray[np.float64], names: Sequence[str], strata: Strata, seed: int
) -> Iterator[Metric]:
    """Judge one score of each row without a classifier, and against shuffled labels."""
    parts = {"all": np.ones(len(rows.labels_V), dtype=np.bool_)}
    parts |= {name: inside[rows.row_V] for name, inside in strata.items()}
    for name, scores_V in zip(names, scores_SV, strict=True):
        told: dict[str, Any] = {"evaluation": EVALUATION, "task": rows.tissue, "scores": name}
        for stratum, inside_V in parts.items():
            told["stratum"] = stratum
            labels_V, inside = rows.labels_V[inside_V], scores_V[inside_V]
            yield Metric(metric="auroc", estimate=metrics.auroc(labels_V, inside), **told)
            precision = metrics.average_precision(labels_V, inside, seed=seed)
            yield Metric(metric="auprc", estimate=precision, seed=seed, **told)
        told["stratum"] = "all"
        control = shuffled_area(rows, scores_V, seed)
        yield Metric(metric="auroc", estimate=control, control=metrics.SHUFFLED, seed=seed, **told)


def forest_comparisons(
    result: TaskResult, names: Sequence[str], folds: int
) -> Iterator[Comparison]:
    """Compare every two sources on the same folds of one tissue."""
    for kind, repeats in result.kinds.items():
        for metric, values in (("auroc", repeats.auroc_RSF), ("auprc", repeats.auprc_RSF)):
            for a, b in combinations(range(len(names)), 2):
                found = (
                    paired.Difference(paired.OVER_FOLDS, 0, reason=repeats.reason)
                    if repeats.reason
                    else paired.over_folds_paired(
                        values[:, a].ravel(), values[:, b].ravel(), 1 / folds
                    )
                )
                yield Comparison(
                    evaluation=EVALUATION,
                    task=result.rows.tissue,
                    metric=metric,
                    first=names[a],
                    second=names[b],
                    folds=kind,
                    result=found,
                )


def single_comparisons(
    rows: TaskRows, scores_SV: NDArray[np.float64], names: Sequence[str]
) -> Iterator[Comparison]:
    """Compare the areas of every two scores on the rows of one tissue."""
    for a, b in combinations(range(len(names)), 2):
        yield Comparison(
            evaluation=EVALUATION,
            task=rows.tissue,
            metric="auroc",
            first=names[a],
            second=names[b],
            result=paired.delong_paired(rows.labels_V, scores_SV[a], scores_SV[b]),
        )


def importance_table(results: Sequence[TaskResult], scored: ScoredRows) -> pl.DataFrame:
    """List how much of each forest's importance falls to each assay, and how many tracks it has."""
    rows = [
        (result.rows.tissue, source.name, kind, assay, source.assays.count(assay), share)
        for result in results
        for kind, repeats in result.kinds.items()
        for source, shares in zip(scored.sources, repeats.importance, strict=False)
        for assay, share in shares.items()
    ]
    names = ("tissue", "scores", "folds", "assay", "tracks", "importance")
    kinds = (pl.String, pl.String, pl.String, pl.String, pl.Int64, pl.Float64)
    return pl.DataFrame(rows, schema=dict(zip(names, kinds, strict=True)), orient="row")
