"""Enformer as one torch module, with the tensor names that its published checkpoints use.

Knows one-hot DNA in and tracks out; knows nothing of genomes, files or devices. The names of
parameters are those of enformer-pytorch's first family (`stem.0.weight`, `_heads.human.0.bias`),
which fixes where modules stand in their containers.
"""

from collections.abc import Mapping

import torch
from torch import nn

from cisray.model.enformer.attention import RelativeAttention
from cisray.model.enformer.config import ALPHABET, STEM_KERNEL, TOWER_KERNEL, EnformerConfig
from cisray.model.enformer.layers import GELU, NORM_EPS, ConvBlock, Residual, SwapAxes, pooling
from cisray.tracks import TrackSet

POINTWISE_DROPOUT_SHARE = 1 / 8  # of the model's dropout: 0.05 for 0.4


class Enformer(nn.Module):
    """Predict functional tracks from DNA (Avsec et al. 2021).

    `tracks` names the T axis of each head; heads without a table get unnamed tracks. A module
    built here means nothing yet: load a checkpoint or call `initialise`. `digest` identifies the
    weights once they come from a checkpoint.
    """

    digest: str = ""

    def __init__(
        self, config: EnformerConfig, tracks: Mapping[str, TrackSet] | None = None
    ) -> None:
        super().__init__()
        self.config = config
        named = dict(tracks or {})
        self.tracks = {
            head: named.get(head) or TrackSet.unnamed(head, size)
            for head, size in config.heads.items()
        }
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
        self._heads = nn.ModuleDict(
            {
                head: nn.Sequential(nn.Linear(2 * config.channels, size), nn.Softplus())
                for head, size in config.heads.items()
            }
        )

    @property
    def input_bp(self) -> int:
        """L, the bases the model reads."""
        return self.config.input_bp

    @property
    def bin_bp(self) -> int:
        """Bases per target bin."""
        return self.config.bin_bp

    @property
    def target_bins(self) -> int:
        """N, the bins the model predicts, centred in its input."""
        return self.config.target_bins

    def check_head(self, head: str) -> None:
        """Raise UnknownHead, naming the heads there are, if `head` is not one of them."""
        self.config.check_head(head)

    def forward_flops(self, head: str) -> float:
        """Count the floating-point operations of one forward pass of one sequence.

        Two per multiply-add of convolutions and matrix products.
        """
        return self.config.forward_flops(head)

    def forward(self, onehot_BLA: torch.Tensor, head: str = "human") -> torch.Tensor:
        """Predict all tracks of a head: onehot_BLA (B, L, 4) to pred_BNT, softplus applied.

        Rows of the one-hot input are A, C, G, T; a base that is none of them is an all-zero row.
        Raises UnknownHead for a head that does not exist and ValueError for another shape.
        """
        self.check_head(head)
        pred_BNT: torch.Tensor = self._heads[head](self.embed(onehot_BLA))
        return pred_BNT

    def embed(self, onehot_BLA: torch.Tensor) -> torch.Tensor:
        """Compute what all heads share: (B, L, 4) to (B, N, 2D), after the last GELU."""
        if onehot_BLA.ndim != 3 or onehot_BLA.shape[1:] != (self.input_bp, ALPHABET):
            raise ValueError(
                f"expected one-hot DNA of shape (batch, {self.input_bp}, {ALPHABET}), "
                f"got {tuple(onehot_BLA.shape)}"
            )
        x_BDK = self.conv_tower(self.stem(onehot_BLA.transpose(1, 2)))
        x_BKD = self.transformer(x_BDK.transpose(1, 2))
        crop = self.config.crop_bins
        embedded: torch.Tensor = self.final_pointwise(x_BKD[:, crop : crop + self.target_bins])
        return embedded


def expected_shapes(config: EnformerConfig) -> dict[str, torch.Size]:
    """List every tensor that a checkpoint of this configuration must hold, with its shape."""
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in Enformer(config).state_dict().items()}


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
