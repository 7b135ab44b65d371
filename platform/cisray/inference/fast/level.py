"""One level of a convolutional trunk: a signal, or a signal and a change of it, at some positions.

Knows a level's arithmetic and which inputs its outputs need; knows nothing of codes or of windows.
Signals are channels-last, (B, rows, C). Positions are counted from the start of a sequence: those
of the input run to twice those of the output.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from cisray.inference.fast.differences import max_difference, pool_difference, silu_difference
from cisray.inference.fast.products import convolve, linear, linear_add, linear_sigmoid
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

    def spread(self, changed: range) -> range:
        """Find the outputs that see inputs in `changed`, as far as they are computed.

        Inputs [a, b) reach the convolution's [a - reach, b + reach), and these the pairs of them.
        """
        first = (changed.start - self.level.reach) // 2
        stop = (changed.stop + self.level.reach + 1) // 2
        return range(max(first, self.outputs.start), min(stop, self.outputs.stop))


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


@dataclass(frozen=True, slots=True)
class Change:
    """Differences d (B, rows, C) of B sequences from a reference, at positions `rows`.

    Everywhere else they are zero.
    """

    d: torch.Tensor
    rows: range


def climb_changed(step: Step, x: torch.Tensor, change: Change) -> tuple[torch.Tensor, Change]:
    """Compute a level of a reference, x (1, inputs, C), and of differences from it.

    The differences are carried, f(x + d) - f(x) of every function rearranged into a product with d,
    so that their rounding errors are those of numbers of their own size. They stay few: a changed
    base reaches 8 rows of Enformer's stem and 6 or 7 of any level above, and only these are
    computed, while the reference is computed once, however many sequences differ from it.
    """
    level = step.level
    t = pad_rows(activate(x, level.before), step.zeros_before, step.zeros_after)
    y = convolve_level(level, t)
    z = add_residual(level, y)
    rows = step.spread(change.rows)

    x_changed = _cut(x, step.inputs.start, change.rows)
    dt = _activation_change(x_changed, change.d, level.before)
    first, stop = 2 * rows.start - level.reach, 2 * rows.stop + level.reach
    dt = pad_rows(dt, change.rows.start - first, stop - change.rows.stop)
    dy = convolve(dt, level.kernel, None)

    conv_rows = range(2 * rows.start, 2 * rows.stop)
    y_changed, z_changed = (_cut(part, 2 * step.outputs.start, conv_rows) for part in (y, z))
    dz = _residual_change(level, y_changed, dy)
    out = torch.empty_like(z[:, 0::2])
    pool_into(level, z, out)
    return out, Change(_pool_change(level, z_changed, dz), rows)


def _cut(x: torch.Tensor, first: int, rows: range) -> torch.Tensor:
    """Take positions `rows` of x, whose first row is position `first`."""
    return x[:, rows.start - first : rows.stop - first]


def _activation_change(x: torch.Tensor, d: torch.Tensor, affine: Affine | None) -> torch.Tensor:
    if affine is None:
        return d
    return silu_difference(torch.addcmul(affine.shift, x, affine.scale), affine.scale * d)


def _residual_change(level: Level, y: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
    if level.residual is None:
        return dy
    return linear_add(_activation_change(y, dy, level.after), level.residual.weight, None, dy)


def _pool_change(level: Level, z: torch.Tensor, dz: torch.Tensor) -> torch.Tensor:
    pair, change = (z[:, 0::2], z[:, 1::2]), (dz[:, 0::2], dz[:, 1::2])
    if level.pool is None:
        return max_difference(pair, change)
    logit, logit_change = (linear(even - odd, level.pool) for even, odd in (pair, change))
    return pool_difference(pair, change, logit, logit_change)
