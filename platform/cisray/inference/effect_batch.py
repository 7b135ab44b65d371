"""How many alternates are carried, or gradients led back, at once: as wanted, or as there is room.

Knows the predictors of effects and of gradients and what makes their memory grow; how a number is
found from that is `cisray.inference.batching`'s business.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from cisray.inference.batching import LARGEST, Choice, choose_batch_size
from cisray.inference.effects import PlainEffects
from cisray.inference.fast.costs import lane_bytes
from cisray.inference.fast.effects import DeltaEffects
from cisray.inference.fast.gradients import FastGradients
from cisray.inference.gradients import PlainGradients, total


def settle_effect_batch(
    predictor: DeltaEffects | PlainEffects,
    device: torch.device,
    wanted: int | None,
    *,
    bins: range | None = None,
    limit: int = LARGEST,
) -> Choice:
    """Set a predictor's batch size: as wanted, or up to `limit` as the device has memory for.

    `bins` are those that will be asked for, None means all. On CUDA windows are opened and
    alternates of the costly kind carried: ones of which a flank has moved. Raises DeviceTooSmall
    where not even one fits.
    """
    if isinstance(predictor, PlainEffects):
        return Choice(1, "the plain way predicts one sequence at a time")
    effects = predictor

    def carry(alternates: int) -> None:
        effects.batch_size = alternates
        codes_L = np.random.default_rng(0).integers(0, 4, effects.spec.input_bp, np.uint8)
        effects.open(codes_L, bins).differences(_moved(codes_L, alternates))

    if wanted is None:
        chosen = range(effects.spec.target_bins) if bins is None else bins
        each = lane_bytes(effects.config, len(effects.tracks), len(chosen))
        choice = choose_batch_size(device, "effects", carry, sequence_bytes=each, limit=limit)
    else:
        choice = Choice(wanted, "settled when the run was planned")
    effects.batch_size = choice.batch_size
    return choice


def settle_gradient_batch(
    predictor: FastGradients | PlainGradients,
    device: torch.device,
    wanted: int | None,
    *,
    objectives: int,
    bins: range | None = None,
) -> Choice:
    """Set a predictor's batch size: as wanted, or up to `objectives` as there is memory for.

    `objectives` are those of one window, `bins` those that will be asked for, None means all. On
    CUDA gradients are led back from totals to the bases of one bin. Raises DeviceTooSmall where not
    even one fits.
    """
    if isinstance(predictor, PlainGradients):
        return Choice(1, "the plain way leads one gradient back at a time")
    gradients = predictor

    def lead_back(lanes: int) -> None:
        gradients.batch_size = lanes
        codes_L = np.random.default_rng(0).integers(0, 4, gradients.spec.input_bp, np.uint8)
        middle = len(codes_L) // 2
        chosen = torch.arange(lanes) % len(gradients.tracks)
        gradients.gradient(
            codes_L,
            lambda prediction_NT: total(prediction_NT)[chosen.to(prediction_NT.device)],
            bins=bins,
            region=range(middle, middle + gradients.spec.bin_bp),
        )

    if wanted is None:
        window = range(gradients.spec.target_bins) if bins is None else bins
        each = lane_bytes(gradients.config, len(gradients.tracks), len(window))
        most = min(objectives, LARGEST)
        choice = choose_batch_size(device, "gradients", lead_back, sequence_bytes=each, limit=most)
    else:
        choice = Choice(wanted, "settled when the run was planned")
    gradients.batch_size = choice.batch_size
    return choice


def _moved(codes_L: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Insert a base in the middle of a window, so many times."""
    middle = len(codes_L) // 2
    alternate_L = np.concatenate([codes_L[:middle], codes_L[:1], codes_L[middle:-1]])
    return np.repeat(alternate_L[None], count, axis=0)
