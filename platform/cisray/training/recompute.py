"""Activation checkpointing: less memory for computing parts of each block a second time.

Knows modules; knows nothing of what is trained.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from cisray.training.batchnorm import recomputing

# What is computed a second time on the way back: nothing; what costs little, which is all but
# convolutions and linear maps; everything but each block's input.
Recompute = Literal["none", "light", "full"]

Contexts = Callable[[], tuple[AbstractContextManager[Any], AbstractContextManager[Any]]]
_KEPT = {
    torch.ops.aten.convolution.default,
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
}


def recompute_activations(blocks: Iterable[nn.Module], how: Recompute) -> None:
    """Have each block keep less than autograd would, and compute the rest again on the way back.

    Dropout draws the same masks again, and running statistics count the batch once. Only the
    module's `forward` is changed, so that tensors keep their names.
    """
    if how == "none":
        return
    contexts = _light if how == "light" else _full
    for block in blocks:
        # A module's call looks its `forward` up on the instance first.
        block.forward = _Recomputed(block, contexts)


class _Recomputed:
    """The forward of a block, recorded without its activations."""

    def __init__(self, block: nn.Module, contexts: Contexts) -> None:
        self._forward = block.forward
        self._contexts = contexts

    def __call__(self, *inputs: Any) -> Any:
        return checkpoint(self._forward, *inputs, use_reentrant=False, context_fn=self._contexts)


def _full() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Say under what the first pass and the second run."""
    return nullcontext(), recomputing()


def _light() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    first, second = create_selective_checkpoint_contexts(_policy)  # type: ignore[no-untyped-call]  # torch's
    return first, _both(second, recomputing())


@contextmanager
def _both(outer: AbstractContextManager[Any], inner: AbstractContextManager[Any]) -> Iterator[None]:
    with outer, inner:
        yield


def _policy(context: Any, operation: Any, *inputs: Any, **named: Any) -> CheckpointPolicy:
    """Keep products whose operands are weights; attention's own grow with the square of tokens."""
    kept = operation in _KEPT
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE
