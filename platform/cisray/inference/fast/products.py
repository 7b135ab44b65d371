"""Matrix products and convolutions on channels-last data, by whichever library is fastest.

Knows torch's backends; knows nothing of layers. float32 products of a CPU go through oneDNN: torch
gives them to MKL, which on processors that are not Intel's runs at half the speed (measured in
benchmarks/fast_engine.py). oneDNN is told to compute in IEEE float32 by `precision.arithmetic`.
"""

from typing import Any

import torch
from torch.nn import functional

# With so few rows a convolution is mostly the reading of its kernel, which torch's paths rearrange
# on every call; as one product of unrolled rows it took a quarter to four fifths of the time.
_FEW_ROWS = 1024
# Channels times width up to which unrolling a convolution on a GPU costs little memory.
_NARROW = 128


def has_onednn() -> bool:
    """Tell whether this build of torch has oneDNN and the fused linear map of its compiler."""
    mkldnn: Any = torch.backends.mkldnn  # its functions are not annotated
    return bool(mkldnn.is_available()) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _types() -> tuple[torch.dtype, ...]:
    """List the types that oneDNN takes here: without AVX-512 or its like it refuses bfloat16."""
    if not has_onednn():
        return ()
    takes_bfloat16 = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    return (torch.float32, torch.bfloat16) if takes_bfloat16() else (torch.float32,)


_ONEDNN: Any = torch.ops.mkldnn
_ONEDNN_TYPES = _types()


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Map the last axis of x (..., I) with a weight (O, I) to (..., O)."""
    if _by_onednn(x):
        out: torch.Tensor = _ONEDNN._linear_pointwise(x, weight, bias, "none", [], "")
        return out
    return functional.linear(x, weight, bias)


def linear_add(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, other: torch.Tensor
) -> torch.Tensor:
    """Compute `linear(x, weight, bias) + other`, in one sweep where the library can."""
    if _by_onednn(x) and other.dtype == x.dtype:
        out: torch.Tensor = _ONEDNN._linear_pointwise.binary(x, other, weight, bias, "add")
        return out
    return linear(x, weight, bias).add_(other)


def linear_sigmoid(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Compute `sigmoid(linear(x, weight))`, in one sweep where the library can."""
    if _by_onednn(x):
        out: torch.Tensor = _ONEDNN._linear_pointwise(x, weight, None, "sigmoid", [], "")
        return out
    return linear(x, weight).sigmoid_()


def convolve(x_BLC: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Convolve without padding: x_BLC (B, L, C) with a kernel (O, C, 1, W) to (B, L - W + 1, O).

    The kernel is best kept in torch's channels-last format. As a two-dimensional convolution over
    images of height one, because only those have a channels-last path, which needs no copy; few
    rows, as one product.
    """
    width = kernel.shape[-1]
    count = x_BLC.shape[1] - width + 1
    if _by_onednn(x_BLC) and len(x_BLC) * count <= _FEW_ROWS:
        unrolled = torch.cat([x_BLC[:, at : at + count] for at in range(width)], dim=-1)
        return linear(unrolled, kernel.permute(0, 2, 3, 1).reshape(len(kernel), -1), bias)
    if x_BLC.device.type == "cuda" and x_BLC.dtype != torch.bfloat16:
        return _convolve_by_products(x_BLC, kernel, bias)
    image = x_BLC.transpose(1, 2)[:, :, None, :]
    out = functional.conv2d(image, kernel, bias)
    return out[:, :, 0, :].transpose(1, 2)


def _convolve_by_products(
    x_BLC: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """Convolve as one matrix product for each place of the kernel, added up.

    cuDNN's float32 convolutions reach half the speed of cuBLAS's products when TensorFloat-32 is
    off (benchmarks/gpu_engine.py). A kernel over few channels, as the stem's, is unrolled.
    """
    lanes, length, channels = x_BLC.shape
    outputs, width = kernel.shape[0], kernel.shape[-1]
    count = length - width + 1
    if channels * width <= _NARROW:
        unrolled = x_BLC.unfold(1, width, 1).flatten(2)
        return functional.linear(unrolled, kernel.reshape(outputs, -1), bias)
    taps = kernel[:, :, 0].permute(2, 1, 0)  # (W, C, O)
    start = x_BLC.new_zeros(outputs) if bias is None else bias
    out = torch.baddbmm(start, x_BLC[:, :count], taps[0].expand(lanes, -1, -1))
    for at in range(1, width):
        out.baddbmm_(x_BLC[:, at : at + count], taps[at].expand(lanes, -1, -1))
    return out


def cross(a_GXC: torch.Tensor, b_GYC: torch.Tensor) -> torch.Tensor:
    """Multiply the rows of a (G, X, C) with those of b (G, Y, C): a b^T, (G, X, Y)."""
    if len(a_GXC) == 1:
        return linear(a_GXC[0], b_GYC[0])[None]
    return a_GXC @ b_GYC.mT


def _by_onednn(x: torch.Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in _ONEDNN_TYPES
