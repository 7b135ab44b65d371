"""The building blocks of Enformer's convolutional trunk.

Knows channels-first tensors (B, D, L); knows nothing of attention or of the whole network. The
positions of modules inside their containers are part of the checkpoint format: they give the
names that enformer-pytorch's files use (`stem.1.fn.0.weight`).
"""

import torch
from torch import nn

from cisray.model.activation import GELU

NORM_EPS = 1e-5


class Residual(nn.Module):
    """x + fn(x)."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the input to the branch's output."""
        branch: torch.Tensor = self.fn(x)
        return x + branch if torch.is_grad_enabled() else branch.add_(x)


class SwapAxes(nn.Module):
    """Exchange channels-first and channels-last: (B, D, K) to (B, K, D) and back."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Swap the last two axes."""
        return x.transpose(-1, -2)


class AttentionPool(nn.Module):
    """Halve the length by a softmax over each pair of positions, per channel.

    The logits of a position are a linear map of its channels without bias; initialised at twice
    the identity, the pooling starts between mean and maximum. A softmax over two is a sigmoid of
    their difference, and the difference of the logits is the map of the difference: one product
    on half of the positions.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.to_attn_logits = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x_BDL: torch.Tensor) -> torch.Tensor:
        """Pool (B, D, L) to (B, D, L/2); L must be even."""
        if x_BDL.shape[-1] % 2:
            raise ValueError(f"pairs need an even length, got {x_BDL.shape[-1]}")
        first, second = x_BDL[..., 0::2], x_BDL[..., 1::2]
        gap = first - second
        logits: torch.Tensor = self.to_attn_logits(gap[..., None])[..., 0]
        return torch.addcmul(second, logits.to(gap.dtype).sigmoid(), gap)


class ConvBlock(nn.Sequential):
    """Batch norm, GELU, convolution: the pre-activation order of Enformer."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__(
            nn.BatchNorm1d(channels_in, eps=NORM_EPS),
            GELU(),
            nn.Conv1d(channels_in, channels_out, kernel, padding=kernel // 2),
        )


def pooling(kind: str, channels: int) -> nn.Module:
    """Build the length-halving layer: `attention` or `max`."""
    return AttentionPool(channels) if kind == "attention" else nn.MaxPool1d(2)
