"""The numbers of evaluations, each with its interval: areas under curves, and correlations.

Knows labels and scores as arrays, scikit-learn and scipy; knows nothing of what was scored. A
number that is not defined is None with a reason; scores that are not finite are refused, never
mended. Intervals are of 95 %.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats
from sklearn.metrics import average_precision_score

from cisray.errors import EvaluationError
from cisray_schemas import METRICS

Doubles = NDArray[np.float64]
Labels = NDArray[np.bool_]

LEVEL = 0.95
Z = float(stats.norm.ppf((1 + LEVEL) / 2))
BOOTSTRAPS = 1_000
# Fisher's z has a standard error of 1 / sqrt(n - 3).
_FEWEST_PAIRS = 4
_TINY = 1e-12
SHUFFLED = "shuffled labels"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number of `n` rows with its interval; where something is None, `reason` says why."""

    value: float | None
    n: int
    n_positive: int | None = None
    se: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    ci_method: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One row of `cisray_schemas.METRICS`: an estimate, and what it is of."""

    evaluation: str
    task: str
    scores: str
    metric: str
    estimate: Estimate
    stratum: str = "all"
    folds: str = ""
    control: str = ""
    seed: int | None = None

    def row(self) -> dict[str, Any]:
        """Give the columns of the table."""
        named = {name: getattr(self, name) for name in METRICS.schema.names if hasattr(self, name)}
        return named | asdict(self.estimate)


def metrics_table(metrics: Iterable[Metric]) -> pa.Table:
    """Lay metrics out as the table of `cisray_schemas.METRICS`, in its order."""
    rows = [metric.row() for metric in metrics]
    rows.sort(key=lambda row: tuple(row[name] for name in METRICS.sort_by))
    return pa.Table.from_pylist(rows, schema=METRICS.schema)


def auroc(labels_V: Labels, scores_V: ArrayLike) -> Estimate:
    """Estimate the area under the ROC curve: how often a positive scores above a negative.

    Ties count half. The standard error is DeLong's (1988), by midranks (Sun and Xu 2014); the
    interval is symmetric in the logit of the area. Where all positives score above all negatives,
    or all below, that error is zero, and the interval is Newcombe's (2006, method 4), which
    never is. Raises EvaluationError for scores that are not finite.
    """
    scores = _finite(scores_V, len(labels_V))
    undefined = _one_class(labels_V)
    if undefined is not None:
        return undefined
    m, n = int(labels_V.sum()), int((~labels_V).sum())
    below_V, above_V = placements(labels_V, scores)
    area = float(below_V.mean())
    variance = below_V.var(ddof=1) / m + above_V.var(ddof=1) / n if min(m, n) > 1 else 0.0
    if variance > 0 and 0 < area < 1:
        se = math.sqrt(float(variance))
        half = Z * se / (area * (1 - area))
        logit = math.log(area / (1 - area))
        low, high = (float(1 / (1 + math.exp(-x))) for x in (logit - half, logit + half))
        return Estimate(area, m + n, m, se, low, high, "DeLong, logit")
    low, high = _newcombe(area, m, n)
    return Estimate(area, m + n, m, None, low, high, "Newcombe 4", "no error of separated classes")


def placements(labels_V: Labels, scores_V: ArrayLike) -> tuple[Doubles, Doubles]:
    """Give of each positive the share of negatives below it, of each negative of those above it.

    Ties count half; the mean of either is the area under the ROC curve.
    """
    scores = np.asarray(scores_V, dtype=np.float64)
    up_V, down_V = scores[labels_V], scores[~labels_V]
    ranks = stats.rankdata(np.concatenate([up_V, down_V]))
    m, n = len(up_V), len(down_V)
    below_V = (ranks[:m] - stats.rankdata(up_V)) / n
    above_V = 1 - (ranks[m:] - stats.rankdata(down_V)) / m
    return below_V, above_V


def _newcombe(area: float, m: int, n: int) -> tuple[float, float]:
    """Solve (area - t)² = Z² V(t) for t, with V of Hanley and McNeil (Newcombe's method 4)."""
    each = (m + n) / 2 - 1

    def beyond(t: float) -> float:
        # Both sides over t (1 - t), which would be a root of its own where the area is 0 or 1.
        spread = 1 + each * ((1 - t) / (2 - t) + t / (1 + t))
        return (area - t) ** 2 / (t * (1 - t)) - Z * Z * spread / (m * n)

    inside = min(max(area, _TINY), 1 - _TINY)
    low = 0.0 if area == 0 else float(optimize.brentq(beyond, _TINY, inside))
    high = 1.0 if area == 1 else float(optimize.brentq(beyond, inside, 1 - _TINY))
    return low, high


def average_precision(
    labels_V: Labels, scores_V: ArrayLike, *, seed: int, bootstraps: int = BOOTSTRAPS
) -> Estimate:
    """Estimate the area under the precision-recall curve as scikit-learn's average precision.

    The interval is the percentiles of a bootstrap within each class, so that the share of
    positives, which the number depends on, stays. Raises EvaluationError for scores that are not
    finite.
    """
    scores = _finite(scores_V, len(labels_V))
    undefined = _one_class(labels_V)
    if undefined is not None:
        return undefined
    value = float(average_precision_score(labels_V, scores))
    drawn = _drawn_precisions(labels_V, scores, np.random.default_rng(seed), bootstraps)
    low, high = (float(q) for q in np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    n, m = len(scores), int(labels_V.sum())
    return Estimate(value, n, m, float(drawn.std(ddof=1)), low, high, "bootstrap within classes")


def _drawn_precisions(
    labels_V: Labels, scores_V: Doubles, dice: np.random.Generator, bootstraps: int
) -> Doubles:
    """Compute the average precision of rows drawn with repetition within each class.

    Rows are sorted once, and a draw is how often each row came: scikit-learn would sort every one.
    """
    order_V = np.argsort(-scores_V, kind="stable")
    positive_V = labels_V[order_V]
    up_V, down_V = order_V[positive_V], order_V[~positive_V]
    m, n = len(up_V), len(down_V)
    precision = precision_of_draws(labels_V, scores_V)
    drawn, times_V = np.empty(bootstraps), np.empty(m + n)
    for at in range(bootstraps):
        times_V[up_V] = dice.multinomial(m, np.full(m, 1 / m))
        times_V[down_V] = dice.multinomial(n, np.full(n, 1 / n))
        drawn[at] = precision(times_V)
    return drawn


def precision_of_draws(labels_V: Labels, scores_V: ArrayLike) -> Callable[[Doubles], float]:
    """Give the average precision of rows as a function of how often each of them is drawn."""
    scores = np.asarray(scores_V, dtype=np.float64)
    order_V = np.argsort(-scores, kind="stable")
    last_of_ties = np.append(np.flatnonzero(np.diff(scores[order_V])), len(scores) - 1)
    positive_V = labels_V[order_V]

    def precision(times_V: Doubles) -> float:
        sorted_V = times_V[order_V]
        seen = np.cumsum(sorted_V)[last_of_ties]
        true = np.cumsum(sorted_V * positive_V)[last_of_ties]
        share = np.divide(true, seen, out=np.zeros_like(true), where=seen > 0)
        return float(np.sum(np.diff(true, prepend=0.0) * share) / true[-1])

    return precision


def pearson(x_V: ArrayLike, y_V: ArrayLike) -> Estimate:
    """Estimate Pearson's correlation with Fisher's interval. Raises EvaluationError as `auroc`."""
    return _correlation(x_V, y_V, lambda x, y: stats.pearsonr(x, y).statistic, lambda r: 1.0)


def spearman(x_V: ArrayLike, y_V: ArrayLike) -> Estimate:
    """Estimate Spearman's correlation with Fisher's interval, as Bonett and Wright (2000) widen it.

    Raises EvaluationError for values that are not finite.
    """
    return _correlation(
        x_V, y_V, lambda x, y: stats.spearmanr(x, y).statistic, lambda r: 1 + r * r / 2
    )


def _correlation(
    x_V: ArrayLike,
    y_V: ArrayLike,
    measure: Callable[[Doubles, Doubles], float],
    widening: Callable[[float], float],
) -> Estimate:
    x = _finite(x_V, None)
    y = _finite(y_V, len(x))
    n = len(x)
    if n < 2:
        return Estimate(None, n, reason="fewer than two rows")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return Estimate(None, n, reason="one side is constant")
    r = float(measure(x, y))
    if n < _FEWEST_PAIRS:
        return Estimate(r, n, reason=f"no interval of fewer than {_FEWEST_PAIRS} rows")
    if abs(r) >= 1:
        return Estimate(r, n, reason="no interval of a perfect correlation")
    half = Z * math.sqrt(widening(r) / (n - 3))
    low, high = (math.tanh(math.atanh(r) + side) for side in (-half, half))
    # The delta method: the slope of tanh at atanh(r) is 1 - r².
    return Estimate(r, n, None, half / Z * (1 - r * r), low, high, "Fisher z")


def over_folds(values_F: ArrayLike, *, test_share: float, n: int, n_positive: int) -> Estimate:
    """Average an area over cross-validation folds, some of which may be undefined (NaN).

    `se` is sd / sqrt(folds), as published. Folds share training rows, so it is far too small; the
    interval takes sd sqrt(1 / folds + test rows / training rows) instead (Nadeau and Bengio 2003),
    with Student's t of one degree less than folds, and ends at 0 and 1. `test_share` is the part of
    rows in a test fold.
    """
    values = np.asarray(values_F, dtype=np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        return Estimate(None, n, n_positive, reason="one class only in every fold")
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(mean, n, n_positive, reason="no interval of a single fold")
    spread = float(values.std(ddof=1))
    half = spread * corrected_root(len(values), test_share) * student(len(values))
    low, high = max(mean - half, 0.0), min(mean + half, 1.0)
    se = spread / math.sqrt(len(values))
    return Estimate(mean, n, n_positive, se, low, high, "corrected t, within 0 to 1")


def mean_over(
    what: str, values: ArrayLike, *, least: float, n: int, n_positive: int | None = None
) -> Estimate:
    """Average a number over tissues or other things, with Student's interval of their mean.

    The interval ends at 1, and at the `least` that the number can be: 0 of areas, -1 of
    correlations. Tissues share people and variants and are not independent: the interval is too
    narrow for them.
    """
    held = _finite(values, None)
    if not len(held):
        return Estimate(None, n, n_positive, reason=f"no value to average over {what}")
    mean = float(held.mean())
    if len(held) < 2:
        return Estimate(mean, n, n_positive, reason=f"one value only to average over {what}")
    se = float(held.std(ddof=1)) / math.sqrt(len(held))
    half = se * student(len(held))
    low, high = max(mean - half, least), min(mean + half, 1.0)
    return Estimate(mean, n, n_positive, se, low, high, f"t over {what}, within {least:g} to 1")


def over_shuffles(areas: ArrayLike, *, n: int, n_positive: int) -> Estimate:
    """Say where chance lies: the mean of areas of shuffled labels, and where 95 % of them lie.

    The interval is of a single shuffle, not of the mean; `se` is the deviation of shuffles.
    """
    held = _finite(areas, None)
    low, high = (float(q) for q in np.quantile(held, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    told = f"{len(held)} shuffles"
    return Estimate(float(held.mean()), n, n_positive, float(held.std(ddof=1)), low, high, told)


def corrected_root(folds: int, test_share: float) -> float:
    """Give sqrt(1 / folds + test rows / training rows), by which a deviation becomes an error."""
    return math.sqrt(1 / folds + test_share / (1 - test_share))


def student(folds: int) -> float:
    """Give the quantile of Student's t for an interval over so many folds."""
    return float(stats.t.ppf((1 + LEVEL) / 2, folds - 1))


def _finite(values: ArrayLike, expected: int | None) -> Doubles:
    held = np.asarray(values, dtype=np.float64)
    if expected is not None and held.shape != (expected,):
        raise EvaluationError(f"{expected:,} rows need as many values, got shape {held.shape}.")
    bad = np.flatnonzero(~np.isfinite(held))
    if len(bad):
        raise EvaluationError(
            f"{len(bad):,} of {len(held):,} values are not finite, the first ({held[bad[0]]}) in "
            f"row {bad[0]:,}, counted from 0: leave those rows out, with their reason."
        )
    return held


def _one_class(labels_V: Labels) -> Estimate | None:
    n, m = len(labels_V), int(labels_V.sum())
    if 0 < m < n:
        return None
    missing = "positives" if m == 0 else "negatives"
    return Estimate(None, n, m, reason=f"no {missing} among {n:,} rows" if n else "no rows")
