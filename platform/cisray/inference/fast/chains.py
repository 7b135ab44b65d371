"""Chains of element-wise steps between two products, as one kernel where a device gains from it.

Knows torch.compile and which devices profit; knows no formula. A GPU spends most of an alternate's
time reading and writing what lies between products: a compiled chain does so once
(docs/decisions/0011, benchmarks/gpu_engine.py). On a CPU rows are taken a few at a time, which stay
in its cache from one step to the next, and the chain is run as it is written.
"""

import logging
from collections.abc import Callable
from functools import cache, wraps
from importlib.util import find_spec
from typing import ParamSpec, TypeVar

import torch

_LOG = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")


def fused(chain: Callable[P, R]) -> Callable[P, R]:
    """Compile a function of tensors for devices that gain; the first argument is a tensor there.

    What is compiled computes the same function; sums may be taken in another order.
    """

    @cache
    def compiled() -> Callable[P, R]:
        # Lengths differ from call to call; loading the compiler waits until it is used.
        found: Callable[P, R] = torch.compile(chain, dynamic=True)
        return found

    @wraps(chain)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        first = args[0]
        gains = isinstance(first, torch.Tensor) and compiles(first.device.type)
        return (compiled() if gains else chain)(*args, **kwargs)

    return run


@cache
def compiles(device_type: str) -> bool:
    """Tell whether chains are compiled on a kind of device, and say so once."""
    if device_type != "cuda":
        return False
    has_compiler = find_spec("triton") is not None
    _LOG.info(
        "chains between products: %s",
        "compiled by torch.compile" if has_compiler else "as they are, since there is no triton",
    )
    return has_compiler
