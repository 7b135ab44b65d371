"""f(x + d) - f(x) for the functions between two products, without subtracting large numbers.

Knows formulas; knows nothing of layers. Computed as written, f(x + d) - f(x) in float32 is wrong by
about |f(x)| / |d| times 6e-8: a tenth of a difference that is a millionth of its signal. Each
function here is rearranged so that its result is a product with d, or with a difference already
known, and its error is a rounding error of d itself, however small that is. The signal x is the
reference's; all arguments have the type in which the result is computed.
"""

import torch
from torch.nn.functional import softplus


def tanh_halves(z: torch.Tensor) -> torch.Tensor:
    """Compute tanh(z / 2) = 2 sigmoid(z) - 1."""
    return torch.tanh(0.5 * z)


def sigmoid_difference(z: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """Compute sigmoid(z + d) - sigmoid(z) = tanh(d/2) (1 - tanh((z+d)/2) tanh(z/2)) / 2.

    From the addition theorem of tanh and sigmoid(z) = (1 + tanh(z/2)) / 2; nothing overflows.
    """
    return 0.5 * tanh_halves(d) * (1 - tanh_halves(z + d) * tanh_halves(z))


def silu_difference(z: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """Compute silu(z + d) - silu(z) = d sigmoid(z + d) + z (sigmoid(z + d) - sigmoid(z))."""
    return torch.addcmul(d * torch.sigmoid(z + d), z, sigmoid_difference(z, d))


def relu_difference(z: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """Compute relu(z + d) - relu(z) = max(d + min(z, 0), -max(z, 0)).

    Above zero that is max(d, -z), below it max(z + d, 0): exact but for one addition.
    """
    # In as few intermediate results as can be: hidden layers are wide, and this moves memory.
    moved, floor = d + z.clamp(max=0), z.clamp(min=0).neg_()
    return torch.maximum(moved, floor, out=moved)


def softplus_difference(z: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """Compute softplus(z + d) - softplus(z) = log((1 + e^(z+d)) / (1 + e^z)).

    That is log1p(sigmoid(z) (e^d - 1)), exact for small d; where |d| > 1 its argument may come
    close to -1, but there nothing is lost by subtracting.
    """
    small = torch.log1p(torch.sigmoid(z) * torch.expm1(d.clamp(-1, 1)))
    return torch.where(d.abs() <= 1, small, softplus(z + d) - softplus(z))


def norm_difference(
    x: torch.Tensor, d: torch.Tensor, weight: torch.Tensor, eps: float
) -> torch.Tensor:
    """Compute layer_norm(x + d) - layer_norm(x) over the last axis.

    With c and e the centred x and d, s = 1 / sqrt(var(x) + eps) and s' that of x + d, it is
    weight ((c + e) s' - c s) = weight (e s' + c (s' - s)). The change of variance is
    w = mean(e (2 c + e)), and s' - s = -w s^2 s'^2 / (s + s'). s' itself is taken from x + d, as
    1 / s^2 + w would cancel where d takes most of the variance away.
    """
    c = x - x.mean(dim=-1, keepdim=True)
    e = d - d.mean(dim=-1, keepdim=True)
    s = torch.rsqrt(c.square().mean(dim=-1, keepdim=True) + eps)
    w = (e * (2 * c + e)).mean(dim=-1, keepdim=True)
    changed = torch.rsqrt((c + e).square().mean(dim=-1, keepdim=True) + eps)
    gain = -w * s.square() * changed.square() / (s + changed)
    return weight * torch.addcmul(e * changed, c, gain)


def pool_difference(
    pair: tuple[torch.Tensor, torch.Tensor],
    change: tuple[torch.Tensor, torch.Tensor],
    logit: torch.Tensor,
    logit_change: torch.Tensor,
) -> torch.Tensor:
    """Compute the change of odd + sigmoid(logit) (even - odd), the pooling of a pair (even, odd).

    odd' + sigmoid(l') (even' - odd') - ... = d_odd + sigmoid(l') (d_even - d_odd)
    + (sigmoid(l') - sigmoid(l)) (even - odd).
    """
    (even, odd), (d_even, d_odd) = pair, change
    moved = torch.addcmul(d_odd, torch.sigmoid(logit + logit_change), d_even - d_odd)
    return torch.addcmul(moved, sigmoid_difference(logit, logit_change), even - odd)


def max_difference(
    pair: tuple[torch.Tensor, torch.Tensor], change: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """Compute the change of max(even, odd) for a pair (even, odd).

    It is the change of the larger one, if that stays the larger. If the other takes over, the gap
    between them is added to or taken from the other's change.
    """
    (even, odd), (d_even, d_odd) = pair, change
    gap = even - odd
    led = gap >= 0
    kept = torch.where(led, d_even, d_odd)
    taken_over = torch.where(led, d_odd - gap, d_even + gap)
    return torch.where((gap + (d_even - d_odd) >= 0) == led, kept, taken_over)
