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

from cisray.evaluation.metrics import corrected_root, placements
from cisray_schemas import METRIC_COMPARISONS

OVER_FOLDS = "corrected resampled t"
OVER_TASKS = "Wilcoxon signed-rank"
ON_ROWS = "DeLong"
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
