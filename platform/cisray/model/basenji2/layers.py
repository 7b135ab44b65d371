"""The building blocks of Basenji2's trunk.

Knows channels-first tensors (B, D, L); knows nothing of the whole network.
"""

import torch
from torch import nn

from cisray.model.activation import GELU
from cisray.model.basenji2.config import Basenji2Config


class ConvBlock(nn.Module):
    """GELU, convolution, batch norm, dropout: the order of Basenji2.

    The activation comes first, so that of the stem acts on the one-hot input itself. The
    convolution keeps the length; zeros stand beyond the ends.
    """

    def __init__(
        self,
        config: Basenji2Config,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        dilation: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation = GELU()
        self.conv = nn.Conv1d(
            channels_in,
            channels_out,
            kernel,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            bias=config.conv_bias,
        )
        # Keras counts what is kept of the running statistics, torch what is replaced.
        self.norm = nn.BatchNorm1d(
            channels_out, eps=config.norm_eps, momentum=1 - config.norm_momentum
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BDL: torch.Tensor) -> torch.Tensor:
        """Map (B, D, L) to as many positions of another width."""
        y_BDL: torch.Tensor = self.dropout(self.norm(self.conv(self.activation(x_BDL))))
        return y_BDL


class DilatedResidual(nn.Module):
    """x + widen(narrow(x)): a dilated convolution to fewer channels, and one base wide back."""

    def __init__(self, config: Basenji2Config, channels: int, dilation: int) -> None:
        super().__init__()
        self.narrow = ConvBlock(
            config, channels, config.residual_channels, config.residual_kernel, dilation=dilation
        )
        self.widen = ConvBlock(
            config, config.residual_channels, channels, 1, dropout=config.residual_dropout
        )

    def forward(self, x_BDK: torch.Tensor) -> torch.Tensor:
        """Add the branch to its input."""
        branch_BDK: torch.Tensor = self.widen(self.narrow(x_BDK))
        return x_BDK + branch_BDK
