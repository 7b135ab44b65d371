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
            out_BDL, mean_D, var_D = self._over_workers(x_BDL)
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

    def _over_workers(self, x_BDL: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Average E[x] and E[x²] over workers, which have equally large shares of the batch."""
        x = x_BDL.float()
        moments = _sum_over_workers(torch.stack([x.mean((0, 2)), (x * x).mean((0, 2))]))
        mean_D, square_D = moments / distributed.get_world_size()
        var_D = square_D - mean_D * mean_D
        scale_D = self.weight * torch.rsqrt(var_D + self.eps)
        shift_D = self.bias - mean_D * scale_D
        return (x * scale_D[:, None] + shift_D[:, None]).to(x_BDL.dtype), mean_D, var_D

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


class _SumOverWorkers(torch.autograd.Function):
    """A sum over all workers, of values and, on the way back, of gradients.

    Every worker's loss depends on every worker's values. torch's SyncBatchNorm would do, but wants
    CUDA.
    """

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        """Sum values."""
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        """Sum gradients."""
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total


def _sum_over_workers(values: torch.Tensor) -> torch.Tensor:
    total: torch.Tensor = _SumOverWorkers.apply(values)  # type: ignore[no-untyped-call]  # torch's
    return total


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
