"""One model on several workers: whole on each (DDP), or in pieces (FSDP2).

Knows torch's process groups, if there is one; knows nothing of who started them. Without a process
group every function does what one worker would.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

Strategy = Literal["ddp", "fsdp2"]


def has_group() -> bool:
    """Tell whether there are other workers."""
    return distributed.is_initialized() and distributed.get_world_size() > 1


def spread(model: nn.Module, strategy: Strategy, blocks: Iterable[nn.Module]) -> nn.Module:
    """Make workers train one model together; gradients are averaged over them.

    `blocks` are the parts that FSDP2 gathers one at a time. With DDP the result is another module
    around the model (`bare` undoes that), with FSDP2 the model itself.
    """
    if not has_group():
        return model
    if strategy == "ddp":
        # The other head's parameters have no gradient; batch norms agree on statistics themselves.
        return DistributedDataParallel(model, find_unused_parameters=True, broadcast_buffers=False)
    mesh = init_device_mesh(_device(model).type, (distributed.get_world_size(),))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def bare(model: nn.Module) -> nn.Module:
    """Give the model itself."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def without_exchange(model: nn.Module) -> AbstractContextManager[None]:
    """Keep DDP from averaging gradients of all but the last micro-batch of a step."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def summed(values: torch.Tensor) -> torch.Tensor:
    """Add up a tensor over workers."""
    if has_group():
        values = values.clone()
        distributed.all_reduce(values)
    return values


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Gather a tensor that lies in pieces on all workers; all must call."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
