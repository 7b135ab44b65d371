"""Devices and number formats of a prediction, chosen openly.

Knows what a device can do; knows nothing of models.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from cisray.errors import ConfigError

Precision = Literal["float32", "bfloat16"]


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
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"Unknown device {wanted!r}: use auto, cpu, cuda or cuda:N.")
    return device


def resolve_precision(wanted: str) -> Precision:
    """Turn `auto` into a precision: float32, until a faster one is proven for the purpose."""
    if wanted == "auto":
        return "float32"
    if wanted not in ("float32", "bfloat16"):
        raise ConfigError(f"Unknown precision {wanted!r}: use auto, float32 or bfloat16.")
    return "bfloat16" if wanted == "bfloat16" else "float32"


@contextmanager
def arithmetic(device: torch.device, precision: Precision) -> Iterator[None]:
    """Run the body in inference mode with the chosen products, and leave torch as it was.

    float32 means float32: TensorFloat-32, which cuDNN convolutions use by default and which
    keeps ten bits, is off. bfloat16 rounds the inputs of products and keeps the rest in float32.
    """
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"),
        ):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.backends.cuda.matmul.allow_tf32 = products
