"""Paired tests: whether one score is better than another on the same rows.

Knows arrays and scipy; knows nothing of what was scored. Folds of cross-validation share training
rows and are not independent, which the test over folds allows for and a plain t-test would not.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from cisray.evaluation.metrics import (
    BOOTSTRAPS,
    Doubles,
    corrected_root,
    placements,
    precision_of_draws,
)
from cisray.evaluation.mpra import CONSTANT, FEWEST_BLOCKS, drawn_correlations
from cisray_schemas import METRIC_COMPARISONS

OVER_FOLDS = "corrected resampled t"
OVER_TASKS = "Wilcoxon signed-rank"
ON_ROWS = "DeLong"
OF_PAIRS, OF_BLOCKS = "bootstrap within classes", "bootstrap of blocks"
# The exact distribution of fewer tasks never reaches 0.05.
_FEWEST_TASKS = 6


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of two scores and what a paired test says of it."""

    test: str
    pairs: int
    difference: float | None = None
    se: float | None = None
    statistic: float | None = None
    p_value: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One row of `cisray_schemas.METRIC_COMPARISONS`."""

    evaluation: str
    task: str
    metric: str
    first: str
    second: str
    result: Difference
    stratum: str = "all"
    folds: str = ""

    def row(self) -> dict[str, Any]:
        """Give the columns of the table."""
        names = METRIC_COMPARISONS.schema.names
        return {n: getattr(self, n) for n in names if hasattr(self, n)} | asdict(self.result)


def comparisons_table(comparisons: Iterable[Comparison]) -> pa.Table:
    """Lay comparisons out as the table of `cisray_schemas.METRIC_COMPARISONS`, in its order."""
    rows = [comparison.row() for comparison in comparisons]
    rows.sort(key=lambda row: tuple(row[name] for name in METRIC_COMPARISONS.sort_by))
    return pa.Table.from_pylist(rows, schema=METRIC_COMPARISONS.schema)


def over_folds_paired(first_F: ArrayLike, second_F: ArrayLike, test_share: float) -> Difference:
    """Test the mean difference over folds (Nadeau and Bengio 2003; Bouckaert and Frank 2004).

    The error is sd sqrt(1 / folds + test rows / training rows), against Student's t of one degree
    less than folds. Folds in which either is NaN are left out.
    """
    off = np.asarray(first_F, dtype=np.float64) - np.asarray(second_F, dtype=np.float64)
    off = off[~np.isnan(off)]
    if len(off) < 2:
        return Difference(OVER_FOLDS, len(off), reason="fewer than two folds")
    mean, spread = float(off.mean()), float(off.std(ddof=1))
    if spread == 0:
        told = "equal in every fold" if mean == 0 else "the same difference in every fold"
        return Difference(OVER_FOLDS, len(off), mean, 0.0, reason=told)
    se = spread * corrected_root(len(off), test_share)
    t = mean / se
    p = float(2 * stats.t.sf(abs(t), len(off) - 1))
    return Difference(OVER_FOLDS, len(off), mean, se, t, p)


def over_tasks(first_V: ArrayLike, second_V: ArrayLike) -> Difference:
    """Test over tasks whether one is larger (Wilcoxon); tissues that share people are not
    independent, so that its p-value is too small for them.
    """
    off = np.asarray(first_V, dtype=np.float64) - np.asarray(second_V, dtype=np.float64)
    mean = float(off.mean()) if len(off) else None
    if np.count_nonzero(off) < _FEWEST_TASKS:
        told = f"fewer than {_FEWEST_TASKS} tasks that differ"
        return Difference(OVER_TASKS, len(off), mean, reason=told)
    found = stats.wilcoxon(off)
    return Difference(OVER_TASKS, len(off), mean, None, float(found.statistic), float(found.pvalue))


def delong_paired(
    labels_V: NDArray[np.bool_], first_V: ArrayLike, second_V: ArrayLike
) -> Difference:
    """Test the difference of two areas under ROC curves of the same rows (DeLong 1988)."""
    n, m = int((~labels_V).sum()), int(labels_V.sum())
    if min(m, n) < 2:
        return Difference(ON_ROWS, m + n, reason="fewer than two rows of a class")
    below, above = zip(*(placements(labels_V, x) for x in (first_V, second_V)), strict=True)
    difference = float(below[0].mean() - below[1].mean())
    variance = np.var(below[0] - below[1], ddof=1) / m + np.var(above[0] - above[1], ddof=1) / n
    if variance <= 0:
        return Difference(ON_ROWS, m + n, difference, 0.0, reason="equal for every pair of rows")
    se = math.sqrt(float(variance))
    z = difference / se
    return Difference(ON_ROWS, m + n, difference, se, z, float(2 * stats.norm.sf(abs(z))))


def precision_paired(
    labels_V: NDArray[np.bool_],
    first_V: ArrayLike,
    second_V: ArrayLike,
    *,
    seed: int,
    bootstraps: int = BOOTSTRAPS,
) -> Difference:
    """Test the difference of two average precisions of the same rows.

    Rows are drawn with repetition within each class, the same for both scores; see
    `_of_draws` for the p-value.
    """
    n, m = int((~labels_V).sum()), int(labels_V.sum())
    if min(m, n) < 2:
        return Difference(OF_PAIRS, m + n, reason="fewer than two rows of a class")
    one, other = (precision_of_draws(labels_V, scores) for scores in (first_V, second_V))
    ones_V = np.ones(m + n)
    difference = one(ones_V) - other(ones_V)
    dice, drawn = np.random.default_rng(seed), np.empty(bootstraps)
    for at in range(bootstraps):
        times_V = np.empty(m + n)
        times_V[labels_V] = dice.multinomial(m, np.full(m, 1 / m))
        times_V[~labels_V] = dice.multinomial(n, np.full(n, 1 / n))
        drawn[at] = one(times_V) - other(times_V)
    return _of_draws(OF_PAIRS, m + n, difference, drawn)


def correlation_paired(
    effect_V: Doubles,
    scores: tuple[Doubles, Doubles],
    block_V: NDArray[np.int64],
    *,
    seed: int,
    bootstraps: int = BOOTSTRAPS,
) -> Difference:
    """Test the difference of two scores' correlations with the same effects.

    Whole blocks of neighbours are drawn, the same for both scores; draws in which a correlation is
    not defined do not count. See `_of_draws` for the p-value.
    """
    rows = len(effect_V)
    if rows < 2 or any(np.ptp(values_V) == 0 for values_V in (effect_V, *scores)):
        return Difference(OF_BLOCKS, rows, reason=CONSTANT)
    effects = stats.zscore(effect_V)
    held = [stats.zscore(values_V) for values_V in scores]
    difference = float(np.mean(held[0] * effects) - np.mean(held[1] * effects))
    numbers, place_V = np.unique(block_V, return_inverse=True)
    if len(numbers) < FEWEST_BLOCKS:
        told = f"no test of fewer than {FEWEST_BLOCKS} blocks"
        return Difference(OF_BLOCKS, rows, difference, reason=told)
    one, other = (
        drawn_correlations(values_V, effects, place_V, seed, bootstraps) for values_V in held
    )
    return _of_draws(OF_BLOCKS, rows, difference, (one - other)[~np.isnan(one - other)])


def _of_draws(test: str, rows: int, difference: float, drawn: Doubles) -> Difference:
    """Read a two-sided p-value off a bootstrap: how far out zero lies among its percentiles.

    It is twice the share of draws on the rarer side of zero, counting one more draw there, so that
    it is never 0 (Davison and Hinkley 1997, section 4.2). There is no test statistic.
    """
    if len(drawn) < 2:
        return Difference(test, rows, difference, reason="no draw has both numbers")
    se = float(drawn.std(ddof=1))
    if not np.any(drawn):
        return Difference(test, rows, difference, 0.0, reason="equal in every draw")
    rarer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p = min(1.0, 2 * (rarer + 1) / (len(drawn) + 1))
    return Difference(test, rows, difference, se, None, p)
