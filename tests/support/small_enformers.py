"""Enformers of a few hundred tokens, every layer random, for tests of the fast passes."""

import copy
from functools import cache

import torch

from cisray.inference.fast.weights import fold_blocks, fold_tail
from cisray.model.enformer.config import EnformerConfig
from cisray.model.enformer.initialise import initialise
from cisray.model.enformer.network import Enformer

TOKENS = 304  # more than one chunk of 256
BINS = 270
CROP = 17  # (304 - 270) / 2


# Whoever asks first may be in inference mode, in which weights would be of no use for gradients.
@cache
@torch.inference_mode(mode=False)
def small_enformer(pooling: str = "attention") -> Enformer:
    """Three blocks, four heads, 304 tokens of 8 bp; heads human with 12 tracks, mouse with 5."""
    config = EnformerConfig(
        channels=48,
        num_transformer_layers=3,
        num_heads=4,
        key_size=8,
        num_downsamples=3,
        channels_divisible_by=8,
        pooling=pooling,
        input_bp=TOKENS * 8,
        target_bins=BINS,
        heads={"human": 12, "mouse": 5},
    )
    return initialise(Enformer(config), 11, randomise_all=True).eval()


@cache
@torch.inference_mode(mode=False)
def small_enformer_64(pooling: str = "attention") -> Enformer:
    """The same weights in float64."""
    return copy.deepcopy(small_enformer(pooling)).double()


def folded(model: Enformer, head: str = "human"):
    """Blocks and tail of a model in its own type, all tracks of a head."""
    dtype = next(model.parameters()).dtype
    columns = torch.arange(model.config.heads[head])
    return fold_blocks(model, dtype), fold_tail(model, head, columns, dtype)


@torch.no_grad()
def plain_tracks(
    model: Enformer, tokens_BKD: torch.Tensor, bins: range = range(BINS), head: str = "human"
) -> torch.Tensor:
    """Trunk tokens through the model's own modules, (B, N, T) of the chosen bins."""
    crop = model.config.crop_bins
    x_BND = model.transformer(tokens_BKD)[:, crop + bins.start : crop + bins.stop]
    return model._heads[head](model.final_pointwise(x_BND))
