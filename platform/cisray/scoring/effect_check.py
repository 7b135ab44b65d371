"""The self-check of variants: a scored row, computed once more the plain way.

Knows how to do again what `VariantScorer` did for one row; how far two effects may lie apart is
`cisray.inference.selfcheck`'s business, and what follows from it the job's.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from cisray.genome.reference import Genome
from cisray.inference.effects import PlainEffects
from cisray.inference.precision import Precision
from cisray.inference.selfcheck import (
    EFFECT_TOLERANCES,
    TOLERANCES,
    Deviation,
    measure,
    measure_effect,
    subtraction_noise,
)
from cisray.scoring.variants import EffectArrays, EffectOptions, ScoredRow, VariantScorer


@dataclass(frozen=True, slots=True)
class EffectDeviation:
    """How far a row lies from the plain way: the variant's differences, the reference itself."""

    effect: Deviation
    reference: Deviation

    def is_within(self, precision: Precision) -> bool:
        """Tell whether both are as near as can be asked of differences of that precision.

        The pass of a reference is float32, whatever the precision of differences.
        """
        return self.effect.is_within(EFFECT_TOLERANCES[precision]) and self.reference.is_within(
            TOLERANCES["float32"]
        )


class EffectCheck:
    """Compare what a row's statistics were computed from with two plain predictions.

    `options` are those of the scorer that is checked. Memory is that of a plain pass, time that of
    two or three for each member of the ensemble.

    With `plain` in float32 an effect is seen as far as it rises above the noise of subtracting two
    predictions, as those of single bases often do not where all bins are taken together. In
    float64, with a model of that type and twice the memory, there is none.
    """

    def __init__(self, plain: PlainEffects, genome: Genome, options: EffectOptions) -> None:
        self._is_exact = plain.dtype is torch.float64
        # Which statistics are computed beside the arrays does not matter here.
        self._scorer = VariantScorer(
            plain, genome, replace(options, stats=("SAD",), spread=False), alternates_at_once=1
        )

    def check(self, row: ScoredRow, seen: EffectArrays) -> EffectDeviation:
        """Measure a row's arrays, as `VariantScorer.score` gave them to its `watch`.

        They are of all bins that its window was computed for, and so is the comparison.
        """
        found: list[EffectArrays] = []
        self._scorer.score(
            [ScoredRow(row.variant, seen.bins)], watch=lambda _, arrays: found.append(arrays)
        )
        (plain,) = found
        reference_NT = _array(plain.prediction_NT)
        reference = measure(_array(seen.prediction_NT).T, reference_NT.T)
        noise = 0.0 if self._is_exact else subtraction_noise(reference)
        effect = measure_effect(
            _array(seen.difference_NT), _array(plain.difference_NT), reference_NT, noise=noise
        )
        return EffectDeviation(effect, reference)


def _array(values_NT: torch.Tensor) -> NDArray[np.float32]:
    array_NT: NDArray[np.float32] = values_NT.cpu().numpy()
    return array_NT
