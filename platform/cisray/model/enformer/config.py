"""The hyperparameters of an Enformer, and the sizes that follow from them.

Knows arithmetic; knows nothing of torch or of any file format.
"""

from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from cisray.model.configuration import ALPHABET, ModelConfig

STEM_KERNEL = 15
TOWER_KERNEL = 5
POSITION_CLASSES = 6  # exponential, central mask, gamma; each once plain and once signed


class EnformerConfig(ModelConfig):
    """What it takes to build an Enformer (Avsec et al. 2021); the defaults are the published model.

    `gamma_normalisation` names the axis on which the gamma positional features are scaled to a
    maximum of one: over positions, for each feature (`per_feature`, what the released weights
    need), or over features, at each position (`per_position`, the default of enformer-pytorch).
    """

    channels: int = Field(default=1536, gt=0)
    num_transformer_layers: int = Field(default=11, ge=1)
    num_heads: int = Field(default=8, ge=1)
    key_size: int = Field(default=64, ge=1)
    num_downsamples: int = Field(default=7, ge=3)
    channels_divisible_by: int = Field(default=128, ge=1)
    pooling: Literal["attention", "max"] = "attention"
    input_bp: int = Field(default=196_608, gt=0)
    target_bins: int = Field(default=896, gt=0)
    heads: dict[str, int] = Field(default_factory=lambda: {"human": 5313, "mouse": 1643})
    gamma_normalisation: Literal["per_feature", "per_position"] = "per_feature"
    dropout: float = Field(default=0.4, ge=0, lt=1)
    attention_dropout: float = Field(default=0.05, ge=0, lt=1)
    positional_dropout: float = Field(default=0.01, ge=0, lt=1)

    @model_validator(mode="after")
    def _check_widths(self) -> Self:
        if self.channels % (self.num_heads * POSITION_CLASSES):
            raise ValueError(
                f"channels {self.channels} is not a multiple of {POSITION_CLASSES} x num_heads "
                f"({POSITION_CLASSES * self.num_heads})"
            )
        if min(self.tower_channels) < 1:
            raise ValueError(
                f"channels {self.channels} rounded to multiples of {self.channels_divisible_by} "
                f"gives an empty tower layer {self.tower_channels}"
            )
        return self

    @property
    def base_channels(self) -> int:
        """Channels that every base of the input has: those of the stem."""
        return self.stem_channels

    @property
    def bin_bp(self) -> int:
        """Bases per trunk token and per target bin."""
        return 1 << self.num_downsamples

    @property
    def stem_channels(self) -> int:
        """Width after the stem: half the model's width, unrounded."""
        return self.channels // 2

    @property
    def tower_channels(self) -> tuple[int, ...]:
        """Widths of the tower's layers, growing geometrically from half to the full width.

        Each is rounded to a multiple of `channels_divisible_by`, half to even as numpy rounds
        (DeepMind's `exponential_linspace_int`).

        >>> EnformerConfig().tower_channels
        (768, 896, 1024, 1152, 1280, 1536)
        """
        layers = self.num_downsamples - 1
        step = self.channels_divisible_by
        growth = (self.channels / self.stem_channels) ** (1 / (layers - 1))
        widths = self.stem_channels * growth ** np.arange(layers)
        return tuple(int(width) for width in np.round(widths / step) * step)

    @property
    def value_size(self) -> int:
        """V, the width of one attention head's values."""
        return self.channels // self.num_heads

    @property
    def position_features(self) -> int:
        """F, the number of relative positional features."""
        return self.channels // self.num_heads

    def forward_flops(self, head: str) -> float:
        """Count the floating-point operations of one forward pass of one sequence.

        Two per multiply-add of convolutions and matrix products.

        >>> f"{EnformerConfig().forward_flops('human'):.2e}"
        '3.01e+12'
        """
        length, width = self.input_bp, self.stem_channels
        # Pooling's logits are taken of the differences of pairs: half of the positions.
        pool = 0.5 if self.pooling == "attention" else 0.0
        macs = length * width * (ALPHABET * STEM_KERNEL + width * (1 + pool))
        for channels in self.tower_channels:
            length //= 2
            macs += length * channels * (TOWER_KERNEL * width + channels * (1 + pool))
            width = channels
        tokens, keys = self.tokens, self.num_heads * self.key_size
        projections = tokens * width * (2 * keys + 2 * width)
        distances = 2 * tokens * keys * self.position_features
        # Content and values meet K keys per query, positions 2K - 1 distances.
        products = tokens * tokens * (3 * keys + width)
        mlp = 4 * tokens * width * width
        macs += self.num_transformer_layers * (projections + distances + products + mlp)
        macs += self.target_bins * 2 * width * (width + self.heads[head])
        return 2.0 * macs
