"""Enformer as one torch module, with the tensor names that its published checkpoints use.

Knows one-hot DNA in and tracks out; knows nothing of genomes, files or devices. The names of
parameters are those of enformer-pytorch's first family (`stem.0.weight`, `_heads.human.0.bias`),
which fixes where modules stand in their containers.
"""

from collections.abc import Mapping

import torch
from torch import nn

from cisray.model.activation import GELU
from cisray.model.configuration import ALPHABET
from cisray.model.enformer.attention import RelativeAttention
from cisray.model.enformer.config import STEM_KERNEL, TOWER_KERNEL, EnformerConfig
from cisray.model.enformer.layers import NORM_EPS, ConvBlock, Residual, SwapAxes, pooling
from cisray.model.module import SequenceModule, track_heads
from cisray.tracks import TrackSet

POINTWISE_DROPOUT_SHARE = 1 / 8  # of the model's dropout: 0.05 for 0.4


class Enformer(SequenceModule):
    """Predict functional tracks from DNA (Avsec et al. 2021).

    A module built here means nothing yet: load a checkpoint or call `initialise`.
    """

    config: EnformerConfig

    def __init__(
        self, config: EnformerConfig, tracks: Mapping[str, TrackSet] | None = None
    ) -> None:
        super().__init__(config, tracks)
        self.stem = nn.Sequential(
            nn.Conv1d(ALPHABET, config.stem_channels, STEM_KERNEL, padding=STEM_KERNEL // 2),
            Residual(ConvBlock(config.stem_channels, config.stem_channels, 1)),
            pooling(config.pooling, config.stem_channels),
        )
        self.conv_tower = _tower(config)
        self.transformer = nn.Sequential(
            *(_transformer_layer(config) for _ in range(config.num_transformer_layers))
        )
        self.final_pointwise = nn.Sequential(
            SwapAxes(),
            ConvBlock(config.channels, 2 * config.channels, 1),
            SwapAxes(),
            nn.Dropout(config.dropout * POINTWISE_DROPOUT_SHARE),
            GELU(),
        )
        self._heads = track_heads(2 * config.channels, config.heads)

    def embed(self, onehot_BLA: torch.Tensor) -> torch.Tensor:
        """Compute what all heads share: (B, L, 4) to (B, N, 2D), after the last GELU."""
        self.check_input(onehot_BLA)
        x_BDK = self.conv_tower(self.stem(onehot_BLA.transpose(1, 2)))
        x_BKD = self.transformer(x_BDK.transpose(1, 2))
        crop = self.config.crop_bins
        embedded: torch.Tensor = self.final_pointwise(x_BKD[:, crop : crop + self.target_bins])
        return embedded


def _tower(config: EnformerConfig) -> nn.Sequential:
    widths = config.tower_channels
    inputs = (config.stem_channels, *widths[:-1])
    return nn.Sequential(
        *(
            nn.Sequential(
                ConvBlock(channels_in, channels_out, TOWER_KERNEL),
                Residual(ConvBlock(channels_out, channels_out, 1)),
                pooling(config.pooling, channels_out),
            )
            for channels_in, channels_out in zip(inputs, widths, strict=True)
        )
    )


def _transformer_layer(config: EnformerConfig) -> nn.Sequential:
    width = config.channels
    return nn.Sequential(
        Residual(
            nn.Sequential(
                nn.LayerNorm(width, eps=NORM_EPS),
                RelativeAttention(config),
                nn.Dropout(config.dropout),
            )
        ),
        Residual(
            nn.Sequential(
                nn.LayerNorm(width, eps=NORM_EPS),
                nn.Linear(width, 2 * width),
                nn.Dropout(config.dropout),  # before the ReLU, as in the original
                nn.ReLU(),
                nn.Linear(2 * width, width),
                nn.Dropout(config.dropout),
            )
        ),
    )
