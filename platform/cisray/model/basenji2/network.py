"""Basenji2 as one torch module.

Knows one-hot DNA in and tracks out; knows nothing of genomes, files or devices.
"""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import nn

from cisray.model.activation import GELU
from cisray.model.basenji2.config import Basenji2Config
from cisray.model.basenji2.layers import ConvBlock, DilatedResidual
from cisray.model.configuration import ALPHABET
from cisray.model.module import SequenceModule, track_heads
from cisray.tracks import TrackSet


class Basenji2(SequenceModule):
    """Predict functional tracks from DNA by dilated convolutions (Kelley 2020).

    A module built here means nothing yet: load a checkpoint or call `initialise`.
    """

    config: Basenji2Config

    def __init__(
        self, config: Basenji2Config, tracks: Mapping[str, TrackSet] | None = None
    ) -> None:
        super().__init__(config, tracks)
        widths = (config.stem_channels, *config.tower_channels)
        self.stem = ConvBlock(config, ALPHABET, config.stem_channels, config.stem_kernel)
        self.tower = nn.ModuleList(
            ConvBlock(config, channels_in, channels_out, config.tower_kernel)
            for channels_in, channels_out in pairwise(widths)
        )
        self.pool = nn.MaxPool1d(2)
        self.residual = nn.Sequential(
            *(DilatedResidual(config, widths[-1], dilation) for dilation in config.dilations)
        )
        self.final = ConvBlock(
            config, widths[-1], config.final_channels, 1, dropout=config.final_dropout
        )
        self.activation = GELU()
        self._heads = track_heads(config.final_channels, config.heads)

    def embed(self, onehot_BLA: torch.Tensor) -> torch.Tensor:
        """Compute what all heads share: (B, L, 4) to (B, N, D), after the last GELU."""
        self.check_input(onehot_BLA)
        x_BDK = self.pool(self.stem(onehot_BLA.transpose(1, 2)))
        for block in self.tower:
            x_BDK = self.pool(block(x_BDK))
        x_BDK = self.residual(x_BDK)
        crop = self.config.crop_bins
        x_BDN = self.final(x_BDK[:, :, crop : crop + self.target_bins])
        embedded_BND: torch.Tensor = self.activation(x_BDN).transpose(1, 2)
        return embedded_BND
