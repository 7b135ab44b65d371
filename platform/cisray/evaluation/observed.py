"""Measured tracks as bins along the genome: from bigWig files, or from the examples of a dataset.

Knows how bins of training data come about (`cisray.dataset.coverage`); knows nothing of what is
predicted. Bins begin at multiples of their width from base 0 on, as those of a genome run do.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cisray.dataset.bigwig import BigWig, fit_to_genome
from cisray.dataset.coverage import (
    BLACKLIST_BUFFER_BP,
    Stretches,
    fill_bases,
    pool,
    to_float16,
)
from cisray.dataset.examples import ExampleSet
from cisray.dataset.targets import MeasuredTrack
from cisray.errors import EvaluationError, TargetsError
from cisray.evaluation.bin_masks import BinMask, Stretch
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.tracks import TrackSet

Values = NDArray[np.float64]
Read = Callable[[Stretch], Values]
# So many bigWig files are open at once: a process may often have 1,024.
_FILES = 128


class Observed(Protocol):
    """Measured bins of tracks."""

    @property
    def tracks(self) -> TrackSet:
        """What is measured, in order."""

    @property
    def mask(self) -> BinMask:
        """Which bins are measured."""

    @property
    def at_once(self) -> int:
        """How many tracks may be opened together."""

    def open(self, rows: Sequence[int]) -> AbstractContextManager[Read]:
        """Open tracks by their rows; what is given reads a stretch's values, float64 (N, T)."""


def read_all(
    observed: Observed, rows: Sequence[int], stretches: Sequence[Stretch]
) -> Iterator[tuple[slice, int, Values]]:
    """Read stretches of tracks: which tracks (a slice of `rows`), which stretch, values (N, T).

    All stretches come for some tracks, then again for the next ones.
    """
    for first in range(0, len(rows), observed.at_once):
        piece = slice(first, min(first + observed.at_once, len(rows)))
        with observed.open(rows[piece]) as read:
            for number, stretch in enumerate(stretches):
                yield piece, number, read(stretch)


@dataclass(frozen=True, slots=True)
class BigWigBins:
    """Bins of bigWig files, scaled, pooled and clipped as the table of targets says.

    Bases without a value, and those in blacklisted stretches, count as 0: a window's median, which
    training data take for them, would hang on where the window lies. So does a chromosome that a
    file lacks, if that is allowed. Values are rounded to float16 as in training data.
    """

    tracks: TrackSet
    measured: Sequence[MeasuredTrack]
    genome: Genome
    mask: BinMask
    blacklist: Stretches | None = None
    allow_missing: bool = False

    @property
    def at_once(self) -> int:
        """How many files are open together."""
        return _FILES

    @contextmanager
    def open(self, rows: Sequence[int]) -> Iterator[Read]:
        """Open the files of tracks. Raises TargetsError for one that does not fit the genome."""
        with ExitStack() as stack:
            files = [
                (self.measured[row], stack.enter_context(BigWig(self.measured[row].path)))
                for row in rows
            ]
            chroms = [chrom for chrom, held in self.mask.by_chrom.items() if held.any()]
            lacking = self.allow_missing
            names = [
                fit_to_genome(file, self.genome, chroms, allow_missing=lacking) for _, file in files
            ]

            def read(stretch: Stretch) -> Values:
                of_track = [
                    self._track_N(track, file, name, stretch)
                    for (track, file), name in zip(files, names, strict=True)
                ]
                return np.stack(of_track, axis=1)

            yield read

    def _track_N(
        self,
        track: MeasuredTrack,
        file: BigWig,
        names: Mapping[str, str | None],
        stretch: Stretch,
    ) -> Values:
        bin_bp = self.mask.bin_bp
        place = Interval(stretch.chrom, stretch.low * bin_bp, stretch.high * bin_bp)
        name = names[stretch.chrom]
        if name is None:
            return np.zeros(stretch.high - stretch.low)
        bases_L = file.values(Interval(name, place.start, place.end))
        black = self.blacklist.within(place, BLACKLIST_BUFFER_BP) if self.blacklist else []
        filled_L = fill_bases(bases_L, black, bins=0)
        try:
            return to_float16(pool(filled_L, track.rule, bin_bp)).astype(np.float64)
        except ValueError as error:
            raise TargetsError(
                f"track {track.identifier} ({track.path}) at {place}: {error}. Give the track a "
                f"clip, or a smaller scale, in the table of targets."
            ) from error


class ExampleBins:
    """Bins of the examples of a dataset's set; of those that overlap the first in order counts."""

    def __init__(
        self, examples: ExampleSet, tracks: TrackSet, mask: BinMask, genome: Genome
    ) -> None:
        """Take examples on a genome; their bins are put into `mask`, which has none.

        Those whose bins do not begin at multiples of their width are counted as `off_grid`. Raises
        EvaluationError where all are.
        """
        self.tracks, self.mask, self._examples = tracks, mask, examples
        self._lows: dict[str, list[tuple[int, int]]] = {}
        self._last: tuple[int, Values] | None = None
        self.off_grid = 0
        spec = examples.spec
        for index in range(len(examples)):
            interval = examples.interval(index)
            first = interval.start + spec.crop_bp
            if first % spec.bin_bp:
                self.off_grid += 1
                continue
            low, chrom = first // spec.bin_bp, genome.resolve(interval.chrom)
            self._lows.setdefault(chrom, []).append((low, index))
            mask.add(chrom, low, low + spec.target_bins)
        if not self._lows:
            raise EvaluationError(
                f"none of the {len(examples):,} examples has bins where the run has its own, which "
                f"begin at multiples of {spec.bin_bp} bp on its chromosomes: give the measured "
                f"tracks themselves, by --targets."
            )

    @property
    def at_once(self) -> int:
        """All tracks: an example is read whole."""
        return len(self.tracks)

    @contextmanager
    def open(self, rows: Sequence[int]) -> Iterator[Read]:
        """Give the function that reads stretches of tracks."""
        chosen = list(rows)
        yield lambda stretch: self._read(stretch)[:, chosen]

    def _read(self, stretch: Stretch) -> Values:
        bins = self._examples.spec.target_bins
        values_NT = np.full((stretch.high - stretch.low, len(self.tracks)), np.nan)
        # The first example is written last.
        for low, index in reversed(self._lows[stretch.chrom]):
            start, end = max(low, stretch.low), min(low + bins, stretch.high)
            if start < end:
                found = self._target_NT(index)[start - low : end - low]
                values_NT[start - stretch.low : end - stretch.low] = found
        return values_NT

    def _target_NT(self, index: int) -> Values:
        """Read an example, unless it is the one read last: stretches follow one another."""
        if self._last is None or self._last[0] != index:
            self._last = (index, self._examples.target_NT(index).astype(np.float64))
        return self._last[1]
