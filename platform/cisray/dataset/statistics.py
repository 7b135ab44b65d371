"""What the targets of a set look like, track by track, added up example by example.

Knows float16 and histograms; knows nothing of files. Memory is one histogram per track, whatever
the number of examples: quantiles come from it, to within 3 % of their value.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# float16 has 16 bits: sign, 5 of exponent, 10 of fraction. Without the last 5 neighbouring values
# share a cell, 1/32 of their size wide.
_DROPPED_BITS = 5
CELLS = 1 << (16 - _DROPPED_BITS)
QUANTILES = (0.5, 0.9, 0.99, 0.999)


def _cells(values: NDArray[np.float16]) -> NDArray[np.int64]:
    """Number the cell of each value so that larger values have larger numbers.

    >>> numbers = _cells(np.array([-2, -1, 0, 1, 2], np.float16))
    >>> bool((np.diff(numbers) > 0).all())
    True
    """
    bits = values.view(np.uint16)
    # The usual trick: flip all bits of negative numbers, and the sign of the others.
    ordered = np.where(bits & 0x8000, ~bits, bits | 0x8000).astype(np.uint16)
    return (ordered >> _DROPPED_BITS).astype(np.int64)


def cell_values() -> NDArray[np.float64]:
    """Give the smallest value of every cell, float64 (cells,), NaN where there is none."""
    ordered = (np.arange(CELLS, dtype=np.uint32) << _DROPPED_BITS).astype(np.uint16)
    bits = np.where(ordered & 0x8000, ordered & 0x7FFF, ~ordered).astype(np.uint16)
    values: NDArray[np.float64] = bits.view(np.float16).astype(np.float64)
    return values


@dataclass(frozen=True, slots=True)
class TrackSummary:
    """What a track is like over a set; `clipped` is the share of bins at the clip or beyond."""

    mean: float
    max: float
    zeros: float
    clipped: float | None
    quantiles: dict[str, float]


class TargetStatistics:
    """Sums, zeros, clipped bins and a histogram of each track."""

    def __init__(self, clips: list[float | None]) -> None:
        """Begin without examples; `clips` has the clip of each track, None where it has none."""
        count = len(clips)
        # Clips above what float16 holds, and none, are never reached.
        bounds = [np.inf if clip is None else clip for clip in clips]
        self._clips = clips
        self._bounds_T = np.array(bounds, dtype=np.float64).astype(np.float16)
        self.bins = 0
        self._sum_T = np.zeros(count)
        self._max_T = np.full(count, -np.inf)
        self._zeros_T = np.zeros(count, dtype=np.int64)
        self._clipped_T = np.zeros(count, dtype=np.int64)
        self.histogram_TC = np.zeros((count, CELLS), dtype=np.int64)

    def add(self, target_NT: NDArray[np.float16]) -> None:
        """Count the bins of one example."""
        self.bins += target_NT.shape[0]
        self._sum_T += target_NT.sum(axis=0, dtype=np.float64)
        self._max_T = np.maximum(self._max_T, target_NT.max(axis=0))
        self._zeros_T += (target_NT == 0).sum(axis=0)
        self._clipped_T += (np.abs(target_NT) >= self._bounds_T).sum(axis=0)
        count = len(self._clips)
        flat = _cells(target_NT) + np.arange(count)[None, :] * CELLS
        counts = np.bincount(flat.ravel(), minlength=count * CELLS)
        self.histogram_TC += counts.reshape(count, CELLS)

    def tracks(self) -> list[TrackSummary]:
        """Summarise every track. Raises ValueError before any example was added."""
        if not self.bins:
            raise ValueError("no example was added")
        quantiles_TQ = self._quantiles()
        return [
            TrackSummary(
                mean=float(self._sum_T[t] / self.bins),
                max=float(self._max_T[t]),
                zeros=float(self._zeros_T[t] / self.bins),
                clipped=None if clip is None else float(self._clipped_T[t] / self.bins),
                quantiles={
                    f"{q:g}": float(v) for q, v in zip(QUANTILES, quantiles_TQ[t], strict=True)
                },
            )
            for t, clip in enumerate(self._clips)
        ]

    def _quantiles(self) -> NDArray[np.float64]:
        """Give the smallest value of the cell that each quantile lies in, (tracks, quantiles)."""
        reached_TC = np.cumsum(self.histogram_TC, axis=1)
        values = cell_values()
        columns = []
        for quantile in QUANTILES:
            rank = min(int(quantile * self.bins), self.bins - 1)
            columns.append(values[(reached_TC > rank).argmax(axis=1)])
        return np.stack(columns, axis=1)
