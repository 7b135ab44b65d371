"""What the fast way of an Enformer costs: operations and bytes, from its configuration alone.

Knows the arithmetic of the passes in this package; knows nothing of how fast a machine is. Left out
is what comes to less than 1 % in the published size: borders of blocks and ends of windows, which
are computed twice, and all that is no product.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cisray.inference.fast import transformer, trunk
from cisray.inference.precision import Precision
from cisray.model.configuration import ALPHABET
from cisray.model.enformer.config import STEM_KERNEL, TOWER_KERNEL, EnformerConfig

ITEM_BYTES = {"float32": 4, "bfloat16": 2}
# Bases of a trunk's chunk; with the output of its first level, half of that of the second.
CHUNK_BP = trunk.BLOCKS_PER_CHUNK * trunk.CPU_ROWS
# Rows of the model's width that the transformer holds beside each other, in float32.
TOKEN_ROWS = 10
# The same of each alternate that is carried: its differences before and after a block, their norms
# and what attention mixes.
LANE_ROWS = 4
# What is kept of a reference by default; all that there is of it in the published size (1.6 GB).
CACHE_BYTES = 2_000_000_000


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
    bins = config.target_bins
    rest = _transformer_macs(config, bins, _block_macs) + _tail_macs(config, tracks, bins)
    return TileFlops(
        first=2.0 * (_trunk_macs(config, config.tokens) + rest),
        following=2.0 * (_trunk_macs(config, config.target_bins) + rest),
    )


@dataclass(frozen=True, slots=True)
class EffectFlops:
    """Operations of effects; float32 ones, but for those of an alternate.

    `reference` is the pass of a window that shares nothing with the one before. `alternate` carries
    one sequence's differences through transformer and head, in products of the run's precision;
    what an SNV changes in the trunk is less than 2 % of that and left out. A sequence of which one
    flank has moved costs `moved_flank` beside it: half of the trunk, computed anew.
    """

    reference: float
    alternate: float
    moved_flank: float
    known_trunk: float  # the pass of a window that has no new tokens, but its own two ends
    token: float

    def reference_following(self, new_tokens: int) -> float:
        """Count the pass of a window that has moved along its stretch by so many trunk tokens.

        >>> EffectFlops(9.0, 5.0, 2.0, known_trunk=3.0, token=1.0).reference_following(2)
        5.0
        """
        return min(self.reference, self.known_trunk + new_tokens * self.token)


def effect_flops(config: EnformerConfig, tracks: int, bins: int) -> EffectFlops:
    """Count the operations of effects in so many tracks and target bins.

    >>> costs = effect_flops(EnformerConfig(), 5313, 896)
    >>> f"{costs.reference:.3g} {costs.reference_following(1):.3g} {costs.alternate:.3g}"
    '2.96e+12 7.06e+11 7.87e+11'
    """
    tail = _tail_macs(config, tracks, bins)
    rest = _transformer_macs(config, bins, _block_macs) + tail
    # The tokens within reach of an end see its padding: they are other ones in every window.
    ends = 2 * _trunk_macs(config, _edge_tokens(config), open_ends=1)
    none, one = (_trunk_macs(config, tokens, open_ends=2) for tokens in (0, 1))
    return EffectFlops(
        reference=2.0 * (_trunk_macs(config, config.tokens) + rest),
        alternate=2.0 * (_transformer_macs(config, bins, _difference_macs) + tail),
        moved_flank=2.0 * _trunk_macs(config, config.tokens // 2, open_ends=1),
        known_trunk=2.0 * (ends + none + rest),
        token=2.0 * (one - none),
    )


@dataclass(frozen=True, slots=True)
class GradientFlops:
    """Operations of gradients, all in float32.

    `reference` is the pass of a window, `again` the part of its trunk that is computed once more
    for all objectives of the window, `objective` leads one of these back.
    """

    reference: float
    again: float
    objective: float

    def of(self, objectives: int) -> float:
        """Add up a window of so many objectives.

        >>> GradientFlops(9.0, 1.0, 3.0).of(2)
        16.0
        """
        return self.reference + self.again + objectives * self.objective


def gradient_flops(config: EnformerConfig, tracks: int, bins: int, region_bp: int) -> GradientFlops:
    """Count the operations of gradients of so many bins, led back to so many neighbouring bases.

    Leading back takes one product for each of the pass, since weights get no gradient, and two for
    each of attention, where both factors do. Counted so, an objective costs what an alternate does.

    >>> costs = gradient_flops(EnformerConfig(), 2, 896, 128)
    >>> f"{costs.reference:.3g} {costs.again:.3g} {costs.objective:.3g}"
    '2.93e+12 1.56e+10 7.74e+11'
    """
    bp = config.bin_bp
    reach = sum(kernel // 2 << level for level, (_, _, kernel) in enumerate(_levels(config)))
    # The region may begin anywhere in a token.
    tokens = min(config.tokens, -(-(region_bp + 2 * reach) // bp) + 1)
    trunk_macs = _trunk_macs(config, tokens, open_ends=2)
    tail = _tail_macs(config, tracks, bins)
    rest = _transformer_macs(config, bins, _block_macs) + tail
    back = _transformer_macs(config, bins, _gradient_macs) + tail
    return GradientFlops(
        reference=2.0 * (_trunk_macs(config, config.tokens) + rest),
        again=2.0 * trunk_macs,
        objective=2.0 * (back + trunk_macs),
    )


@dataclass(frozen=True, slots=True)
class EffectBytes:
    """Memory of a `DeltaEffects` beside the model's weights, by what it is for.

    `copied` weights, what is kept of one `reference`, and at the fullest either the activations of
    a reference's pass or those of the alternates that are carried at once: `working`.
    """

    copied: int
    reference: int
    working: int

    @property
    def total(self) -> int:
        """Add up."""
        return self.copied + self.reference + self.working


def effect_bytes(
    config: EnformerConfig,
    tracks: int,
    bins: int,
    precision: Precision,
    *,
    batch: int,
    cache_bytes: int = CACHE_BYTES,
) -> EffectBytes:
    """Estimate the memory of effects on a CPU, in so many tracks and bins, `batch` at a time.

    A GPU takes larger blocks of the trunk: 1.7 GB instead of what is `working` here.
    Differences that are given out, 4 bytes for each bin and track of an alternate, are counted for
    one batch; who asks for more alternates in a call holds more.
    """
    one = lane_bytes(config, tracks, bins)
    return EffectBytes(
        copied=_effect_copies(config, tracks, precision),
        reference=_kept_bytes(config, tracks, bins, precision, cache_bytes),
        working=max(working_bytes(config, "float32", 1), batch * one),
    )


def gradient_bytes(
    config: EnformerConfig,
    tracks: int,
    bins: int,
    *,
    batch: int,
    cache_bytes: int = CACHE_BYTES,
) -> EffectBytes:
    """Estimate the memory of gradients of so many tracks and bins, `batch` led back at once.

    A gradient on its way takes about what an alternate's differences do.
    """
    one = lane_bytes(config, tracks, bins)
    return EffectBytes(
        copied=_effect_copies(config, tracks, "float32"),
        reference=_kept_bytes(config, tracks, bins, "float32", cache_bytes),
        working=max(working_bytes(config, "float32", 1), batch * one),
    )


def lane_bytes(config: EnformerConfig, tracks: int, bins: int) -> int:
    """Estimate the bytes that one more alternate takes while it is carried, and its result."""
    token_rows = LANE_ROWS * config.tokens * config.channels
    return (token_rows + 2 * bins * tracks) * ITEM_BYTES["float32"]


def _effect_copies(config: EnformerConfig, tracks: int, precision: Precision) -> int:
    """Folded trunk, head and position keys in float32; rounded copies of all that is multiplied."""
    copied = copied_bytes(config, tracks, "float32")
    if precision == "float32":
        return copied
    keys, width = config.num_heads * config.key_size, config.channels
    block = 2 * keys * width + 6 * width * width + keys * 2 * config.tokens
    rounded = config.num_transformer_layers * block + 2 * width * (width + tracks)
    return copied + rounded * ITEM_BYTES[precision]


def _kept_bytes(
    config: EnformerConfig, tracks: int, bins: int, precision: Precision, cache_bytes: int
) -> int:
    """Count inputs of blocks and what else these leave, as far as it is cached, and the tail's.

    Of blocks that are not cached one is held at a time, computed again.
    """
    tokens, width = config.tokens, config.channels
    whole, last = (_record_bytes(config, queries, precision) for queries in (tokens, bins))
    others = config.num_transformer_layers - 1
    inputs = (others + 1) * tokens * width * ITEM_BYTES["float32"]
    cached = min(others, max(0, cache_bytes - inputs) // whole)
    records = cached * whole + (last if cached == others else whole)
    return inputs + records + bins * (3 * width + tracks) * ITEM_BYTES["float32"]


def _record_bytes(config: EnformerConfig, queries: int, precision: Precision) -> int:
    """Count a `BlockRecord`."""
    tokens, width = config.tokens, config.channels
    keys = config.num_heads * config.key_size
    factors = (queries + tokens) * keys + tokens * width + 2 * queries * width
    factors += config.num_heads * queries * tokens
    return factors * ITEM_BYTES[precision] + 2 * queries * width * ITEM_BYTES["float32"]


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


def _trunk_macs(config: EnformerConfig, tokens: int, *, open_ends: int = 0) -> int:
    """Convolution and residual branch at each position, pooling at every second.

    At an open end the tokens go on, and each level computes what the one above reads beyond it.
    """
    pool = int(config.pooling == "attention")
    macs, outputs = 0, tokens
    for narrow, wide, kernel in reversed(_levels(config)):
        macs += 2 * outputs * wide * (narrow * kernel + wide) + outputs * wide * wide * pool
        outputs = 2 * outputs + open_ends * (kernel // 2)
    return macs


def _edge_tokens(config: EnformerConfig) -> int:
    """Count the tokens that see the padding at one end: those within reach of it."""
    reach = sum(kernel // 2 << level for level, (_, _, kernel) in enumerate(_levels(config)))
    return -(-reach // config.bin_bp)


def _trunk_weights(config: EnformerConfig) -> int:
    pool = int(config.pooling == "attention")
    return sum(b * (a * kernel + b * (1 + pool)) for a, b, kernel in _levels(config))


def _transformer_macs(
    config: EnformerConfig, bins: int, block: Callable[[EnformerConfig, int], int]
) -> int:
    """All blocks; the last one puts out the wanted bins only, and reads all tokens."""
    return (config.num_transformer_layers - 1) * block(config, config.tokens) + block(config, bins)


def _block_macs(config: EnformerConfig, queries: int) -> int:
    """Logits of contents and distances, and the mixture of values."""
    keys = config.num_heads * config.key_size
    return _linear_macs(config, queries) + queries * config.tokens * (keys + config.channels)


def _difference_macs(config: EnformerConfig, queries: int) -> int:
    """Logits change with queries and with keys, the mixture with weights and with values."""
    keys = config.num_heads * config.key_size
    products = 2 * queries * config.tokens * (keys + config.channels)
    return _linear_macs(config, queries) + products


def _gradient_macs(config: EnformerConfig, queries: int) -> int:
    """Gradients of weights and of values, then of queries and of keys."""
    keys = config.num_heads * config.key_size
    products = 2 * queries * config.tokens * (keys + config.channels)
    return _linear_macs(config, queries) + products


def _linear_macs(config: EnformerConfig, queries: int) -> int:
    """All of a block but the products of queries with keys and of weights with values."""
    tokens, width = config.tokens, config.channels
    keys = config.num_heads * config.key_size
    projections = (tokens + queries) * width * (keys + width)
    # So many queries meet their distances in one product, K more than they are.
    distances = tokens + min(transformer.CPU_ROWS, queries)
    return projections + queries * distances * keys + 4 * queries * width * width


def _tail_macs(config: EnformerConfig, tracks: int, bins: int) -> int:
    return bins * 2 * config.channels * (config.channels + tracks)
