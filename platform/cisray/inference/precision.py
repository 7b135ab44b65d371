"""Devices and number formats of a prediction, chosen openly.

Knows what a device can do; knows nothing of models.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.overrides import TorchFunctionMode

from cisray.errors import ConfigError

Precision = Literal["float32", "bfloat16"]
Purpose = Literal["tracks", "effects", "gradients"]

_NATIVE_BFLOAT16 = (8, 0)  # CUDA's compute capability since Ampere
# torch keeps what it knows of a CPU under private names; one that is gone counts as a no.
_CPU_BFLOAT16 = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


@dataclass(frozen=True, slots=True)
class PrecisionChoice:
    """The number format of products, and why."""

    precision: Precision
    reason: str


def resolve_device(wanted: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:1` into a device; ConfigError if it is not there."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise ConfigError(f"Unknown device {wanted!r}: use auto, cpu, cuda or cuda:N.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"Device {wanted!r} was asked for, but torch {torch.__version__} sees no CUDA device "
            "here. Use --device cpu, or install a CUDA build of torch and check the driver."
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"Device {wanted!r} was asked for, but there are {torch.cuda.device_count()} CUDA "
            "devices here, counted from cuda:0."
        )
    if device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index is not None):
        raise ConfigError(f"Unknown device {wanted!r}: use auto, cpu, cuda or cuda:N.")
    return device


def multiplies_bfloat16(device: torch.device) -> bool:
    """Tell whether a device of this machine has instructions for products of bfloat16."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= _NATIVE_BFLOAT16
    probes = (getattr(torch.cpu, name, None) for name in _CPU_BFLOAT16)
    return any(bool(probe()) for probe in probes if probe is not None)


def choose_precision(
    wanted: str, device: torch.device, purpose: Purpose, *, here: bool = True
) -> PrecisionChoice:
    """Turn `auto` into a precision by device and purpose, and say why.

    For tracks: float32 everywhere. How far bfloat16 moves a track depends on the weights and is not
    proven small, so that it has to be asked for. For effects, where bfloat16 means the products of
    differences alone and its error is relative to the effect: bfloat16 wherever it is multiplied
    natively. Gradients are float32: there are none in bfloat16. `here` is False for devices of
    other machines, which are not asked: a CUDA device is then taken for one that multiplies
    bfloat16, a CPU for one that does not, so that the choice follows from the options alone. Raises
    ConfigError for an unknown name, and for gradients in bfloat16.
    """
    if purpose == "gradients" and wanted == "bfloat16":
        raise ConfigError(
            "Gradients are computed in float32 only, and bfloat16 was asked for: leave the "
            "precision out, or use float32."
        )
    if wanted in ("float32", "bfloat16"):
        return PrecisionChoice("bfloat16" if wanted == "bfloat16" else "float32", "as asked for")
    if wanted != "auto":
        raise ConfigError(f"Unknown precision {wanted!r}: use auto, float32 or bfloat16.")
    if purpose == "tracks":
        return PrecisionChoice("float32", "auto, for tracks: bfloat16 has to be asked for")
    if purpose == "gradients":
        return PrecisionChoice("float32", "auto, for gradients: there is no other")
    if here:
        native = multiplies_bfloat16(device)
        told = f"the {device.type} here {'multiplies' if native else 'does not multiply'} bfloat16"
    else:
        native = device.type == "cuda"
        told = f"{device.type} elsewhere is taken {'' if native else 'not '}to multiply bfloat16"
    return PrecisionChoice(
        "bfloat16" if native else "float32", f"auto, for {purpose}: {told} in hardware"
    )


_WITH_BIAS: Mapping[Callable[..., torch.Tensor], int] = {
    # Each takes (input, weight, bias, ...); the number is that of the axes after the channels.
    torch.conv1d: 1,
    torch.conv2d: 2,
    torch.nn.functional.linear: 0,
}
_PRODUCTS = {*_WITH_BIAS, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__}


class Bfloat16Products(TorchFunctionMode):
    """Round what goes into and comes out of every product to bfloat16, and nothing else.

    Products are convolutions, linear maps and matrix products of float32. Their sums are
    accumulated in float32, biases are added in float32 afterwards, and whatever lies between two
    products (norms, activations, softmax, residuals) is computed in float32.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute a product in bfloat16, or any other function as it is."""
        named = dict(kwargs or {})
        if func not in _PRODUCTS or any(x.dtype != torch.float32 for x in args[:2]):
            return func(*args, **named)
        left, right, *more = args
        left, right = left.bfloat16(), right.bfloat16()
        if func not in _WITH_BIAS:
            return func(left, right, *more, **named).float()
        bias = more[0] if more else named.pop("bias", None)
        product = func(left, right, None, *more[1:], **named).float()
        return product if bias is None else product + _channels(bias, _WITH_BIAS[func])


def _channels(bias: torch.Tensor, axes_after: int) -> torch.Tensor:
    return bias.reshape(-1, *[1] * axes_after)


@contextmanager
def arithmetic(device: torch.device, precision: Precision) -> Iterator[None]:
    """Run the body in inference mode with the chosen products, and leave torch as it was.

    float32 means float32, whatever the caller has set: TensorFloat-32, which keeps ten bits and
    which cuDNN's convolutions use by default, and oneDNN's bfloat16 are off. bfloat16 means that
    products take and give eight significant bits, and that the rest is float32: enough for
    tracks, not for effects of variants, which are small differences of large numbers.
    """
    products = Bfloat16Products() if precision == "bfloat16" else nullcontext()
    with _ieee_products(), torch.inference_mode(), products:
        yield


@contextmanager
def differentiable() -> Iterator[None]:
    """Run the body in float32 with autograd recording, and leave torch as it was.

    float32 means what it means in `arithmetic`. Nothing that is computed here is an inference
    tensor, which autograd refuses to save, also where the caller is in inference mode.
    """
    with _ieee_products(), torch.inference_mode(mode=False), torch.enable_grad():
        yield


def _settings() -> tuple[Any, ...]:
    """List the holders of `fp32_precision`, one for each library and kind of product."""
    backends: Any = torch.backends  # objects that take their modules' places at import
    return (
        backends.cudnn.conv,
        backends.cuda.matmul,
        backends.mkldnn.conv,
        backends.mkldnn.matmul,
    )


@contextmanager
def _ieee_products() -> Iterator[None]:
    """Switch off every short cut for float32 products for the length of the block."""
    settings = _settings()
    found = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "ieee"
        yield
    finally:
        for setting, before in zip(settings, found, strict=True):
            setting.fp32_precision = before
