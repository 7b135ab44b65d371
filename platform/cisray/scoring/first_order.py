"""First-order scores of substitutions: what gradients of a window say of every base in it.

Knows genomes, windows and gradients; knows nothing of regions, of files or of Ray. A score is the
derivative of the very statistic that `VariantScorer` computes in the same window, taken from the
reference's letter to another one: the first term of the effect's Taylor series. How near it comes
to the effect depends on the weights (docs/decisions/0017).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cisray.errors import ConfigError, CoordinateError
from cisray.genome.encode import ALPHABET
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.variant import Variant
from cisray.genome.windows import Window
from cisray.inference.effects import check_bins
from cisray.inference.ensemble_gradients import EnsembleGradients
from cisray.inference.gradients import (
    TRACK_OBJECTIVES,
    Gradient,
    GradientPredictor,
    Objective,
    joined,
    total,
    weighted_total,
)
from cisray.scoring.contribution import first_order
from cisray.scoring.variants import EffectOptions, ScoredRow
from cisray.stopwatch import lap

PREFIX = "grad"  # begins the name of a statistic's first-order score
_LN2 = math.log(2)
_OF_SUMS = ("SAD", "SADR")  # both follow from the gradient of the sum over bins


@dataclass(frozen=True, slots=True, eq=False)
class WindowGradients:
    """The gradients that the scores of a window's rows were taken from.

    `codes_S` has the ensemble's flanks. `gradient_BRA` is d objective / d one-hot for the bases in
    `region` of the window; B are the statistics, and of each the tracks. `prediction_NT` is the
    mean over members.
    """

    window: Window
    bins: range
    region: range
    codes_S: NDArray[np.uint8]
    prediction_NT: NDArray[np.float32]
    gradient_BRA: NDArray[np.float32]


# Is handed the numbers of rows, and the gradients that they were taken from.
GradientWatch = Callable[[Sequence[int], WindowGradients], None]


def check_statistics(stats: Sequence[str]) -> None:
    """Raise `ConfigError` for statistics that have no first order here."""
    for name in stats:
        if name not in TRACK_OBJECTIVES:
            raise ConfigError(
                f"{name} cannot be approximated by a gradient: choose from "
                f"{', '.join(TRACK_OBJECTIVES)}, or compute it exactly with --method ism."
            )


def gradients_per_track(stats: Sequence[str]) -> int:
    """Count the gradients that are led back for each track of a window."""
    return len({name in _OF_SUMS for name in stats})


def statistics_objective(stats: Sequence[str]) -> Objective:
    """Make the objective whose gradients are those of `WindowGradients`, of a mean prediction."""
    return joined([TRACK_OBJECTIVES[name] for name in stats])


class GradientScorer:
    """Score substitutions by gradients, window by window.

    Raises ConfigError for statistics without a first order, for spreads over an ensemble, and for
    an ensemble that does not fit the model's bins.
    """

    def __init__(
        self, predictor: GradientPredictor, genome: Genome, options: EffectOptions
    ) -> None:
        check_statistics(options.stats)
        if options.spread:
            raise ConfigError("First-order scores have no spread over an ensemble: leave it out.")
        self.genome = genome
        self.options = options
        self._gradients = EnsembleGradients(predictor, options.ensemble)

    def score(
        self, rows: Sequence[ScoredRow], *, watch: GradientWatch | None = None
    ) -> Mapping[str, NDArray[np.float32]]:
        """Score rows, which may come in any order: (T, V) under `gradSAD` for each SAD asked for.

        Every window's gradients are handed to `watch`. Raises CoordinateError for a row that does
        not put one letter in another's place, or where the genome has another letter.
        """
        shape = (len(self._gradients.tracks), len(rows))
        values = {PREFIX + name: np.empty(shape, np.float32) for name in self.options.stats}
        for (window, bins), members in self._by_window(rows).items():
            found = self._differentiate(window, bins, [rows[row].variant for row in members])
            if watch is not None:
                watch(members, found)
            self._fill(values, found, rows, members)
        return values

    def _by_window(self, rows: Sequence[ScoredRow]) -> dict[tuple[Window, range], list[int]]:
        spec = self._gradients.spec
        members: dict[tuple[Window, range], list[int]] = defaultdict(list)
        for row, asked in enumerate(rows):
            window = self.options.window(asked.variant, spec)
            members[window, check_bins(asked.bins, spec)].append(row)
        return members

    def _differentiate(
        self, window: Window, bins: range, variants: Sequence[Variant]
    ) -> WindowGradients:
        """Compute the gradients of a window, for the bases from its first variant to its last."""
        flank_bp = self._gradients.flank_bp
        read = window.input
        with lap("input"):
            codes_S = self.genome.fetch_padded(
                Interval(read.chrom, read.start - flank_bp, read.end + flank_bp)
            )
        starts = [variant.interval.start - read.start for variant in variants]
        region = range(min(starts), max(starts) + 1)
        stats = self.options.stats
        pieces = {name in _OF_SUMS: self._objective(name, codes_S, bins) for name in stats}
        found = self._gradients.gradient(
            codes_S, joined(list(pieces.values())), bins=bins, region=region
        )
        by_piece = dict(
            zip(pieces, np.split(found.gradient_BRA, len(pieces)), strict=True),
        )
        by_stat = [
            by_piece[name in _OF_SUMS] * _scale(name, found)[:, None, None] for name in stats
        ]
        return WindowGradients(
            window=window,
            bins=bins,
            region=region,
            codes_S=codes_S,
            prediction_NT=found.prediction_NT,
            gradient_BRA=np.concatenate(by_stat),
        )

    def _objective(self, name: str, codes_S: NDArray[np.uint8], bins: range) -> Objective:
        """Choose what is differentiated for each member of the ensemble.

        The statistic is one of the mean prediction, so that its slopes are taken there, by a pass
        of each member beforehand; those of a sum over bins are one everywhere.
        """
        if name in _OF_SUMS:
            return total
        if len(self.options.ensemble.members) == 1:
            return TRACK_OBJECTIVES[name]
        passed = self._gradients.gradient(codes_S, total, bins=bins, region=range(0))
        return weighted_total(1 / (_LN2 * (passed.prediction_NT.astype(np.float64) + 1)))

    def _fill(
        self,
        values: Mapping[str, NDArray[np.float32]],
        found: WindowGradients,
        rows: Sequence[ScoredRow],
        members: Sequence[int],
    ) -> None:
        first = self._gradients.flank_bp + found.region.start
        codes_R = found.codes_S[first : first + len(found.region)]
        origin = found.window.input.start + found.region.start
        offsets = [rows[row].variant.interval.start - origin for row in members]
        letters = [
            _letter(rows[row].variant, int(codes_R[offset]))
            for row, offset in zip(members, offsets, strict=True)
        ]
        effects_BRA = first_order(codes_R, found.gradient_BRA)
        parts = np.split(effects_BRA, len(self.options.stats))
        for name, effects_TRA in zip(self.options.stats, parts, strict=True):
            values[PREFIX + name][:, members] = effects_TRA[:, offsets, letters]


def _scale(name: str, found: Gradient) -> NDArray[np.float32]:
    """Tell by how much the gradient of what was differentiated differs from a statistic's, (T,)."""
    sums_T = found.prediction_NT.sum(axis=0, dtype=np.float64)
    scale_T = 1 / (_LN2 * (sums_T + 1)) if name == "SADR" else np.ones_like(sums_T)
    rounded_T: NDArray[np.float32] = scale_T.astype(np.float32)
    return rounded_T


def _letter(variant: Variant, code: int) -> int:
    """Tell which letter is put in place. Raises CoordinateError as `GradientScorer.score` does."""
    if len(variant.ref) != 1 or len(variant.alt) != 1:
        raise CoordinateError(f"{variant} does not put one letter in another's place.")
    if ALPHABET.find(variant.ref) != code:
        there = "ACGTN"[code]
        raise CoordinateError(f"{variant} is not one of this genome, which has {there} there.")
    return ALPHABET.index(variant.alt)


def largest(
    scores_TV: NDArray[np.float32],
    regions: NDArray[np.integer],
    variants: NDArray[np.integer],
    count: int,
) -> NDArray[np.int64]:
    """Choose of each region the `count` rows whose score is largest in any track, or all it has.

    Sizes count, not signs; of equal ones the lower variant number. Gives row numbers, ascending.
    """
    sizes = np.abs(scores_TV).max(axis=0)
    ranked = np.lexsort((variants, -sizes, regions))
    region = regions[ranked]
    begins = np.flatnonzero(np.diff(region, prepend=region[:1] - 1))
    place = np.arange(len(ranked)) - np.repeat(begins, np.diff(begins, append=len(ranked)))
    return np.sort(ranked[place < count])
