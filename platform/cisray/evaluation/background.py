"""How the scores of a background are distributed: quantiles and moments of each track.

Knows arrays of values and the ladder of quantiles; knows no runs and no files.

A quantile is a mid-rank: of n values, the share that is smaller plus half of the share that is
equal. The i-th of n distinct values (from 1) then has the quantile (i - 1/2) / n, and numpy's
method `hazen` is its inverse. A value below all has 0, one above all 1. Of a background only the
ladder, the smallest and the largest value are kept: between them quantiles are linear, so that one
differs from the mid-rank by less than a step of the ladder, 0.001 in the tails and 0.01 between;
and none is finer than 1 / n.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cisray.errors import EvaluationError
from cisray_schemas.calibrations import LADDER

Doubles = NDArray[np.float64]
LADDER_P: Doubles = np.array(LADDER)


@dataclass(frozen=True, slots=True, eq=False)
class Distribution:
    """One track's values: their number, moments, ends, and quantiles at the ladder."""

    n: int
    mean: float
    sd: float | None
    least: float
    largest: float
    quantiles: Doubles

    @classmethod
    def of(cls, values_V: NDArray[np.floating]) -> "Distribution":
        """Describe values; those that are NaN are missing. Raises EvaluationError without any."""
        # Sorted as they are stored, which takes half of the time that unsorted ones would.
        held = np.sort(values_V[~np.isnan(values_V)]).astype(np.float64)
        if not len(held):
            raise EvaluationError("a background without any value says nothing of others.")
        quantiles = np.quantile(held, LADDER_P, method="hazen")
        return cls(
            n=len(held),
            mean=float(held.mean()),
            sd=float(held.std(ddof=1)) if len(held) > 1 else None,
            least=float(held[0]),
            largest=float(held[-1]),
            quantiles=quantiles,
        )

    def knots(self) -> tuple[Doubles, Doubles]:
        """Give values in ascending order and the quantile of each: the ladder within the ends."""
        first, last = 0.5 / self.n, 1 - 0.5 / self.n
        inner = (first < LADDER_P) & (last > LADDER_P)
        values = np.concatenate([[self.least], self.quantiles[inner], [self.largest]])
        return values, np.concatenate([[first], LADDER_P[inner], [last]])

    def quantile(self, values_V: NDArray[np.floating]) -> Doubles:
        """Give the quantile of each value; NaN of NaN.

        Where several knots have a value it takes the middle of their quantiles, as a mid-rank does.
        """
        x_V = values_V.astype(np.float64)
        knots, shares = self.knots()
        left, right = np.searchsorted(knots, x_V, "left"), np.searchsorted(knots, x_V, "right")
        last = len(knots) - 1
        below, above = np.clip(left - 1, 0, last), np.clip(left, 0, last)
        gap = knots[above] - knots[below]
        part = np.divide(x_V - knots[below], gap, out=np.zeros_like(x_V), where=gap > 0)
        between = shares[below] + part * (shares[above] - shares[below])
        tied = (shares[above] + shares[np.clip(right - 1, 0, last)]) / 2
        result: Doubles = np.where(right > left, tied, between)
        result[right == 0], result[left > last] = 0.0, 1.0
        result[np.isnan(x_V)] = np.nan
        return result

    def z_score(self, values_V: NDArray[np.floating]) -> Doubles:
        """Give (value - mean) / sd; NaN of NaN, and where the background is constant."""
        if not self.sd:
            return np.full(len(values_V), np.nan)
        z_V: Doubles = (values_V.astype(np.float64) - self.mean) / self.sd
        return z_V
