"""The self-check of gradients: what two plain passes on either side of a window say of them.

Knows how a window's gradients are compared with central differences; what follows from a deviation
is the job's business.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cisray.genome.encode import UNKNOWN
from cisray.inference.central_difference import CentralDifference, Growth
from cisray.inference.selfcheck import (
    MOST_NOISE,
    NOISE_OF_REFERENCE,
    TOLERANCES,
    Deviation,
    measure,
)
from cisray.scoring.first_order import WindowGradients, statistics_objective

# How far a step goes at the base and letter where the gradient is largest, in shares of a base:
# what rounding leaves of a difference falls with it, what the curve does grows with its square.
STEP = 0.03
# The share of a track's signal that is rounding, at the least, in the difference of two float32
# passes of nearly the same rows: of two passes 2e-7 to 3e-7 are left on a CPU over all tracks
# (docs/accuracy.md), and of a sum over bins less.
LEAST_NOISE = 1e-6
# How far the slope along a gradient may be from what it promises, over both lengths. Tiny models of
# random weights leave up to 4e-3 at this step; a gradient of another base or weight is off by 1e-1
# and more.
GRADIENT_TOLERANCE = 5e-2


@dataclass(frozen=True, slots=True)
class GradientDeviation:
    """How far gradients lie from central differences, and the reference from a plain pass.

    `error` is that of the worst statistic and track, `lane` its number on axis B, `slope` what the
    gradient promises of one step and `found` what two passes say.
    """

    error: float
    lane: int
    slope: float
    found: float
    reference: Deviation

    @property
    def largest_relative(self) -> float:
        """The largest relative error of the reference's prediction that is not faint."""
        return self.reference.largest_relative

    @property
    def is_within(self) -> bool:
        """Tell whether both are as near as can be asked."""
        return self.error <= GRADIENT_TOLERANCE and self.reference.is_within(TOLERANCES["float32"])


class GradientCheck:
    """Compare gradients with plain passes of the same windows, whatever computed them.

    One direction is looked at: that of the gradient of one lane, in which a wrong one has no way
    to hide. Of the other lanes it says what their gradients promise of that direction.
    """

    def __init__(self, plain: CentralDifference, stats: tuple[str, ...]) -> None:
        self._plain = plain
        self._objective = statistics_objective(stats)

    def check(self, seen: WindowGradients, lane: int) -> GradientDeviation:
        """Measure along the gradient of a lane, which is taken modulo the number of lanes.

        The error of a lane is the difference of both slopes, less what is rounding, over the length
        of its gradient times that of the step: infinite where something is not finite.
        """
        step_RA = self._step(seen, lane % len(seen.gradient_BRA))
        grown = self._plain.along(
            seen.codes_S,
            step_RA,
            self._objective,
            bins=seen.bins,
            region=seen.region,
        )
        reference = measure(seen.prediction_NT.T, grown.prediction_NT.T)
        wide_BRA = seen.gradient_BRA.astype(np.float64)
        slopes_B = (wide_BRA * step_RA).sum(axis=(1, 2))
        lengths_B = np.linalg.norm(wide_BRA, axis=(1, 2)) * np.linalg.norm(step_RA)
        apart_B = (np.abs(slopes_B - grown.slopes_B) - self._noise(grown, reference)).clip(min=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            error_B = np.where(apart_B == 0, 0, apart_B / lengths_B)
        error_B[~np.isfinite(error_B)] = np.inf
        worst = int(error_B.argmax())
        return GradientDeviation(
            error=float(error_B[worst]),
            lane=worst,
            slope=float(slopes_B[worst]),
            found=float(grown.slopes_B[worst]),
            reference=reference,
        )

    def _noise(self, grown: Growth, reference: Deviation) -> NDArray[np.float64]:
        """Estimate what rounding leaves of each lane's slope; nothing of float64."""
        share = max(LEAST_NOISE, NOISE_OF_REFERENCE * reference.error)
        if self._plain.dtype is torch.float64:
            share = 0.0
        here_NT = torch.from_numpy(grown.prediction_NT).double()
        raised_NT = here_NT * (1 + min(share, MOST_NOISE))
        noise_B: NDArray[np.float64] = (
            (self._objective(raised_NT) - self._objective(here_NT)).abs().numpy()
        )
        return noise_B

    @staticmethod
    def _step(seen: WindowGradients, lane: int) -> NDArray[np.float32]:
        """Make the step: along a lane's gradient, at bases that are known.

        Where that is zero, towards A: a gradient that is not there should not go unnoticed.
        """
        first = (len(seen.codes_S) - seen.window.input.width) // 2 + seen.region.start
        known_R = seen.codes_S[first : first + len(seen.region)] != UNKNOWN
        step_RA: NDArray[np.float32] = seen.gradient_BRA[lane] * known_R[:, None]
        largest = np.abs(step_RA).max()
        if largest == 0:
            step_RA[:, 0] = STEP * known_R
            return step_RA
        step_RA *= np.float32(STEP / largest)
        return step_RA
