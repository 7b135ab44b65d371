"""Scores of a shard of tiles: a column of values per track, in genome order.

Knows genomes, windows and predictors; knows nothing of Parquet, runs or Ray.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cisray.genome.reference import Genome
from cisray.genome.windows import Window
from cisray.inference.predictor import Predictor


@dataclass(frozen=True, slots=True)
class TileScores:
    """Predictions of a shard: `start` (rows,) int32, 0-based; `values_TM` (T, rows) float32.

    Tracks are the outer axis, so that the column of a track is one contiguous piece of memory.
    """

    start: NDArray[np.int32]
    values_TM: NDArray[np.float32]


class TileScorer:
    """Predict the tiles of a shard, one batch of windows in memory at a time."""

    def __init__(self, predictor: Predictor, genome: Genome, *, batch_size: int = 1) -> None:
        self.predictor = predictor
        self.genome = genome
        self.batch_size = batch_size

    def score(self, tiles: Sequence[tuple[Window, int]]) -> TileScores:
        """Score windows, keeping the first `bins` bins of each (the rest lies off the chromosome).

        `tiles` are (window, bins) of one chromosome in ascending order.
        """
        rows = sum(bins for _, bins in tiles)
        start = np.empty(rows, np.int32)
        values_TM = np.empty((len(self.predictor.tracks), rows), np.float32)
        row = 0
        for first in range(0, len(tiles), self.batch_size):
            batch = tiles[first : first + self.batch_size]
            codes_BL = np.stack([self.genome.fetch_padded(window.input) for window, _ in batch])
            pred_BNT = self.predictor.predict(codes_BL)
            for (window, bins), pred_NT in zip(batch, pred_BNT, strict=True):
                here = slice(row, row + bins)
                start[here] = window.target.start + window.bin_bp * np.arange(bins)
                values_TM[:, here] = pred_NT[:bins].T
                row += bins
        return TileScores(start, values_TM)
