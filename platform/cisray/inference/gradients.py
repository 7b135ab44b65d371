"""Gradients of a prediction with respect to the bases of a window, one for each of some objectives.

Knows models, devices and windows of base codes; knows nothing of variants or of rows. The gradient
is that of the one-hot rows: its entry for base i and letter a says how fast an objective grows as
`a` is mixed in at i, whichever letter stands there. An unknown base is a row of zeros with a
gradient like any other. `PlainGradients` lets autograd record the whole network; faster ones must
equal it.

B, in this module, is the number of objectives. R are the bases of the region that is asked for.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from cisray.genome.windows import WindowSpec
from cisray.inference.effects import check_bins
from cisray.inference.precision import differentiable
from cisray.inference.predictor import PlainTracks, check_codes
from cisray.tracks import TrackSet

# Numbers that a prediction is boiled down to, (N, T) to (B,), by torch functions that autograd
# knows. N are the bins and T the tracks that were asked for.
Objective = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Gradient:
    """What a prediction is, what objectives make of it, and how each of them follows the bases.

    On the CPU. `gradient_BRA` is d value / d one-hot, R the bases of `region`, A in the order A, C,
    G, T.
    """

    prediction_NT: NDArray[np.float32]
    values_B: NDArray[np.float64]
    gradient_BRA: NDArray[np.float32]
    region: range


class GradientPredictor(Protocol):
    """Whatever differentiates objectives of the selected tracks."""

    spec: WindowSpec
    tracks: TrackSet

    def gradient(
        self,
        codes_L: NDArray[np.uint8],
        objective: Objective,
        *,
        bins: range | None = None,
        region: range | None = None,
    ) -> Gradient:
        """Differentiate `objective` of the tracks in `bins` with respect to the bases in `region`.

        `bins` of axis N and `region` of axis L are neighbours; None means all of them. A region may
        be empty, which costs a pass alone. Raises ValueError for what is no window, for bins or
        bases that are not there, and for an objective that does not give (B,) numbers.
        """


def weighted_sum(weights_NT: NDArray[np.float32], *, normalised: bool = False) -> Objective:
    """Make the objective sum(weights x prediction), B = 1; `normalised` divides by sum(weights).

    With 0 and 1 for weights the latter is the mean over a mask, whose gradient DeepMind's Enformer
    notebook multiplies with the input. Raises ValueError for normalised weights that sum to zero.
    """
    scale = float(weights_NT.sum(dtype=np.float64)) if normalised else 1.0
    if scale == 0:
        raise ValueError("weights that sum to zero cannot be normalised")
    weights = torch.from_numpy(weights_NT.astype(np.float64) / scale)

    def objective(prediction_NT: torch.Tensor) -> torch.Tensor:
        if weights.shape != prediction_NT.shape:
            raise ValueError(
                f"weights {tuple(weights.shape)} do not fit a prediction "
                f"{tuple(prediction_NT.shape)} of bins and tracks"
            )
        return (weights.to(prediction_NT) * prediction_NT).double().sum()[None]

    return objective


def total(prediction_NT: torch.Tensor) -> torch.Tensor:
    """Sum each track over bins, B = T: SAD is the difference of two of these."""
    return prediction_NT.double().sum(dim=0)


def log_total(prediction_NT: torch.Tensor) -> torch.Tensor:
    """Compute log2(sum over bins + 1) of each track, B = T: SADR is the difference of two."""
    return torch.log1p(total(prediction_NT)) / math.log(2)


def total_log(prediction_NT: torch.Tensor) -> torch.Tensor:
    """Sum log2(prediction + 1) of each track over bins, B = T: logSAD is the difference of two."""
    return total(torch.log1p(prediction_NT.double())) / math.log(2)


def weighted_total(weights_NT: NDArray[np.floating]) -> Objective:
    """Make the objective that sums weights x prediction of each track over bins, B = T."""
    weights = torch.from_numpy(weights_NT.astype(np.float64))

    def objective(prediction_NT: torch.Tensor) -> torch.Tensor:
        return total(weights.to(prediction_NT.device) * prediction_NT.double())

    return objective


def joined(objectives: Sequence[Objective]) -> Objective:
    """Make one objective of several, their numbers one after another."""
    return lambda prediction_NT: torch.cat([one(prediction_NT) for one in objectives])


# By the statistic whose first order the gradient gives.
TRACK_OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {"SAD": total, "SADR": log_total, "logSAD": total_log}
)


def check_region(region: range | None, spec: WindowSpec) -> range:
    """Return the bases that are asked for; ValueError for steps or bases outside the window."""
    chosen = range(spec.input_bp) if region is None else region
    if chosen.step != 1 or not 0 <= chosen.start <= chosen.stop <= spec.input_bp:
        raise ValueError(f"a region is neighbours of 0 to {spec.input_bp - 1}, got {region}")
    return chosen


def evaluate(objective: Objective, prediction_NT: torch.Tensor) -> torch.Tensor:
    """Compute the values (B,) of an objective; ValueError if autograd cannot lead back from them.

    `prediction_NT` must be recorded by autograd.
    """
    values_B = objective(prediction_NT)
    if values_B.ndim != 1 or not len(values_B) or not values_B.requires_grad:
        raise ValueError(
            "an objective gives one axis of numbers that are computed from the prediction, got "
            f"shape {tuple(values_B.shape)}{'' if values_B.requires_grad else ' of constants'}"
        )
    return values_B


class PlainGradients(PlainTracks):
    """Let autograd record one pass of the whole network, and lead back once for each objective.

    All activations are held at once: some 20 GB for the published model. In float32, or with
    `dtype` float64 and a model of that type, which is the truth of accuracy tests.
    """

    def gradient(
        self,
        codes_L: NDArray[np.uint8],
        objective: Objective,
        *,
        bins: range | None = None,
        region: range | None = None,
    ) -> Gradient:
        """Differentiate by autograd; see `GradientPredictor`."""
        check_codes(codes_L[None], self.spec)
        chosen, wanted = check_bins(bins, self.spec), check_region(region, self.spec)
        with differentiable():
            onehot_LA = self.onehot(codes_L).requires_grad_()
            pred_NT = self.forward(onehot_LA[None], chosen)[0]
            values_B = evaluate(objective, pred_NT)
            out_BRA = np.empty((len(values_B), len(wanted), onehot_LA.shape[1]), np.float32)
            for lane, value in enumerate(values_B if wanted else ()):
                (grad_LA,) = torch.autograd.grad(value, onehot_LA, retain_graph=True)
                out_BRA[lane] = grad_LA[wanted.start : wanted.stop].float().cpu().numpy()
        return gradient_result(pred_NT, values_B, out_BRA, wanted)


def gradient_result(
    prediction_NT: torch.Tensor,
    values_B: torch.Tensor,
    gradient_BRA: NDArray[np.float32],
    region: range,
) -> Gradient:
    """Bring prediction and values to the CPU beside a gradient."""
    return Gradient(
        prediction_NT=prediction_NT.detach().float().cpu().numpy(),
        values_B=values_B.detach().double().cpu().numpy(),
        gradient_BRA=gradient_BRA,
        region=region,
    )
