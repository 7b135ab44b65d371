"""How the values of a column are spread: counts that are exact, of any number of rows.

Knows arrays; knows nothing of runs. The upper twelve bits of a float32 are its sign, its exponent
and the eighth of an octave that it is in. Counting these makes one pass in pieces tell how many
values are at least as large as each eighth, exactly.
"""

import math

import numpy as np
from numpy.typing import NDArray

_BELOW_BITS = 20
_BUCKETS = 1 << (31 - _BELOW_BITS)  # of one sign
_FIRST = 8  # below it are zero and what is subnormal


class Spread:
    """The number, mean, deviation and sizes of the values that were added so far."""

    def __init__(self) -> None:
        """Begin without values."""
        self.count = 0
        self.missing = 0
        self.low = math.inf
        self.high = -math.inf
        self._mean = 0.0
        self._squares = 0.0
        self._above = np.zeros(_BUCKETS, np.int64)
        self._below = np.zeros(_BUCKETS, np.int64)

    def add(self, values_N: NDArray[np.float32]) -> None:
        """Count further values; NaN is a missing one."""
        known = values_N[~np.isnan(values_N)]
        self.missing += len(values_N) - len(known)
        if not len(known):
            return
        self._add_moments(known.astype(np.float64))
        self.low, self.high = min(self.low, float(known.min())), max(self.high, float(known.max()))
        counts = np.bincount(known.view(np.uint32) >> _BELOW_BITS, minlength=2 * _BUCKETS)
        self._above += counts[:_BUCKETS]
        self._below += counts[_BUCKETS:]

    @property
    def mean(self) -> float | None:
        """The mean; None without values."""
        return self._mean if self.count else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation of a sample; None of fewer than two values."""
        return math.sqrt(self._squares / (self.count - 1)) if self.count > 1 else None

    def at_least(self, *, negative: bool = False) -> tuple[list[float], list[int]]:
        """Give sizes, and how many positive (or negative) values have at least each of them.

        From the last size that all of them have to the last that any has.
        """
        counts = self._below if negative else self._above
        reached = np.cumsum(counts[: _FIRST - 1 : -1])[::-1]
        some = np.flatnonzero(reached)
        if not len(some):
            return [], []
        whole = np.flatnonzero(reached == reached[0])
        part = slice(whole[-1], some[-1] + 1)
        edges = (np.arange(_FIRST, _BUCKETS, dtype=np.uint32) << _BELOW_BITS).view(np.float32)
        return edges[part].astype(np.float64).tolist(), reached[part].tolist()

    def _add_moments(self, known: NDArray[np.float64]) -> None:
        """Merge the moments of two parts (Chan, Golub and LeVeque 1983)."""
        count, mean = len(known), float(known.mean())
        squares = float(np.square(known - mean).sum())
        total = self.count + count
        apart = mean - self._mean
        self._squares += squares + apart**2 * self.count * count / total
        self._mean += apart * count / total
        self.count = total
