"""From gradients of a prediction to gradients of trunk tokens, back through head and blocks.

Knows the record of a reference's pass; knows nothing of DNA or of objectives. B are the objectives:
each has a gradient of its own, and all share the pass.

Attention of one head. The logits are l = c k^T + shift(p r^T) with c = s q + u and p = s q + v, the
weights P = softmax(l), the mixed values o = P w. From the gradient o' of the mixed values

    w' = P^T o',  P' = o' w^T,  l' = P (P' - sum P' P),
    c' = l' k,  k' = l'^T c,  p' = unshift(l') r,  q' = s (c' + p').

A row of l' sums to zero, so that nothing changes if a number is taken from a row of P'. That is
why the record may keep the values relative to their mean.
"""

from dataclasses import dataclass

import torch

from cisray.inference.fast.products import cross, linear
from cisray.inference.fast.reference import ReferencePass, TailRecord
from cisray.inference.fast.slopes import norm_back, silu_slope
from cisray.inference.fast.transformer import (
    BlockRecord,
    columns_of,
    head_groups,
    merge_heads,
    split_heads,
    steps,
)
from cisray.inference.fast.weights import Block, Norm, Tail


def lead_to_tokens(reference: ReferencePass, grad_BNT: torch.Tensor) -> torch.Tensor:
    """Turn gradients of the wanted bins, (B, N, T), into those of all tokens, (B, K, D)."""
    grad_BKD = _through_tail(reference.transformer.tail, reference.tail, grad_BNT)
    for index, block in reversed(list(enumerate(reference.transformer.blocks))):
        layer = _Layer(
            block, reference.inputs_KD[index], reference.record(index), reference.queries(index)
        )
        grad_BKD = _through_block(layer, grad_BKD)
    return grad_BKD


def _through_tail(tail: Tail, record: TailRecord, grad_BNT: torch.Tensor) -> torch.Tensor:
    out_BND = grad_BNT.new_empty(*grad_BNT.shape[:2], record.first_ND.shape[1])
    for rows in steps(grad_BNT.shape[1], grad_BNT.device, lanes=len(grad_BNT)):
        grad = grad_BNT[:, rows] * torch.sigmoid(record.head_NT[rows])
        grad = linear(grad, tail.head.weight.mT) * silu_slope(record.second_NM[rows])
        grad = linear(grad, tail.pointwise.weight.mT) * silu_slope(record.first_ND[rows])
        out_BND[:, rows] = grad * tail.before.scale
    return out_BND


@dataclass(frozen=True, slots=True)
class _Layer:
    """A block and its pass over the reference."""

    block: Block
    x_KD: torch.Tensor
    record: BlockRecord
    queries: range


def _through_block(layer: _Layer, grad_BQD: torch.Tensor) -> torch.Tensor:
    """Lead gradients of a block's outputs, which are overwritten, to its inputs (B, K, D)."""
    block, record = layer.block, layer.record
    for rows in steps(grad_BQD.shape[1], grad_BQD.device, lanes=len(grad_BQD)):
        grad = grad_BQD[:, rows]
        hidden = linear(grad, block.down.weight.mT) * (record.hidden_QM[rows] > 0)
        grad += _through_norm(
            block.mlp_norm, record.middle_QD[rows], linear(hidden, block.up.weight.mT)
        )
    out_BKD = grad_BQD.new_empty(len(grad_BQD), *layer.x_KD.shape)
    for out_KD, grad_QD in zip(out_BKD, grad_BQD, strict=True):
        _through_attention(layer, grad_QD, out_KD)
    out_BKD[:, layer.queries.start : layer.queries.stop] += grad_BQD
    return out_BKD


def _through_norm(norm: Norm, x: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
    return norm_back(x, grad, norm.weight, norm.eps)


def _through_attention(layer: _Layer, grad_QD: torch.Tensor, out_KD: torch.Tensor) -> None:
    """Lead one objective's gradient through norm and attention, into `out_KD`."""
    block, queries = layer.block, layer.queries
    to = _through_mixing(layer, linear(grad_QD, block.out.weight.mT))
    normed_KD = linear(merge_heads(to.keys_HKd), block.key.mT)
    normed_KD += linear(to.values_HvK.flatten(0, 1).mT, block.value.mT)
    normed_KD[queries.start : queries.stop] += linear(
        merge_heads(to.queries_HQd) * block.scale, block.query.mT
    )
    for rows in steps(len(out_KD), out_KD.device):
        out_KD[rows] = _through_norm(block.attention_norm, layer.x_KD[rows], normed_KD[rows])


@dataclass(frozen=True, slots=True)
class _Factors:
    """Gradients of what attention is made of: scaled queries, keys and values."""

    queries_HQd: torch.Tensor
    keys_HKd: torch.Tensor
    values_HvK: torch.Tensor


def _through_mixing(layer: _Layer, grad_QC: torch.Tensor) -> _Factors:
    """Lead the gradient of all heads' mixed values back by the formulas above."""
    record, distances_HPd = layer.record, layer.block.position_keys_HPd
    to = _Factors(
        queries_HQd=torch.empty_like(record.contents_HQd),
        keys_HKd=torch.zeros_like(record.keys_HKd),
        values_HvK=torch.zeros_like(record.values_HvK),
    )
    for group in head_groups(len(distances_HPd), grad_QC.device):
        columns = columns_of(group, record.values_HvK.shape[1])
        for rows in steps(len(grad_QC), grad_QC.device):
            weights_GRK = record.weights_HQK[group, rows]
            grad_GRv = split_heads(grad_QC[rows, columns], len(weights_GRK))
            to.values_HvK[group] += cross(grad_GRv.mT, weights_GRK.mT)
            logits_GRK = _through_softmax(weights_GRK, cross(grad_GRv, record.values_HvK[group].mT))
            to.keys_HKd[group] += cross(logits_GRK.mT, record.contents_HQd[group, rows].mT)
            by_content = cross(logits_GRK, record.keys_HKd[group].mT)
            to.queries_HQd[group, rows] = by_content + distance_logits_back(
                logits_GRK, distances_HPd[group], layer.queries.start + rows.start
            )
    return to


def _through_softmax(weights: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
    """Compute P (P' - sum P' P); `grad`, P', is overwritten."""
    grad *= weights
    return torch.addcmul(grad, weights, grad.sum(dim=-1, keepdim=True), value=-1)


def distance_logits_back(
    grad_GRK: torch.Tensor, distances_GPd: torch.Tensor, first: int
) -> torch.Tensor:
    """Lead gradients of `distance_logits` back to its queries: (G, R, K) to (G, R, d).

    Each row is put where its view of the product began, among zeros.
    """
    groups, rows, tokens = grad_GRK.shape
    needed = distances_GPd[:, tokens - first - rows : 2 * tokens - 1 - first]
    product = grad_GRK.new_zeros(groups, rows, needed.shape[1])
    product.as_strided(
        (groups, rows, tokens), (product.stride(0), product.stride(1) - 1, 1), rows - 1
    ).copy_(grad_GRK)
    return cross(product, needed.mT)
