"""Scores of a shard of tiles: a column of values per track, in genome order.

Knows genomes, windows and predictors; knows nothing of Parquet, runs or Ray.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.windows import Window, contiguous
from cisray.inference.predictor import Predictor
from cisray.stopwatch import lap


@dataclass(frozen=True, slots=True)
class TileScores:
    """Predictions of a shard: `start` (rows,) int32, 0-based; `values_TM` (T, rows) float32.

    Tracks are the outer axis, so that the column of a track is one contiguous piece of memory.
    """

    start: NDArray[np.int32]
    values_TM: NDArray[np.float32]


class TileScorer:
    """Predict the tiles of a shard, stretch by stretch."""

    def __init__(self, predictor: Predictor, genome: Genome) -> None:
        self.predictor = predictor
        self.genome = genome

    def score(self, tiles: Sequence[tuple[Window, int]]) -> TileScores:
        """Score windows, keeping the first `bins` bins of each (the rest lies off the chromosome).

        `tiles` are (window, bins) of one chromosome in ascending order. The bases of a stretch are
        fetched once, and its windows handed to the predictor together, which may share what they
        have in common.
        """
        rows = sum(bins for _, bins in tiles)
        start = np.empty(rows, np.int32)
        values_TM = np.empty((len(self.predictor.tracks), rows), np.float32)
        row = 0
        for stretch in stretches(tiles):
            for (window, bins), pred_NT in zip(stretch, self._predict(stretch), strict=True):
                here = slice(row, row + bins)
                start[here] = window.target.start + window.bin_bp * np.arange(bins)
                values_TM[:, here] = pred_NT[:bins].T
                row += bins
        return TileScores(start, values_TM)

    def _predict(self, stretch: Sequence[tuple[Window, int]]) -> Iterator[NDArray[np.float32]]:
        first, last = stretch[0][0].input, stretch[-1][0].input
        with lap("input"):
            codes_S = self.genome.fetch_padded(Interval(first.chrom, first.start, last.end))
        starts = [window.input.start - first.start for window, _ in stretch]
        return self.predictor.predict_along(codes_S, starts)


def stretches(tiles: Sequence[tuple[Window, int]]) -> Iterator[Sequence[tuple[Window, int]]]:
    """Cut ascending tiles where the input of one ends before that of the next begins."""
    for run in contiguous([window for window, _ in tiles]):
        yield tiles[run.start : run.stop]
