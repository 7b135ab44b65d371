"""An Enformer's weights in the form that the fast passes use: folded, transposed, selected.

Knows the modules of `cisray.model.enformer`; knows nothing of how the passes go. All tensors of a
result have one type: float32 or bfloat16, or float64, in which tests compare algebra without
rounding; `round_block` and `round_tail` then lower that of the factors of products alone. What
needs no change shares memory with the model.

Two things are folded. An eval-mode batch norm is one multiply-add, a x + c. And Enformer's GELU is
z sigmoid(1.702 z): with g = 1.702, silu(g a x + g c) is g GELU(a x + c), so that g goes into the
multiply-add before and 1/g into the weights after, and one standard function is left between.
"""

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from cisray.inference.precision import arithmetic
from cisray.model.activation import GELU_SLOPE
from cisray.model.enformer.attention import RelativeAttention
from cisray.model.enformer.layers import AttentionPool
from cisray.model.enformer.network import Enformer


@dataclass(frozen=True, slots=True)
class Affine:
    """The map scale x + shift per channel, each (C,)."""

    scale: torch.Tensor
    shift: torch.Tensor


@dataclass(frozen=True, slots=True)
class Linear:
    """A map of the last axis: `weight` (O, I) and `bias` (O,) or None."""

    weight: torch.Tensor
    bias: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a convolutional trunk; each halves the length.

    x -> silu(before(x)), or x itself where `before` is None
      -> convolution with `kernel` (O, C, 1, W), W odd, zero-padded to keep the length, plus `bias`
      -> y + residual(silu(after(y))), where there is a residual branch
      -> pooling of pairs: with weights from `pool` (O, O), or their maximum where it is None
    """

    before: Affine | None
    kernel: torch.Tensor
    bias: torch.Tensor
    after: Affine | None
    residual: Linear | None
    pool: torch.Tensor | None

    @property
    def reach(self) -> int:
        """Positions on either side that the convolution reads."""
        return self.kernel.shape[-1] // 2


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm over the last axis."""

    weight: torch.Tensor
    bias: torch.Tensor
    eps: float


@dataclass(frozen=True, slots=True)
class Block:
    """One transformer block. H heads, keys of width d, values of width v.

    P = 2K: the keys of 2K - 1 distances and a row of zeros (`transformer.distance_logits`).

    The query is scaled by `scale` before u and v, the biases of content and position, are added.
    """

    attention_norm: Norm
    query: torch.Tensor  # (H d, D)
    key: torch.Tensor  # (H d, D)
    value: torch.Tensor  # (H v, D)
    scale: float
    content_bias_Hd: torch.Tensor
    position_bias_Hd: torch.Tensor
    position_keys_HPd: torch.Tensor
    out: Linear
    mlp_norm: Norm
    up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class Tail:
    """From the last block to tracks: softplus(head(silu(pointwise(silu(before(x))))))."""

    before: Affine
    pointwise: Linear
    head: Linear


def fold_trunk(model: Enformer, dtype: torch.dtype) -> tuple[Level, ...]:
    """Prepare stem and tower, from the bases up."""
    stem, tower = cast(Any, model.stem), cast(Any, model.conv_tower)
    first = _level(None, stem[0], stem[1].fn, stem[2], dtype)
    return (first, *(_level(conv[0], conv[2], res.fn, pool, dtype) for conv, res, pool in tower))


def fold_blocks(model: Enformer, dtype: torch.dtype) -> tuple[Block, ...]:
    """Prepare the transformer; the keys of relative positions are computed here, once.

    Raises ValueError for a model in training mode, whose keys a dropout would thin out for good.
    """
    if model.training:
        raise ValueError("the model is in training mode: call model.eval() before predicting")
    tokens = model.config.tokens
    return tuple(
        _block(attend.fn, mlp.fn, tokens, dtype) for attend, mlp in cast(Any, model.transformer)
    )


def fold_tail(model: Enformer, head: str, columns: torch.Tensor, dtype: torch.dtype) -> Tail:
    """Prepare pointwise layer and head; of the head only the rows `columns` (T,), in this order."""
    norm, _, pointwise = cast(Any, model.final_pointwise)[1]
    rows = cast(Any, model._heads[head])[0]
    return Tail(
        before=_affine(norm, dtype),
        # What comes in carries the factor g and what goes out needs it: the weight stays as it is.
        pointwise=Linear(
            pointwise.weight.detach()[:, :, 0].to(dtype), _times(GELU_SLOPE, pointwise.bias, dtype)
        ),
        head=Linear(
            _times(1 / GELU_SLOPE, rows.weight[columns], dtype),
            rows.bias.detach()[columns].to(dtype),
        ),
    )


def round_block(block: Block, dtype: torch.dtype) -> Block:
    """Lower the type of what is multiplied; norms and biases keep theirs."""
    return replace(
        block,
        query=block.query.to(dtype),
        key=block.key.to(dtype),
        value=block.value.to(dtype),
        position_keys_HPd=block.position_keys_HPd.to(dtype),
        out=_round_linear(block.out, dtype),
        up=_round_linear(block.up, dtype),
        down=_round_linear(block.down, dtype),
    )


def round_tail(tail: Tail, dtype: torch.dtype) -> Tail:
    """Lower the type of what is multiplied; the batch norm and biases keep theirs."""
    return replace(
        tail,
        pointwise=_round_linear(tail.pointwise, dtype),
        head=_round_linear(tail.head, dtype),
    )


def _round_linear(linear: Linear, dtype: torch.dtype) -> Linear:
    return Linear(linear.weight.to(dtype), linear.bias)


def _level(
    norm: nn.BatchNorm1d | None, conv: nn.Conv1d, residual: Any, pool: Any, dtype: torch.dtype
) -> Level:
    after, _, branch = residual
    factor = 1.0 if norm is None else 1 / GELU_SLOPE
    kernel = _times(factor, conv.weight, dtype)[:, :, None, :]
    logits = pool.to_attn_logits.weight if isinstance(pool, AttentionPool) else None
    return Level(
        before=None if norm is None else _affine(norm, dtype),
        kernel=kernel.contiguous(memory_format=torch.channels_last),
        bias=cast(torch.Tensor, conv.bias).detach().to(dtype),
        after=_affine(after, dtype),
        residual=Linear(
            _times(1 / GELU_SLOPE, branch.weight, dtype)[:, :, 0], branch.bias.detach().to(dtype)
        ),
        pool=None if logits is None else logits.detach()[:, :, 0, 0].to(dtype),
    )


def _block(attend: Any, mlp: Any, tokens: int, dtype: torch.dtype) -> Block:
    attention: RelativeAttention = attend[1]
    with arithmetic(attention.to_rel_k.weight.device, "float32"):
        position_keys = functional.pad(attention.position_keys(tokens)[0], (0, 0, 0, 1))
    return Block(
        attention_norm=_norm(attend[0], dtype),
        query=attention.to_q.weight.detach().to(dtype),
        key=attention.to_k.weight.detach().to(dtype),
        value=attention.to_v.weight.detach().to(dtype),
        scale=attention.scale,
        content_bias_Hd=attention.rel_content_bias.detach()[0, :, 0].to(dtype),
        position_bias_Hd=attention.rel_pos_bias.detach()[0, :, 0].to(dtype),
        position_keys_HPd=position_keys.to(dtype).contiguous(),
        out=_linear(attention.to_out, dtype),
        mlp_norm=_norm(mlp[0], dtype),
        up=_linear(mlp[1], dtype),
        down=_linear(mlp[4], dtype),
    )


def _affine(norm: nn.BatchNorm1d, dtype: torch.dtype) -> Affine:
    """Fold the moving averages and the factor g of the GELU that follows."""
    mean, variance = (cast(torch.Tensor, x).double() for x in (norm.running_mean, norm.running_var))
    scale = norm.weight.detach().double() / torch.sqrt(variance + norm.eps)
    shift = norm.bias.detach().double() - mean * scale
    return Affine(_times(GELU_SLOPE, scale, dtype), _times(GELU_SLOPE, shift, dtype))


def _norm(norm: nn.LayerNorm, dtype: torch.dtype) -> Norm:
    return Norm(norm.weight.detach().to(dtype), norm.bias.detach().to(dtype), norm.eps)


def _linear(linear: nn.Linear, dtype: torch.dtype) -> Linear:
    return Linear(linear.weight.detach().to(dtype), linear.bias.detach().to(dtype))


def _times(factor: float, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Scale in float64, so that folding costs one rounding."""
    return (factor * x.detach().double()).to(dtype)
