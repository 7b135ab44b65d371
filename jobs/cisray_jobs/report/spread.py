"""How the values of a column are spread: counts that are exact, of any number of rows.

Knows arrays; knows nothing of runs. Values are counted between eighths of powers of ten, by size
and sign, so that one pass in pieces gives how many are at least as large as each of these.
"""

import math

import numpy as np
from numpy.typing import NDArray

EDGES = np.concatenate([10.0 ** (np.arange(8) / 8 + power) for power in range(-10, 9)])


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
        self._above = np.zeros(len(EDGES) + 1, np.int64)
        self._below = np.zeros(len(EDGES) + 1, np.int64)

    def add(self, values_N: NDArray[np.float32]) -> None:
        """Count further values; NaN is a missing one."""
        known = values_N[~np.isnan(values_N)].astype(np.float64)
        self.missing += len(values_N) - len(known)
        if not len(known):
            return
        self._add_moments(known)
        self.low, self.high = min(self.low, known.min()), max(self.high, known.max())
        places = np.searchsorted(EDGES, np.abs(known), side="right")
        size = len(EDGES) + 1
        self._above += np.bincount(places[known > 0], minlength=size)
        self._below += np.bincount(places[known < 0], minlength=size)

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
        reached = np.cumsum(counts[:0:-1])[::-1]
        some = np.flatnonzero(reached)
        if not len(some):
            return [], []
        whole = np.flatnonzero(reached == counts.sum())
        part = slice(whole[-1] if len(whole) else 0, some[-1] + 1)
        return EDGES[part].tolist(), reached[part].tolist()

    def _add_moments(self, known: NDArray[np.float64]) -> None:
        """Merge the moments of two parts (Chan, Golub and LeVeque 1983)."""
        count, mean = len(known), float(known.mean())
        squares = float(np.square(known - mean).sum())
        total = self.count + count
        apart = mean - self._mean
        self._squares += squares + apart**2 * self.count * count / total
        self._mean += apart * count / total
        self.count = total
