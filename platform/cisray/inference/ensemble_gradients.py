"""Gradients of an ensemble: each member's led back to the bases of the window, and averaged.

Knows members and where their lanes have which bases; knows nothing of how a gradient is computed.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from cisray.inference.effects import check_bins
from cisray.inference.ensemble import Ensemble, Member, check_width, mirrored
from cisray.inference.gradients import Gradient, GradientPredictor, Objective, check_region


class EnsembleGradients:
    """Differentiate the mean of an objective over an ensemble, for windows with flanks.

    The objective is evaluated for each member on its own, with bins in chromosome order. A base
    that a shifted member does not read adds zero to the mean.
    """

    def __init__(self, predictor: GradientPredictor, ensemble: Ensemble) -> None:
        ensemble.check_fits(predictor.spec)
        self.spec = predictor.spec
        self.tracks = predictor.tracks
        self.ensemble = ensemble
        self.flank_bp = ensemble.flank_bp
        self._predictor = predictor

    def gradient(
        self,
        codes_S: NDArray[np.uint8],
        objective: Objective,
        *,
        bins: range | None = None,
        region: range | None = None,
    ) -> Gradient:
        """Average over members; codes (L + 2 flank_bp,), bins and region of the window in them.

        Prediction, values and gradient are means over members, in chromosome order and on the
        strand of codes_S. Raises ValueError as `GradientPredictor.gradient` does, and for another
        width.
        """
        check_width(np.atleast_2d(codes_S), self.spec, self.flank_bp)
        chosen, wanted = check_bins(bins, self.spec), check_region(region, self.spec)
        found = []
        for member in self.ensemble.members:
            there = self._predictor.gradient(
                member.lane(codes_S[None], self.flank_bp)[0],
                _in_chromosome_order(objective, member),
                bins=mirrored(chosen, self.spec.target_bins) if member.reverse else chosen,
                region=member.bases(wanted, self.spec.input_bp),
            )
            found.append(_undone(there, member, wanted))
        return Gradient(
            prediction_NT=_mean([one.prediction_NT for one in found]).astype(np.float32),
            values_B=_mean([one.values_B for one in found]),
            gradient_BRA=_mean([one.gradient_BRA for one in found]).astype(np.float32),
            region=wanted,
        )


def reverse_complement_gradient(gradient_LA: NDArray[np.float32]) -> NDArray[np.float32]:
    """Read a gradient (..., L, A) on the other strand: bases turned round, letters complemented.

    In the order A, C, G, T the complement of a letter stands as far from the other end.
    """
    return gradient_LA[..., ::-1, ::-1]


def _in_chromosome_order(objective: Objective, member: Member) -> Objective:
    def undone(prediction_NT: torch.Tensor) -> torch.Tensor:
        return objective(member.undone(prediction_NT))

    return undone


def _undone(there: Gradient, member: Member, wanted: range) -> Gradient:
    """Bring what a member found to the window: its bins, its bases and its letters."""
    gradient_BRA = there.gradient_BRA
    if member.reverse:
        gradient_BRA = reverse_complement_gradient(gradient_BRA)
    out_BRA = np.zeros((len(gradient_BRA), len(wanted), gradient_BRA.shape[2]), np.float32)
    # Bases that this member does not read lie on one side: left of it if its shift is positive.
    missing = len(wanted) - len(there.region)
    before = missing if member.shift_bp > 0 else 0
    out_BRA[:, before : before + len(there.region)] = gradient_BRA
    prediction_NT = member.undone(torch.from_numpy(there.prediction_NT)).numpy()
    return Gradient(prediction_NT, there.values_B, out_BRA, wanted)


def _mean(members: list[NDArray[np.floating]]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = np.mean(members, axis=0, dtype=np.float64)
    return mean
