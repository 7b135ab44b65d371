"""Two columns of numbers for the same rows, told apart: how many differ, by how much, where most.

Knows numbers; knows nothing of runs or files. Rows come in pieces of any size, and only sums are
kept of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

MOST_NAMED = 5
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One row and column in which two runs differ; None where a run has no value."""

    place: str
    column: str
    a: float | None
    b: float | None


@dataclass(frozen=True, slots=True)
class GroupDifference:
    """How far two runs are apart in a group of columns: a statistic, or the tracks of an assay.

    `differing` of the `values` that stand in common rows do; `missing` of these have a value in one
    run only. Relative is over the larger of both. Pearson's correlation is taken over the rows of
    each column; the lowest one is told, and of which column: None where no column varies.
    """

    group: str
    columns: int
    values: int
    differing: int
    missing: int
    largest_absolute: float
    largest_relative: float
    median_correlation: float | None
    lowest_correlation: float | None
    lowest_in: str | None
    largest: tuple[Disagreement, ...]


class Tally:
    """Takes in pieces of rows of one group's columns."""

    def __init__(self, group: str, columns: Sequence[str], tolerance: float) -> None:
        """Begin without rows. Values count as equal within `tolerance` of the larger of both."""
        self._group, self._columns, self._tolerance = group, list(columns), tolerance
        self._values = self._differing = self._missing = 0
        self._absolute = self._relative = 0.0
        # By column: rows, means of a and b, sums of squares of a, of b, of products.
        self._moments = np.zeros((6, len(columns)))
        self._largest: list[tuple[float, Disagreement]] = []

    def add(
        self,
        first: int,
        a_NC: NDArray[np.float32],
        b_NC: NDArray[np.float32],
        place_of: Callable[[int], str],
    ) -> None:
        """Take in rows (N) of the columns (C) from `first` on; NaN stands for a missing value.

        `place_of` names a row of the piece.
        """
        wide_a, wide_b = a_NC.astype(np.float64), b_NC.astype(np.float64)
        has_a, has_b = ~np.isnan(wide_a), ~np.isnan(wide_b)
        both, either = has_a & has_b, has_a ^ has_b
        with np.errstate(invalid="ignore"):
            apart = np.abs(wide_a - wide_b)
            apart[(wide_a == wide_b) | ~both] = 0  # infinities of one sign are equal
            larger = np.maximum(np.abs(wide_a), np.abs(wide_b))
            differs = either | (both & (apart > self._tolerance * larger))
            relative = np.divide(apart, larger, out=np.zeros_like(apart), where=apart > 0)
        self._values += int((has_a | has_b).sum())
        self._differing += int(differs.sum())
        self._missing += int(either.sum())
        self._absolute = max(self._absolute, float(apart.max(initial=0.0)))
        self._relative = max(self._relative, float(relative.max(initial=0.0)))
        self._note_largest(first, np.where(either, np.inf, apart), (wide_a, wide_b), place_of)
        here = slice(first, first + a_NC.shape[1])
        self._moments[:, here] = _merged(self._moments[:, here], _moments(wide_a, wide_b, both))

    def result(self) -> GroupDifference:
        """Tell what all pieces have come to."""
        known = self._correlations()
        lowest = min(known, key=known.__getitem__, default=None)
        return GroupDifference(
            group=self._group,
            columns=len(self._columns),
            values=self._values,
            differing=self._differing,
            missing=self._missing,
            largest_absolute=self._absolute,
            largest_relative=self._relative,
            median_correlation=float(np.median(list(known.values()))) if known else None,
            lowest_correlation=None if lowest is None else known[lowest],
            lowest_in=lowest,
            largest=tuple(told for _, told in self._largest),
        )

    def _note_largest(
        self,
        first: int,
        apart: Doubles,
        values: tuple[Doubles, Doubles],
        place_of: Callable[[int], str],
    ) -> None:
        count = min(MOST_NAMED, apart.size)
        found = list(self._largest)
        for at in np.argpartition(apart, -count, axis=None)[-count:] if count else ():
            row, column = divmod(int(at), apart.shape[1])
            size = float(apart[row, column])
            if size > 0:
                a, b = (float(side[row, column]) for side in values)
                told = Disagreement(
                    place_of(row), self._columns[first + column], _or_none(a), _or_none(b)
                )
                found.append((size, told))
        found.sort(key=lambda entry: -entry[0])
        self._largest = found[:MOST_NAMED]

    def _correlations(self) -> Mapping[str, float]:
        _, _, _, squares_a, squares_b, products = self._moments
        scale = np.sqrt(squares_a) * np.sqrt(squares_b)
        return {
            column: float(products[at] / scale[at])
            for at, column in enumerate(self._columns)
            if scale[at] > 0 and np.isfinite(scale[at])
        }


def _moments(a: Doubles, b: Doubles, both: NDArray[np.bool_]) -> Doubles:
    """Compute, of each column's rows with both values, the moments that `Tally` keeps."""
    rows = both.sum(axis=0)
    safe = np.maximum(rows, 1)
    with np.errstate(invalid="ignore"):
        mean_a, mean_b = (np.where(both, side, 0).sum(axis=0) / safe for side in (a, b))
        off_a, off_b = np.where(both, a - mean_a, 0), np.where(both, b - mean_b, 0)
        sums = ((off_a * off_a), (off_b * off_b), (off_a * off_b))
        return np.stack([rows, mean_a, mean_b, *(part.sum(axis=0) for part in sums)])


def _merged(one: Doubles, other: Doubles) -> Doubles:
    """Merge the moments of two sets of rows (Chan, Golub and LeVeque 1979)."""
    rows = one[0] + other[0]
    safe = np.maximum(rows, 1)
    with np.errstate(invalid="ignore"):
        step_a, step_b = other[1] - one[1], other[2] - one[2]
        share = other[0] / safe
        weight = one[0] * share
        return np.stack(
            [
                rows,
                one[1] + step_a * share,
                one[2] + step_b * share,
                one[3] + other[3] + step_a * step_a * weight,
                one[4] + other[4] + step_b * step_b * weight,
                one[5] + other[5] + step_a * step_b * weight,
            ]
        )


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def cut_at(positions: NDArray[np.int64], rows: int) -> list[tuple[int, int]]:
    """Cut sorted positions into ranges (half-open) of about so many, equal ones kept together.

    >>> cut_at(np.array([1, 2, 2, 2, 5, 9]), 2)
    [(1, 2), (2, 5), (5, 10)]
    """
    if not positions.size:
        return []
    edges = sorted({*positions[::rows].tolist(), int(positions[-1]) + 1})
    return list(pairwise(edges))
