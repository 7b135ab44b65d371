"""Relative positional features of Enformer's attention: functions of distance in tokens.

Knows mathematics; knows nothing of layers or weights. Formulas: DeepMind's `attention_module.py`
(positional_features_exponential, _central_mask, _gamma), which differs from the paper's text in
the half-lives (from 2**3, not from 3) and in the central mask (strictly below 2**i - 1).
"""

import math
from functools import lru_cache
from typing import Literal

import torch

from cisray.model.enformer.config import POSITION_CLASSES

GammaNormalisation = Literal["per_feature", "per_position"]

_SMALLEST_LOG2_HALF_LIFE = 3.0
_GAMMA_FLOOR = 1e-8


@lru_cache(maxsize=8)
def positional_features(
    tokens: int, features: int, normalisation: GammaNormalisation, device: torch.device
) -> torch.Tensor:
    """Compute the features of every distance from -(K-1) to K-1, shape (2K-1, F), float32.

    A distance is key minus query: negative for keys to the left. The first half of the F axis
    is [exponential | central mask | gamma] of the absolute distance, the second half the same
    times the sign of the distance. Positions are relative to K: the features of one length are
    not those of another.

    Computed in float32 on the CPU whatever the device, as the models were trained. The gamma
    densities are differences of numbers near 3e4, so at K = 1,536 float32 and float64 differ by
    up to 2.5e-3; following the original keeps what it has (docs/decisions/0006).
    """
    # Cached tensors must serve training as well, so they may not be inference tensors.
    with torch.inference_mode(mode=False), torch.no_grad(), torch.device("cpu"):
        distance = torch.arange(1 - tokens, tokens, dtype=torch.float32)
        per_class = features // POSITION_CLASSES
        x = distance.abs()[:, None]
        symmetric = torch.cat(
            [
                exponential_features(x, tokens, per_class),
                central_mask_features(x, per_class),
                gamma_features(x, tokens, per_class, normalisation),
            ],
            dim=1,
        )
        both = torch.cat([symmetric, symmetric * distance.sign()[:, None]], dim=1)
        return both.to(device)


def exponential_features(x: torch.Tensor, tokens: int, count: int) -> torch.Tensor:
    """Decay with half-lives spaced geometrically from 8 to K tokens; x is |distance|, (P, 1)."""
    half_lives = 2.0 ** torch.linspace(_SMALLEST_LOG2_HALF_LIFE, math.log2(tokens), count)
    return torch.exp(-math.log(2.0) * x / half_lives)


def central_mask_features(x: torch.Tensor, count: int) -> torch.Tensor:
    """One where |distance| < 2**i - 1 for i = 1..count, else zero."""
    widths = 2.0 ** torch.arange(1, count + 1) - 1
    return (x < widths).to(x.dtype)


def gamma_features(
    x: torch.Tensor, tokens: int, count: int, normalisation: GammaNormalisation
) -> torch.Tensor:
    """Gamma densities with means K/count..K and standard deviation K/(2 count), maximum one.

    The axis of the maximum is what tells the released weights (`per_feature`) from weights
    trained with enformer-pytorch's default (`per_position`).
    """
    mean = torch.linspace(tokens / count, tokens, count)
    deviation = tokens / (2 * count)
    concentration = (mean / deviation) ** 2
    rate = mean / deviation**2
    log_density = torch.xlogy(concentration - 1, x) - rate * x
    log_normaliser = torch.lgamma(concentration) - concentration * torch.log(rate)
    density = torch.exp(log_density - log_normaliser) + _GAMMA_FLOOR
    axis = 0 if normalisation == "per_feature" else 1
    return density / density.amax(dim=axis, keepdim=True)
