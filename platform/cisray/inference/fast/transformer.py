"""From trunk tokens to tracks: transformer blocks, pointwise layer and head.

Knows folded weights and tokens; knows nothing of DNA, of windows or of differences. The residual
stream, norms, softmax and activations have the type of the tokens; products have that of the
weights, which may be lower.

The work goes by chunks that fit a core's cache: rows of tokens and, in attention, queries of one
head. A GPU takes all rows and all heads of a lane at once.
Axis letters here: Q tokens whose result is wanted, R rows of a chunk, G heads of a chunk, C the
values of all heads side by side, M the hidden width of a feed-forward layer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from cisray.inference.fast.products import cross, linear
from cisray.inference.fast.weights import Block, Linear, Norm, Tail

CPU_ROWS = 256  # 1.5 MB of 1,536 float32 channels, about the second-level cache of a core
_ALL = 1 << 31


@dataclass(slots=True)
class BlockRecord:
    """What differences need of one block's pass over a reference; buffers that are filled anew.

    Factors of products have the type of the differences' products, the rest that of the tokens.
    Values and their mixture are taken relative to the mean of the values over all tokens: weights
    of a difference sum to zero, so that a common part drops out of it, but only before rounding.
    """

    contents_HQd: torch.Tensor  # scaled queries plus u
    keys_HKd: torch.Tensor
    values_HvK: torch.Tensor
    weights_HQK: torch.Tensor  # softmax over keys
    mixed_QC: torch.Tensor
    middle_QD: torch.Tensor  # the residual stream after attention
    hidden_QM: torch.Tensor  # before the ReLU

    @classmethod
    def empty(
        cls, block: Block, x_KD: torch.Tensor, queries: range, products: torch.dtype
    ) -> "BlockRecord":
        """Allocate for a block over tokens like x, with factors of type `products`."""
        heads, width = block.content_bias_Hd.shape
        tokens, asked, values = len(x_KD), len(queries), len(block.value)
        shapes = {
            "contents_HQd": (heads, asked, width),
            "keys_HKd": (heads, tokens, width),
            "values_HvK": (heads, values // heads, tokens),
            "weights_HQK": (heads, asked, tokens),
            "hidden_QM": (asked, len(block.up.weight)),
        }
        return cls(
            mixed_QC=x_KD.new_empty(asked, values),
            middle_QD=x_KD.new_empty(asked, x_KD.shape[1]),
            **{name: x_KD.new_empty(shape, dtype=products) for name, shape in shapes.items()},
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        factors = (self.contents_HQd, self.keys_HKd, self.values_HvK, self.weights_HQK)
        return sum(x.nbytes for x in (*factors, self.mixed_QC, self.middle_QD, self.hidden_QM))


class Transformer:
    """Blocks and tail; norms and biases have the type of the tokens, factors of products any."""

    def __init__(self, blocks: Sequence[Block], tail: Tail) -> None:
        self.blocks = tuple(blocks)
        self.tail = tail

    def predict(self, x_BKD: torch.Tensor, tokens: range) -> torch.Tensor:
        """Predict the tracks of the bins under the given tokens: (B, K, D) to (B, N, T)."""
        for block in self.blocks[:-1]:
            x_BKD = run_block(block, x_BKD, range(x_BKD.shape[1]))
        x_BND = run_block(self.blocks[-1], x_BKD, tokens)
        pred_BNT = x_BND.new_empty(*x_BND.shape[:2], len(self.tail.head.weight))
        x_RD, pred_RT = x_BND.flatten(0, 1), pred_BNT.flatten(0, 1)
        for rows in steps(len(x_RD), x_RD.device):
            pred_RT[rows] = functional.softplus(run_tail(self.tail, x_RD[rows])[-1])
        return pred_BNT


def run_block(
    block: Block, x_BKD: torch.Tensor, queries: range, record: BlockRecord | None = None
) -> torch.Tensor:
    """Apply one block, for the tokens `queries` of its result: (B, K, D) to (B, Q, D).

    A record, for a single lane, is filled on the way; it changes no bit of the result.
    """
    y_BKD = torch.empty_like(x_BKD, dtype=block.query.dtype)
    x_RD, y_RD = x_BKD.flatten(0, 1), y_BKD.flatten(0, 1)
    for rows in steps(len(x_RD), x_RD.device):
        y_RD[rows] = normalise(x_RD[rows], block.attention_norm)
    mixed_BQC = y_BKD.new_empty(len(x_BKD), len(queries), len(block.value))
    for lane, y_KD in enumerate(y_BKD):
        _attend(block, y_KD, queries, mixed_BQC[lane], record)
    out_BQD = x_BKD[:, queries.start : queries.stop].clone()
    _feed_forward(block, out_BQD.flatten(0, 1), mixed_BQC.flatten(0, 1), record)
    return out_BQD


def run_tail(tail: Tail, x_ND: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute the arguments of the tail's activations: silu (N, D), silu (N, M), softplus (N, T).

    The prediction is the softplus of the last.
    """
    first_ND = torch.addcmul(tail.before.shift, x_ND, tail.before.scale)
    second_NM = project(functional.silu(first_ND), tail.pointwise)
    head_NT = project(functional.silu(second_NM), tail.head)
    return first_ND, second_NM, head_NT


def steps(count: int, device: torch.device, *, lanes: int = 1) -> Iterator[slice]:
    """Cut rows, of so many lanes at once, into chunks that suit the device."""
    size = max(1, CPU_ROWS // max(1, lanes)) if device.type == "cpu" else _ALL
    for first in range(0, count, size):
        yield slice(first, min(count, first + size))


def head_groups(heads: int, device: torch.device) -> Iterator[slice]:
    """Cut heads into groups: one by one on a CPU, all at once elsewhere."""
    size = 1 if device.type == "cpu" else heads
    for first in range(0, heads, size):
        yield slice(first, first + size)


def normalise(x: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Apply a layer norm."""
    return functional.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)


def project(x: torch.Tensor, layer: Linear) -> torch.Tensor:
    """Multiply in the type of the layer's weight; add the bias, and return, in the bias's type."""
    if layer.bias is None or layer.bias.dtype == layer.weight.dtype:
        return linear(x.to(layer.weight.dtype), layer.weight, layer.bias)
    return linear(x.to(layer.weight.dtype), layer.weight).to(layer.bias.dtype).add_(layer.bias)


def split_heads(x_KC: torch.Tensor, heads: int) -> torch.Tensor:
    """Bring (K, H d), head-major, to (H, K, d)."""
    return x_KC.reshape(len(x_KC), heads, -1).transpose(0, 1)


def merge_heads(x_GRv: torch.Tensor) -> torch.Tensor:
    """Bring (G, R, v) to (R, G v)."""
    return x_GRv.transpose(0, 1).flatten(1)


def distance_logits(
    queries_GRd: torch.Tensor, distances_GPd: torch.Tensor, first: int
) -> torch.Tensor:
    """Multiply the queries `first`, `first` + 1, ... with the keys of their distances: (G, R, K).

    Query i meets key j at distance j - i, which is row j - i + K - 1 of P = 2K - 1. R queries from
    `first` on need the rows from K - first - R up to 2K - 2 - first only. In their product, key 0
    of each further query stands one column to the left, which a view with a row stride of one less
    says without a copy. One more row at the end of P, which no view shows, makes the product's
    width K + R: an even number, which a GPU's matrix units need.
    """
    tokens = (distances_GPd.shape[1] + 1) // 2
    rows = queries_GRd.shape[1]
    more = distances_GPd.shape[1] - (2 * tokens - 1)
    needed = distances_GPd[:, tokens - first - rows : 2 * tokens - 1 - first + more]
    product = cross(queries_GRd, needed).contiguous()
    return product.as_strided(
        (len(product), rows, tokens),
        (product.stride(0), product.stride(1) - 1, 1),
        product.storage_offset() + rows - 1,
    )


def _attend(
    block: Block,
    y_KD: torch.Tensor,
    queries: range,
    mixed_QC: torch.Tensor,
    record: BlockRecord | None,
) -> None:
    """Mix the values of one lane for each query, into `mixed_QC`."""
    heads, narrow = len(block.content_bias_Hd), block.query.dtype
    # Sums of a query and a bias are taken in the biases' type.
    scaled = split_heads(linear(y_KD[queries.start : queries.stop], block.query), heads)
    scaled = scaled.to(block.content_bias_Hd.dtype) * block.scale
    contents_HQd = (scaled + block.content_bias_Hd[:, None]).to(narrow)
    positions_HQd = (scaled + block.position_bias_Hd[:, None]).to(narrow)
    keys_HKd = split_heads(linear(y_KD, block.key), heads).contiguous()
    values_HvK = linear(block.value, y_KD).view(heads, -1, len(y_KD))
    for group in head_groups(heads, y_KD.device):
        for rows in steps(len(queries), y_KD.device):
            logits_GRK = cross(contents_HQd[group, rows], keys_HKd[group]).to(scaled.dtype)
            logits_GRK += distance_logits(
                positions_HQd[group, rows],
                block.position_keys_HPd[group],
                queries.start + rows.start,
            )
            weights_GRK = logits_GRK.softmax(dim=-1)
            columns = columns_of(group, values_HvK.shape[1])
            mixed_QC[rows, columns] = merge_heads(cross(weights_GRK.to(narrow), values_HvK[group]))
            if record is not None:
                record.weights_HQK[group, rows] = weights_GRK
    if record is not None:
        mean_Hv1 = values_HvK.mean(dim=-1, keepdim=True)
        record.contents_HQd.copy_(contents_HQd)
        record.keys_HKd.copy_(keys_HKd)
        record.values_HvK.copy_(values_HvK - mean_Hv1)
        record.mixed_QC.copy_(mixed_QC - mean_Hv1.flatten())


def columns_of(group: slice, values: int) -> slice:
    """Locate the values of a group of heads among those of all heads."""
    return slice(group.start * values, group.stop * values)


def _feed_forward(
    block: Block, x_RD: torch.Tensor, mixed_RC: torch.Tensor, record: BlockRecord | None
) -> None:
    """Add attention's projection and the feed-forward layer to x, in place."""
    for rows in steps(len(x_RD), x_RD.device):
        chunk_RD = x_RD[rows]
        chunk_RD += project(mixed_RC[rows], block.out)
        hidden_RM = project(normalise(chunk_RD, block.mlp_norm), block.up)
        if record is not None:
            record.middle_QD[rows] = chunk_RD
            record.hidden_QM[rows] = hidden_RM
        chunk_RD += project(hidden_RM.relu_(), block.down)
