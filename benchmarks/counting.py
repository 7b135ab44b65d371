"""The floating-point operations of the products that torch executes, counted while it does.

Knows torch's operators for matrix products and convolutions; knows nothing of models. What is
counted is what is computed, however it came to be called: two per multiply-add, by the type of the
result. Element-wise work is not counted.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cisray.inference.fast.products import has_onednn

_aten = torch.ops.aten
# Each sums over the last axis of the operand at this place.
_SUMMED: dict[Any, int] = {_aten.mm: 0, _aten.bmm: 0, _aten.addmm: 1, _aten.baddbmm: 1}
if has_onednn():
    _SUMMED[torch.ops.mkldnn._linear_pointwise] = 0
_CONVOLUTIONS = (_aten.convolution, _aten._convolution)


class CountProducts(TorchDispatchMode):
    """Count in the length of the block: `flops` by type, such as float32."""

    def __init__(self) -> None:
        super().__init__()
        self.flops: Counter[str] = Counter()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operator, or the operators that it is made of, and count it."""
        named = dict(kwargs or {})
        packet = func.overloadpacket
        known = packet in _SUMMED or packet in _CONVOLUTIONS
        if not known and func is not torch.ops.prim.device.default:
            with self:  # linear, matmul and einsum are made of the products above
                out = func.decompose(*args, **named)
            if out is not NotImplemented:
                return out
        out = func(*args, **named)
        if packet in _SUMMED:
            self._count(out, args[_SUMMED[packet]].shape[-1])
        elif packet in _CONVOLUTIONS:
            self._count(out, args[1][0].numel())
        return out

    def _count(self, out: torch.Tensor, summed: int) -> None:
        name = str(out.dtype).removeprefix("torch.")
        self.flops[name] += 2 * out.numel() * summed
