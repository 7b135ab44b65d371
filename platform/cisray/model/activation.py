"""The activation that Enformer and Basenji2 share.

Knows one formula; knows nothing of layers that use it.
"""

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

GELU_SLOPE = 1.702


class GELU(nn.Module):
    """The sigmoid approximation x * sigmoid(1.702 x), everywhere in both networks."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply element by element."""
        if torch.is_grad_enabled():
            out: torch.Tensor = _Recorded.apply(x)  # type: ignore[no-untyped-call]  # torch's
            return out
        return _gelu(x)


class _Recorded(torch.autograd.Function):
    """The same with its derivative, for which it keeps x alone.

    Autograd would keep the gate as well: activations of the stem take 604 MB each.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """Apply element by element."""
        ctx.save_for_backward(x)
        return _gelu(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        """Multiply by d/dx x s(kx) = s(kx) (1 + kx (1 - s(kx))), k the slope and s the sigmoid."""
        (x,) = ctx.saved_tensors
        scaled = GELU_SLOPE * x
        gate = torch.sigmoid(scaled)
        slope: torch.Tensor = scaled.mul_(1 - gate).add_(1).mul_(gate)
        return slope.mul_(gradients[0])


def _gelu(x: torch.Tensor) -> torch.Tensor:
    gate = torch.sigmoid(GELU_SLOPE * x)
    return gate.mul_(x)  # in place: no third copy
