"""What the fast way of an Enformer costs: operations and bytes, from its configuration alone.

Knows the arithmetic of the passes in this package; knows nothing of how fast a machine is. Left out
is what comes to less than 1 % in the published size: borders of blocks and ends of windows, which
are computed twice, and all that is no product.
"""

from dataclasses import dataclass

from cisray.inference.fast import transformer, trunk
from cisray.inference.precision import Precision
from cisray.model.enformer.config import ALPHABET, STEM_KERNEL, TOWER_KERNEL, EnformerConfig

ITEM_BYTES = {"float32": 4, "bfloat16": 2}
# Bases of a trunk's chunk; with the output of its first level, half of that of the second.
CHUNK_BP = trunk.BLOCKS_PER_CHUNK * trunk.CPU_ROWS
# Rows of the model's width that the transformer holds beside each other, in float32.
TOKEN_ROWS = 10


@dataclass(frozen=True, slots=True)
class TileFlops:
    """Operations of the first tile of a stretch, and of each one that follows it."""

    first: float
    following: float

    def of(self, tiles: int) -> float:
        """Add up a shard of neighbouring tiles.

        >>> TileFlops(3.0, 2.0).of(4)
        9.0
        """
        return self.first + (tiles - 1) * self.following if tiles else 0.0


def tile_flops(config: EnformerConfig, tracks: int) -> TileFlops:
    """Count the operations of tiles with `tracks` tracks, two for each multiply-add.

    A tile moves on by its target: of its trunk tokens, only so many are new.

    >>> costs = tile_flops(EnformerConfig(), 5313)
    >>> f"{costs.first:.2e} {costs.following:.2e}"
    '2.96e+12 2.01e+12'
    """
    rest = _transformer_macs(config) + _tail_macs(config, tracks)
    return TileFlops(
        first=2.0 * (_trunk_macs(config, config.tokens) + rest),
        following=2.0 * (_trunk_macs(config, config.target_bins) + rest),
    )


def copied_bytes(config: EnformerConfig, tracks: int, precision: Precision) -> int:
    """Count the bytes of weights that are kept in another form beside the model's own.

    Trunk and head are folded, the head always in float32; keys of relative positions are computed;
    in float32 the transformer is the model's own, in bfloat16 it is a rounded copy.
    """
    keys, width = config.num_heads * config.key_size, config.channels
    values = _trunk_weights(config)
    values += config.num_transformer_layers * keys * 2 * config.tokens
    if precision == "bfloat16":
        values += config.num_transformer_layers * (2 * keys * width + 6 * width * width)
    return values * ITEM_BYTES[precision] + 2 * width * tracks * ITEM_BYTES["float32"]


def working_bytes(config: EnformerConfig, precision: Precision, batch: int) -> int:
    """Estimate the bytes of activations at the fullest: a chunk of the trunk, and tokens."""
    chunk = min(batch * config.input_bp, CHUNK_BP) // 2 * config.stem_channels
    tokens = batch * config.tokens * config.channels
    return chunk * ITEM_BYTES[precision] * 3 // 2 + TOKEN_ROWS * tokens * ITEM_BYTES["float32"]


def _levels(config: EnformerConfig) -> list[tuple[int, int, int]]:
    """List channels in, channels out and kernel width of each level, from the bases up."""
    widths = (config.stem_channels, *config.tower_channels)
    pairs = zip((ALPHABET, *widths[:-1]), widths, strict=True)
    return [(a, b, TOWER_KERNEL if level else STEM_KERNEL) for level, (a, b) in enumerate(pairs)]


def _trunk_macs(config: EnformerConfig, tokens: int) -> int:
    """Convolution and residual branch at each position, pooling at every second."""
    pool = int(config.pooling == "attention")
    macs, positions = 0, tokens * config.bin_bp
    for narrow, wide, kernel in _levels(config):
        macs += positions * wide * (narrow * kernel + wide) + positions // 2 * wide * wide * pool
        positions //= 2
    return macs


def _trunk_weights(config: EnformerConfig) -> int:
    pool = int(config.pooling == "attention")
    return sum(b * (a * kernel + b * (1 + pool)) for a, b, kernel in _levels(config))


def _transformer_macs(config: EnformerConfig) -> int:
    """All blocks; the last one puts out the target bins only, and reads all tokens."""
    blocks = config.num_transformer_layers
    whole, last = (_block_macs(config, queries) for queries in (config.tokens, config.target_bins))
    return (blocks - 1) * whole + last


def _block_macs(config: EnformerConfig, queries: int) -> int:
    tokens, width = config.tokens, config.channels
    keys = config.num_heads * config.key_size
    projections = tokens * width * (keys + width) + queries * width * (keys + width)
    # So many queries meet their distances in one product, K more than they are.
    distances = tokens + min(transformer.CPU_ROWS, queries)
    products = queries * (tokens * (keys + width) + distances * keys)
    return projections + products + 4 * queries * width * width


def _tail_macs(config: EnformerConfig, tracks: int) -> int:
    return config.target_bins * 2 * config.channels * (config.channels + tracks)
