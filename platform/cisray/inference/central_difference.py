"""How fast objectives grow along a direction, by central differences of plain passes.

Knows models, ensembles and one-hot rows that hold fractions of letters; knows nothing of gradients
or of how they are computed. What it finds is what a gradient promises, from two predictions.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cisray.inference.effects import check_bins
from cisray.inference.ensemble import Ensemble, Mean
from cisray.inference.gradients import Objective, check_region
from cisray.inference.precision import arithmetic
from cisray.inference.predictor import PlainTracks
from cisray.model.protocol import SequenceModel
from cisray.tracks import TrackSet


@dataclass(frozen=True, slots=True)
class Growth:
    """What two passes on either side of a window say, `slopes_B`, and one of the window itself."""

    prediction_NT: NDArray[np.float32]
    slopes_B: NDArray[np.float64]


class CentralDifference(PlainTracks):
    """Predict a window's one-hot rows moved a little forth and back, and subtract.

    The objective is one of the ensemble's mean prediction. In float32, or with `dtype` float64 and
    a model of that type. Memory is that of a plain pass, time that of three for each member.
    """

    def __init__(
        self,
        model: SequenceModel,
        tracks: TrackSet,
        ensemble: Ensemble,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(model, tracks, device=device, dtype=dtype)
        self.ensemble = ensemble

    def along(
        self,
        codes_S: NDArray[np.uint8],
        step_RA: NDArray[np.float32],
        objective: Objective,
        *,
        bins: range,
        region: range,
    ) -> Growth:
        """Compare codes (L + 2 flank_bp,), `step_RA` added to the bases of the region, and taken.

        Slopes are those of one whole step. Raises ValueError for bins or bases that are not there.
        """
        chosen, wanted = check_bins(bins, self.spec), check_region(region, self.spec)
        first = wanted.start + self.ensemble.flank_bp
        with arithmetic(self.device, "float32"):
            rows_SA = self.onehot(codes_S)
            moved_SA = torch.zeros_like(rows_SA)
            moved_SA[first : first + len(wanted)] = torch.from_numpy(step_RA).to(moved_SA)
            here, forth, back = (
                self._mean(rows_SA + sign * moved_SA, chosen) for sign in (0, 1, -1)
            )
            slopes_B = (objective(forth) - objective(back)) / 2
        return Growth(
            prediction_NT=here.float().cpu().numpy(),
            slopes_B=slopes_B.double().cpu().numpy(),
        )

    def _mean(self, rows_SA: torch.Tensor, bins: range) -> torch.Tensor:
        """Average the members' predictions of rows (L + 2 flank_bp, A), float64 (N, T)."""
        mean = Mean()
        for member in self.ensemble.members:
            first = self.ensemble.flank_bp + member.shift_bp
            rows_LA = rows_SA[first : first + self.spec.input_bp]
            # The complement of a letter stands as far from the other end of A, C, G, T.
            lane_LA = rows_LA.flip(0, 1) if member.reverse else rows_LA
            pred_NT = member.undone(self.forward(lane_LA[None])[0])
            mean.add(pred_NT[bins.start : bins.stop])
        return mean.mean(torch.float64)
