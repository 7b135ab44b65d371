"""One level of a convolutional trunk, computed over some of its positions.

Knows a level's arithmetic and which inputs its outputs need; knows nothing of codes, of windows or
of how levels are stacked. Signals are channels-last, (B, rows, C). Positions are counted from the
start of a sequence: those of the input run to twice those of the output.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from cisray.inference.fast.products import convolve, linear_add, linear_sigmoid
from cisray.inference.fast.weights import Affine, Level


@dataclass(frozen=True, slots=True)
class Step:
    """A level and the part of it to compute: `outputs` from `inputs`, both positions.

    Outputs [a, b) need the inputs [2a - reach, 2b + reach). `inputs` are those of them that the
    sequence has; for the others the convolution reads zeros.
    """

    level: Level
    inputs: range
    outputs: range

    @property
    def zeros_before(self) -> int:
        """Rows of zeros that the convolution reads before the first input."""
        return self.inputs.start - (2 * self.outputs.start - self.level.reach)

    @property
    def zeros_after(self) -> int:
        """Rows of zeros that the convolution reads after the last input."""
        return 2 * self.outputs.stop + self.level.reach - self.inputs.stop


def plan_steps(levels: Sequence[Level], wanted: range, bases: int | None) -> list[Step]:
    """Find what each level must compute for the `wanted` tokens, from the bases up.

    `bases` is the length of the sequence; None means that it has no ends, so that nothing is padded
    and positions may be negative.
    """
    steps = []
    outputs = wanted
    for index, level in reversed(list(enumerate(levels))):
        first, stop = 2 * outputs.start - level.reach, 2 * outputs.stop + level.reach
        if bases is not None:
            first, stop = max(first, 0), min(stop, bases >> index)
        steps.append(Step(level, range(first, stop), outputs))
        outputs = range(first, stop)
    return steps[::-1]


def activate(x: torch.Tensor, affine: Affine | None) -> torch.Tensor:
    """Compute silu(scale x + shift) per channel, or return x where there is no `affine`."""
    if affine is None:
        return x
    return functional.silu(torch.addcmul(affine.shift, x, affine.scale), inplace=True)


def pad_rows(x: torch.Tensor, before: int, after: int) -> torch.Tensor:
    """Add rows of zeros; without any, x itself."""
    return functional.pad(x, (0, 0, before, after)) if before or after else x


def convolve_level(level: Level, t: torch.Tensor) -> torch.Tensor:
    """Convolve activated and padded rows: (B, rows + 2 reach, C) to (B, rows, O)."""
    return convolve(t, level.kernel, level.bias)


def add_residual(level: Level, y: torch.Tensor) -> torch.Tensor:
    """Add the level's pointwise branch, or return y where there is none."""
    if level.residual is None:
        return y
    t = activate(y, level.after)
    return linear_add(t, level.residual.weight, level.residual.bias, y)


def pool_into(level: Level, y: torch.Tensor, out: torch.Tensor) -> None:
    """Pool pairs of rows, (B, rows, O) into `out` (B, rows / 2, O).

    A softmax over two logits is a sigmoid of their difference, and the logits are linear without
    bias: one product on half of the positions, sigmoid((even - odd) W), gives the even row's share.
    """
    even, odd = y[:, 0::2], y[:, 1::2]
    if level.pool is None:
        torch.maximum(even, odd, out=out)
        return
    gap = even - odd
    torch.addcmul(odd, linear_sigmoid(gap, level.pool), gap, out=out)
