"""From gradients of trunk tokens to gradients of bases, down the levels of the trunk.

Knows stacked levels, chunks of tokens and a region of bases; knows nothing of attention or of
objectives. What is linear in the gradient is done for all objectives at once, and what the
derivative needs of the signal is computed once for all of them, chunk by chunk, and not kept.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from cisray.inference.fast.level import (
    Step,
    activate,
    add_residual,
    convolve_level,
    pad_rows,
    plan_steps,
    pool_into,
)
from cisray.inference.fast.products import linear
from cisray.inference.fast.slopes import pool_back, silu_slope
from cisray.inference.fast.trunk import Trunk
from cisray.inference.fast.weights import Affine, Level
from cisray.inference.predictor import ALPHABET


def lead_to_bases(
    trunk: Trunk, codes_L: torch.Tensor, grad_BKD: torch.Tensor, region: range
) -> torch.Tensor:
    """Turn gradients of all tokens of a window into those of the one-hot rows of a region.

    codes_L: uint8 (L,) on the device. grad_BKD (B, K, D) to (B, R, A). Only tokens that read a base
    of the region are computed again: for a region of some hundred bases, a dozen of 1,536.
    """
    out_BRA = grad_BKD.new_zeros(len(grad_BKD), len(region), ALPHABET)
    tokens = tokens_reading(trunk, region, grad_BKD.shape[1])
    chunk = max(1, trunk.rows // trunk.bin_bp)
    for first in range(tokens.start, tokens.stop, chunk):
        part = range(first, min(first + chunk, tokens.stop))
        passes = _climb(trunk, codes_L, part)
        bases = passes[0].step.inputs
        shared = range(max(bases.start, region.start), min(bases.stop, region.stop))
        there, here = (
            slice(shared.start - whole.start, shared.stop - whole.start)
            for whole in (region, bases)
        )
        together = max(1, trunk.rows // len(bases))
        for lane in range(0, len(grad_BKD), together):
            lanes = slice(lane, lane + together)
            grad = grad_BKD[lanes, part.start : part.stop]
            for level_pass in reversed(passes):
                grad = _descend(level_pass, grad)
            out_BRA[lanes, there] += grad[:, here]
    return out_BRA


def tokens_reading(trunk: Trunk, region: range, count: int) -> range:
    """Find the tokens, of 0 .. count, that read a base of the region."""
    if not region:
        return range(0)
    first = (region.start - trunk.reach_bp) // trunk.bin_bp
    stop = -(-(region.stop + trunk.reach_bp) // trunk.bin_bp)
    return range(max(first, 0), min(stop, count))


@dataclass(frozen=True, slots=True)
class _LevelPass:
    """What the derivative of a level needs of its pass over one sequence, channels-last.

    `x` is the level's input, `y` what the convolution gives, `gap` the even row minus the odd one
    of each pair before pooling.
    """

    step: Step
    x: torch.Tensor
    y: torch.Tensor
    gap: torch.Tensor


def _climb(trunk: Trunk, codes_L: torch.Tensor, tokens: range) -> list[_LevelPass]:
    """Compute some tokens of a whole sequence, and keep what their derivatives need."""
    steps = plan_steps(trunk.levels, tokens, len(codes_L))
    read = steps[0].inputs
    x = trunk.onehot(codes_L[None, read.start : read.stop])
    passes = []
    for step in steps:
        level = step.level
        t = pad_rows(activate(x, level.before), step.zeros_before, step.zeros_after)
        y = convolve_level(level, t)
        z = add_residual(level, y)
        passes.append(_LevelPass(step, x, y, z[:, 0::2] - z[:, 1::2]))
        x = torch.empty_like(z[:, 0::2])
        pool_into(level, z, x)
    return passes


def _descend(level_pass: _LevelPass, grad: torch.Tensor) -> torch.Tensor:
    """Lead a gradient from a level's outputs (B, outputs, O) to its inputs (B, inputs, C)."""
    step, level = level_pass.step, level_pass.step.level
    grad = _unpool(level, level_pass.gap, grad)
    if level.residual is not None:
        branch = linear(grad, level.residual.weight.mT)
        grad = grad + _through_activation(level.after, level_pass.y, branch)
    image = grad.transpose(1, 2)[:, :, None, :]
    grad = functional.conv_transpose2d(image, level.kernel)[:, :, 0, :].transpose(1, 2)
    # The zeros that the convolution read beyond the ends of the sequence depend on nothing.
    grad = grad[:, step.zeros_before : grad.shape[1] - step.zeros_after]
    return _through_activation(level.before, level_pass.x, grad)


def _through_activation(affine: Affine | None, x: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
    """Lead a gradient back through silu(scale x + shift), or nothing."""
    if affine is None:
        return grad
    return grad * (silu_slope(torch.addcmul(affine.shift, x, affine.scale)) * affine.scale)


def _unpool(level: Level, gap: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
    """Lead a gradient back to both rows of each pair: (B, rows, O) to (B, 2 rows, O).

    Of a pair with equal maxima the even row gets it, as in the model's own pooling.
    """
    if level.pool is None:
        to_even = torch.where(gap >= 0, grad, 0)
    else:
        to_even, to_logit = pool_back(gap, linear(gap, level.pool), grad)
        to_even = to_even + linear(to_logit, level.pool.mT)
    return torch.stack([to_even, grad - to_even], dim=2).flatten(1, 2)
