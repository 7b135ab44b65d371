"""Differences through a transformer: what changed tokens change in every track.

Knows the record of a reference's pass and the differences of trunk tokens; knows nothing of DNA.
Each step maps a difference of its input to the difference of its output, f(x + d) - f(x), without
forming either large number (see `differences`), so that rounding is relative to the difference,
however small that is. This is what allows products in bfloat16 here.

Attention of one head. The reference's logits are l = (q + u) k^T + (q + v) r, with the scaled query
q, and its weights are P = softmax(l). The alternate's logits differ by

    dl = dq (k + dk)^T + (q + u) dk^T + dq r = [dq, q + u] [k + dk, dk]^T + dq r

and its weights are P' = P exp(dl) / sum P exp(dl). Weights do not change when a number m is taken
from all logits of a query: with e = exp(dl - m) - 1 and z = sum P e, P' = P (1 + e) / (1 + z).
The mixed values o = P v become P' (v + dv), and the difference is

    P' (v + dv) - o = ((P e) (v + dv) + P dv - z o) / (1 + z).

Any m is right in exact arithmetic. m = sum P dl makes z small of second order and, as the
exponential is convex, 1 + z at least 1: no division blows rounding errors up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cisray.inference.fast.chains import fused
from cisray.inference.fast.differences import (
    norm_difference,
    relu_difference,
    silu_difference,
    softplus_difference,
)
from cisray.inference.fast.products import cross, linear
from cisray.inference.fast.reference import ReferencePass
from cisray.inference.fast.transformer import (
    BlockRecord,
    columns_of,
    distance_logits,
    head_groups,
    merge_heads,
    split_heads,
    steps,
)
from cisray.inference.fast.weights import Block, Norm, Tail

# exp(60) = 1e26, and the smallest normal float32 is 1e-38: a weight that was flushed to zero in the
# reference can be missing from an alternate's 1 with 1e-12 at most.
LARGEST_RISE = 60.0


@dataclass(frozen=True, slots=True)
class Differences:
    """Differences of tracks, and for each lane how far a logit rose above its query's mean.

    A lane whose rise is above LARGEST_RISE, or not a number, is not to be trusted: too large for
    this arithmetic, it is no small difference and can be had by subtraction.
    """

    difference_BNT: torch.Tensor
    rise_B: torch.Tensor


class DeltaTransformer:
    """Blocks and tail of differences. Factors of products may be rounded (`round_block`)."""

    def __init__(self, blocks: Sequence[Block], tail: Tail) -> None:
        self.blocks = tuple(blocks)
        self.tail = tail

    def differences(self, reference: ReferencePass, d_BKD: torch.Tensor) -> Differences:
        """Propagate differences of trunk tokens (B, K, D) to the reference's wanted bins."""
        rise_B = d_BKD.new_zeros(len(d_BKD))
        for index, block in enumerate(self.blocks):
            layer = _Layer(
                block, reference.inputs_KD[index], reference.record(index), reference.queries(index)
            )
            d_BKD = _block_difference(layer, d_BKD, rise_B)
        return Differences(self._tail(reference, d_BKD), rise_B)

    def _tail(self, reference: ReferencePass, d_BND: torch.Tensor) -> torch.Tensor:
        tail, record = self.tail, reference.tail
        out_BNT = d_BND.new_empty(*d_BND.shape[:2], record.head_NT.shape[1])
        narrow = tail.head.weight.dtype
        for rows in steps(d_BND.shape[1], d_BND.device, lanes=len(d_BND)):
            d = _silu_chain(record.first_ND[rows], d_BND[:, rows], tail.before.scale, narrow)
            d = linear(d, tail.pointwise.weight)
            d = _silu_chain(record.second_NM[rows], d, None, narrow)
            d = linear(d, tail.head.weight)
            out_BNT[:, rows] = _softplus_chain(record.head_NT[rows], d)
        return out_BNT


@dataclass(frozen=True, slots=True)
class _Layer:
    """A block and its pass over the reference."""

    block: Block
    x_KD: torch.Tensor
    record: BlockRecord
    queries: range


# Chains take and give what products do; between them they compute in the reference's wide type.
@fused
def _norm_chain(
    x: torch.Tensor, d: torch.Tensor, weight: torch.Tensor, eps: float, narrow: torch.dtype
) -> torch.Tensor:
    return norm_difference(x, d, weight, eps).to(narrow)


@fused
def _relu_chain(d: torch.Tensor, z: torch.Tensor, wide: torch.dtype) -> torch.Tensor:
    return relu_difference(z.to(wide), d.to(wide)).to(d.dtype)


@fused
def _silu_chain(
    z: torch.Tensor, d: torch.Tensor, scale: torch.Tensor | None, narrow: torch.dtype
) -> torch.Tensor:
    moved = d.to(z.dtype)
    return silu_difference(z, moved if scale is None else moved * scale).to(narrow)


@fused
def _softplus_chain(z: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    return softplus_difference(z, d.to(z.dtype))


@fused
def _attention_chain(
    content_GRK: torch.Tensor,
    distance_GRK: torch.Tensor,
    weights_GRK: torch.Tensor,
    wide: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """From both parts of dl, which may be overwritten, and P: P e, z, and the largest dl - m."""
    dl_GRK = content_GRK.to(wide)
    dl_GRK += distance_GRK
    dl_GRK -= (weights_GRK * dl_GRK).sum(dim=-1, keepdim=True)
    # Row by row first: so a compiled chain needs no second sweep.
    highest = dl_GRK.amax(dim=-1).amax()
    pe_GRK = dl_GRK.expm1_().mul_(weights_GRK)
    return pe_GRK.to(weights_GRK.dtype), pe_GRK.sum(dim=-1, keepdim=True), highest


def _block_difference(layer: _Layer, d_BKD: torch.Tensor, rise_B: torch.Tensor) -> torch.Tensor:
    """Propagate lanes through one block: (B, K, D) to (B, Q, D)."""
    block, record = layer.block, layer.record
    mixed_BQC = _attention_difference(layer, d_BKD, rise_B)
    out_BQD = d_BKD[:, layer.queries.start : layer.queries.stop].clone()
    for rows in steps(out_BQD.shape[1], out_BQD.device, lanes=len(out_BQD)):
        d = out_BQD[:, rows]
        d += linear(mixed_BQC[:, rows], block.out.weight)
        dy = _norm(record.middle_QD[rows], d, block.mlp_norm, block.up.weight.dtype)
        dg = _relu_chain(linear(dy, block.up.weight), record.hidden_QM[rows], d.dtype)
        d += linear(dg, block.down.weight)
    return out_BQD


def _norm(x: torch.Tensor, d: torch.Tensor, norm: Norm, narrow: torch.dtype) -> torch.Tensor:
    return _norm_chain(x, d, norm.weight, norm.eps, narrow)


@dataclass(frozen=True, slots=True)
class _Changes:
    """What the logits and values of an alternate are made of, beside the reference's."""

    queries_HQd: torch.Tensor  # dq
    left_HQd: torch.Tensor  # [dq, q + u]
    right_HKd: torch.Tensor  # [k + dk, dk]
    values_HvK: torch.Tensor  # dv
    moved_HvK: torch.Tensor  # v + dv


def _attention_difference(layer: _Layer, d_BKD: torch.Tensor, rise_B: torch.Tensor) -> torch.Tensor:
    """Compute the difference of the mixed values of all lanes, (B, Q, C), in the products' type."""
    block, queries = layer.block, layer.queries
    y_BKD = torch.empty_like(d_BKD, dtype=block.query.dtype)
    for rows in steps(d_BKD.shape[1], d_BKD.device, lanes=len(d_BKD)):
        y_BKD[:, rows] = _norm(layer.x_KD[rows], d_BKD[:, rows], block.attention_norm, y_BKD.dtype)
    dq_BQC = linear(y_BKD[:, queries.start : queries.stop], block.query) * block.scale
    dk_BKC = linear(y_BKD, block.key)
    out_BQC = y_BKD.new_empty(len(d_BKD), *layer.record.mixed_QC.shape)
    for lane, rise in enumerate(rise_B):
        changes = _changes(layer, dq_BQC[lane], dk_BKC[lane], linear(block.value, y_BKD[lane]))
        torch.maximum(rise, _attend_difference(layer, changes, out_BQC[lane]), out=rise)
    return out_BQC


def _changes(layer: _Layer, dq_QC: torch.Tensor, dk_KC: torch.Tensor, dv: torch.Tensor) -> _Changes:
    record, heads = layer.record, len(layer.block.content_bias_Hd)
    dq, dk = split_heads(dq_QC, heads), split_heads(dk_KC, heads)
    dv = dv.view(heads, -1, dv.shape[1])  # (H v, K) came in
    return _Changes(
        queries_HQd=dq,
        left_HQd=torch.cat([dq, record.contents_HQd], dim=-1),
        right_HKd=torch.cat([record.keys_HKd + dk, dk], dim=-1),
        values_HvK=dv,
        moved_HvK=record.values_HvK + dv,
    )


def _attend_difference(layer: _Layer, changes: _Changes, out_QC: torch.Tensor) -> torch.Tensor:
    """Mix the values of one lane, into `out_QC`; return the largest rise of a logit."""
    block, record = layer.block, layer.record
    wide = record.mixed_QC.dtype
    rise = record.mixed_QC.new_zeros(())
    for group in head_groups(len(changes.queries_HQd), out_QC.device):
        columns = columns_of(group, changes.values_HvK.shape[1])
        for rows in steps(len(layer.queries), out_QC.device):
            content = cross(changes.left_HQd[group, rows], changes.right_HKd[group])
            distance = distance_logits(
                changes.queries_HQd[group, rows],
                block.position_keys_HPd[group],
                layer.queries.start + rows.start,
            )
            weights = record.weights_HQK[group, rows]
            pe, z, highest = _attention_chain(content, distance, weights, wide)
            mixed_GRv = _mix(
                (pe, z),
                weights,
                split_heads(record.mixed_QC[rows, columns], len(pe)),
                (changes.values_HvK[group], changes.moved_HvK[group]),
            )
            out_QC[rows, columns] = merge_heads(mixed_GRv)
            rise = torch.maximum(rise, highest)
    return rise


def _mix(
    change: tuple[torch.Tensor, torch.Tensor],
    weights_GRK: torch.Tensor,
    mixed_GRv: torch.Tensor,
    values_GvK: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """Apply the formula above to (P e, z), P, o and (dv, v + dv): the difference (G, R, v)."""
    (pe_GRK, z_GR1), (dv, moved) = change, values_GvK
    out_GRv = cross(pe_GRK, moved).to(mixed_GRv.dtype)
    out_GRv += cross(weights_GRK, dv)
    return torch.addcmul(out_GRv, z_GR1, mixed_GRv, value=-1).div_(1 + z_GR1)
