"""Adam as Sonnet has it, the warm-up, and clipping by the global norm.

Knows parameters and gradients; knows no model and no loss.
"""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch.optim import Optimizer

from cisray.training.parallel import whole

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class SonnetAdam(Optimizer):
    """Adam with one step counter for all parameters, which skips those without a gradient.

    torch's Adam counts the steps of each parameter by itself. Where heads take turns, a head's
    bias correction then lags: after eight steps its weights are 2e-4 off, at a learning rate of
    5e-4. Moments are there from the start, so that a checkpoint always holds the same tensors.
    Source: sonnet/src/optimizers/adam.py; no weight decay.
    """

    def __init__(self, params: Iterable[torch.nn.Parameter], lr: float = 5e-4) -> None:
        super().__init__(params, {"lr": lr})
        self.steps = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter] = {
                    "m": torch.zeros_like(parameter),
                    "v": torch.zeros_like(parameter),
                }

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every parameter that has a gradient; all count the step."""
        if closure is not None:
            raise ValueError("SonnetAdam computes no gradients: call it after backward()")
        self.steps += 1
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            if moved:
                _move(moved, [self.state[p] for p in moved], group["lr"], self.steps)
        return None


def _move(
    parameters: list[torch.Tensor], states: list[dict[str, Any]], lr: float, step: int
) -> None:
    """Move m and v towards the gradient and its square, then the parameters against m/sqrt(v)."""
    beta1, beta2 = BETAS
    gradients = [p.grad for p in parameters if p.grad is not None]
    m, v = [s["m"] for s in states], [s["v"] for s in states]
    torch._foreach_lerp_(m, gradients, 1 - beta1)
    torch._foreach_mul_(v, beta2)
    torch._foreach_addcmul_(v, gradients, gradients, 1 - beta2)
    scale = torch._foreach_div(v, 1 - beta2**step)
    torch._foreach_sqrt_(scale)
    torch._foreach_add_(scale, EPSILON)
    torch._foreach_addcdiv_(parameters, m, scale, -lr / (1 - beta1**step))


def warmed_up(peak: float, round_: int, warmup_rounds: int) -> float:
    """Give the learning rate of a round, counted from 0: a straight rise to `peak`, then `peak`.

    A round is a step of every head. The first has a share of the peak already; the published
    notebook gives it 0, which changes nothing but the moments.

    >>> [warmed_up(5e-4, i, 4) for i in range(5)]
    [0.000125, 0.00025, 0.000375, 0.0005, 0.0005]
    """
    return peak * min(1.0, (round_ + 1) / warmup_rounds) if warmup_rounds else peak


@torch.no_grad()
def clip_global_norm(parameters: Iterable[torch.Tensor], limit: float | None) -> float:
    """Scale all gradients by limit / max(norm, limit), and return the norm that they had.

    The norm is that of all gradients taken as one vector, also where each worker holds a part of
    them. Source: tf.clip_by_global_norm; torch's own adds 1e-6 to the norm. None only measures.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return 0.0
    norm = float(whole(torch.nn.utils.get_total_norm(gradients)))
    if limit is not None and norm > limit:
        torch._foreach_mul_(gradients, limit / norm)
    return norm
