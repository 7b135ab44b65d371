"""Batch norm as the reference trains it: over all workers, with running means free of bias.

Knows activations and process groups; knows nothing of what a model is for. A model is put into
its training form before it is trained and back afterwards; names and shapes of its tensors are the
same in both, those of checkpoints.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

DECAY = 0.9  # of the running statistics; Sonnet's CrossReplicaBatchNorm in Enformer
MANY_BATCHES = 1_000  # by which averages have forgotten what they began with

_recomputing = ContextVar("recomputing", default=False)
Model = TypeVar("Model", bound=nn.Module)


class SonnetBatchNorm(nn.BatchNorm1d):
    """Batch norm whose statistics are those of the whole batch, on however many workers.

    Differs from torch's: the running variance is the biased one, and running statistics are
    exponential averages that are divided by the weight they have gathered, so that the first batch
    sets them and what they started from has no part in them. Sonnet keeps `hidden` and a counter t
    and gives hidden / (1 - 0.9^t); that quotient obeys average += (value - average) 0.1 /
    (1 - 0.9^t), so that it and the counter are enough: `running_mean`, `running_var` and
    `num_batches_tracked`, which every checkpoint has.
    """

    def forward(self, x_BDL: torch.Tensor) -> torch.Tensor:
        """Normalise (B, D, L) over batch and length, by running statistics in evaluation mode."""
        if not self.training:
            return super().forward(x_BDL)
        if distributed.is_initialized() and distributed.get_world_size() > 1:
            out_BDL, mean_D, var_D = _over_workers(x_BDL, self.weight, self.bias, self.eps)
        else:
            out_BDL, mean_D, var_D = self._here(x_BDL)
        if not _recomputing.get():
            self._remember(mean_D.detach(), var_D.detach())
        return out_BDL

    def _here(self, x_BDL: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Leave it to torch, whose running statistics at momentum 1 are those of the batch."""
        mean_D, var_D = torch.zeros_like(self.weight), torch.ones_like(self.weight)
        out_BDL = functional.batch_norm(
            x_BDL, mean_D, var_D, self.weight, self.bias, training=True, momentum=1.0, eps=self.eps
        )
        count = x_BDL.shape[0] * x_BDL.shape[2]
        return out_BDL, mean_D, var_D * ((count - 1) / count)

    @torch.no_grad()
    def _remember(self, mean_D: torch.Tensor, var_D: torch.Tensor) -> None:
        counter = self.get_buffer("num_batches_tracked")
        if not counter and not self._is_new():
            # Of a checkpoint that does not count batches: the first one must not replace them.
            counter.fill_(MANY_BATCHES)
        counter.add_(1)
        share = (1 - DECAY) / (1 - DECAY ** float(counter))
        self.get_buffer("running_mean").lerp_(mean_D, share)
        self.get_buffer("running_var").lerp_(var_D, share)

    def _is_new(self) -> bool:
        """Tell whether the statistics are those that a new module has, 0 and 1."""
        mean, variance = self.get_buffer("running_mean"), self.get_buffer("running_var")
        return bool((mean == 0).all() and (variance == 1).all())


class _OverWorkers(torch.autograd.Function):
    """Batch norm by the moments of all workers, which have equally large shares of the batch.

    On the way back too: every worker's loss depends on every worker's values. With N values of a
    channel on all workers, y' the gradient of the output and u the normalised input,

        x' = weight / sd (y' - sum(y') / N - u sum(y' u) / N)

    and the gradients of weight and bias are this worker's own sums, which DDP and FSDP average.
    torch's SyncBatchNorm would do, but wants CUDA.
    """

    @staticmethod
    def forward(
        ctx: Any, x_BDL: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Give the output, and mean and biased variance over all workers, float32 (D,)."""
        var_D, mean_D = torch.var_mean(x_BDL.float(), (0, 2), correction=0)
        # E[x] and E[x²]; their difference is taken in float64.
        moments = torch.stack([mean_D.double(), var_D.double() + mean_D.double().square()])
        distributed.all_reduce(moments)
        mean, square = moments / distributed.get_world_size()
        mean_D, var_D = mean.float(), (square - mean.square()).clamp_min(0).float()
        ctx.save_for_backward(x_BDL, weight, mean_D, torch.rsqrt(var_D + eps))
        ctx.eps = eps
        ctx.mark_non_differentiable(mean_D, var_D)
        out_BDL = functional.batch_norm(x_BDL, mean_D, var_D, weight, bias, eps=eps)
        return out_BDL, mean_D, var_D

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, *gradients: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        """Give the gradients of input, weight and bias."""
        x_BDL, weight, mean_D, rate_D = ctx.saved_tensors
        grad_BDL = gradients[0].contiguous()
        # torch's own sums over this worker's share; its gradient of the input is left out.
        _, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            grad_BDL, x_BDL, weight, None, None, mean_D, rate_D, True, ctx.eps, [False, True, True]
        )
        sums = torch.stack([by_bias, by_weight])
        distributed.all_reduce(sums)
        count = x_BDL.shape[0] * x_BDL.shape[2] * distributed.get_world_size()
        of_bias, of_weight = sums / count
        scale, slope = weight * rate_D, -weight * rate_D.square() * of_weight
        shift = -scale * of_bias - slope * mean_D
        by_input = torch.addcmul(shift[:, None], x_BDL.float(), slope[:, None])
        by_input.addcmul_(grad_BDL.float(), scale[:, None])
        return by_input.to(x_BDL.dtype), by_weight, by_bias, None


def _over_workers(
    x_BDL: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    found: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = _OverWorkers.apply(  # type: ignore[no-untyped-call]  # torch's
        x_BDL, weight, bias, eps
    )
    return found


@contextmanager
def recomputing() -> Iterator[None]:
    """Mark a second pass over the same batch, which running statistics must not count again."""
    token = _recomputing.set(True)
    try:
        yield
    finally:
        _recomputing.reset(token)


def training_form(model: Model) -> Model:
    """Put SonnetBatchNorm in the place of every batch norm, in place and with the same tensors."""
    return _swapped(model, nn.BatchNorm1d, SonnetBatchNorm)


def inference_form(model: Model) -> Model:
    """Put torch's batch norm back, in place and with the same tensors."""
    return _swapped(model, SonnetBatchNorm, nn.BatchNorm1d)


def _swapped(model: Model, old: type[nn.BatchNorm1d], new: type[nn.BatchNorm1d]) -> Model:
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is old:
                parent.register_module(name, _as(child, new))
    return model


def _as(norm: nn.BatchNorm1d, kind: type[nn.BatchNorm1d]) -> nn.BatchNorm1d:
    """Give a batch norm of another kind that has the same tensors, not copies of them."""
    with torch.device("meta"):
        other = kind(norm.num_features, eps=norm.eps)
    other._parameters.update(norm._parameters)
    other._buffers.update(norm._buffers)
    return other.train(norm.training)
