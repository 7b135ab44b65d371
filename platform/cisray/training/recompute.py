"""Activation checkpointing: less memory for a second forward pass through each block.

Knows modules; knows nothing of what is trained.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from cisray.training.batchnorm import recomputing


def recompute_activations(blocks: Iterable[nn.Module]) -> None:
    """Have each block keep only its input, and compute the rest again on the way back.

    Dropout draws the same masks again, and running statistics count the batch once. Only the
    module's `forward` is changed, so that tensors keep their names.
    """
    for block in blocks:
        # A module's call looks its `forward` up on the instance first.
        block.forward = _Recomputed(block)


class _Recomputed:
    """The forward of a block, recorded without its activations."""

    def __init__(self, block: nn.Module) -> None:
        self._forward = block.forward

    def __call__(self, *inputs: Any) -> Any:
        return checkpoint(self._forward, *inputs, use_reentrant=False, context_fn=_contexts)


def _contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Say under what the first pass and the second run."""
    return nullcontext(), recomputing()
