"""Derivatives of the functions between two products.

Knows formulas; knows nothing of layers. Each takes the argument at which the derivative is wanted,
in the type in which the result is computed.
"""

import torch


def silu_slope(z: torch.Tensor) -> torch.Tensor:
    """Compute silu'(z) = s (1 + z (1 - s)) with s = sigmoid(z)."""
    s = torch.sigmoid(z)
    return s * torch.addcmul(torch.ones_like(z), z, 1 - s)


def norm_back(
    x: torch.Tensor, grad: torch.Tensor, weight: torch.Tensor, eps: float
) -> torch.Tensor:
    """Lead a gradient back through a layer norm of x over the last axis.

    With c the centred x, s = 1 / sqrt(var(x) + eps), h = c s and g = weight grad, it is
    s (g - mean(g) - h mean(g h)): what moves only the mean or the spread of x moves nothing.
    """
    c = x - x.mean(dim=-1, keepdim=True)
    s = torch.rsqrt(c.square().mean(dim=-1, keepdim=True) + eps)
    h = c * s
    g = weight * grad
    along = (g * h).mean(dim=-1, keepdim=True)
    return s * torch.addcmul(g - g.mean(dim=-1, keepdim=True), h, along, value=-1)


def pool_back(
    gap: torch.Tensor, logit: torch.Tensor, grad: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Lead a gradient back through odd + p gap, with p = sigmoid(logit) and gap = even - odd.

    Returns the gradients with respect to the gap, the odd row held, and to the logit.
    """
    p = torch.sigmoid(logit)
    to_gap = grad * p
    return to_gap, to_gap * gap * (1 - p)
