"""The Poisson loss that Enformer was trained with.

Knows predictions and targets; knows no model.
"""

import torch

EPSILON = 1e-7  # of Keras, which the original took its loss from


def poisson_loss(pred_BNT: torch.Tensor, target_BNT: torch.Tensor) -> torch.Tensor:
    """Average p - y ln(p + 1e-7) over batch, bins and tracks: a scalar, float32 at least.

    The term ln(y!) is left out, as it does not depend on the prediction. Products of half
    precision are widened first: a sum of millions of terms in bfloat16 would keep two digits.
    Source: Keras' Poisson, which DeepMind's training code calls.
    """
    p, y = (x if x.dtype == torch.float64 else x.float() for x in (pred_BNT, target_BNT))
    return (p - y * torch.log(p + EPSILON)).mean()
