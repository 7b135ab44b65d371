"""The activation that Enformer and Basenji2 share.

Knows one formula; knows nothing of layers that use it.
"""

import torch
from torch import nn

GELU_SLOPE = 1.702


class GELU(nn.Module):
    """The sigmoid approximation x * sigmoid(1.702 x), everywhere in both networks."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply element by element."""
        gate = torch.sigmoid(GELU_SLOPE * x)
        if torch.is_grad_enabled():
            return x * gate
        # The same product without a third copy: activations of the stem take 604 MB each.
        return gate.mul_(x)
