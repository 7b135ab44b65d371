"""Devices and number formats are chosen openly, or refused in words."""

import pytest
import torch

from cisray.errors import ConfigError
from cisray.inference.precision import arithmetic, resolve_device, resolve_precision

HAS_CUDA = torch.cuda.is_available()


def test_auto_is_what_there_is() -> None:
    assert resolve_device("auto").type == ("cuda" if HAS_CUDA else "cpu")
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_precision("auto") == "float32"


@pytest.mark.parametrize("wanted", ["tpu", "mps", "meta", "", "cuda:x", "gpu", "CPU ", "xla"])
def test_what_is_no_device(wanted: str) -> None:
    with pytest.raises(ConfigError, match=r"use auto, cpu, cuda or cuda:N"):
        resolve_device(wanted)


@pytest.mark.skipif(HAS_CUDA, reason="there is a CUDA device here")
@pytest.mark.parametrize("wanted", ["cuda", "cuda:0", "cuda:3"])
def test_cuda_where_there_is_none(wanted: str) -> None:
    with pytest.raises(ConfigError, match=f"'{wanted}'.*--device cpu"):
        resolve_device(wanted)


@pytest.mark.gpu
def test_a_cuda_device_that_is_not_there() -> None:
    assert resolve_device("cuda:0").index == 0
    with pytest.raises(ConfigError, match="cuda:99"):
        resolve_device("cuda:99")


@pytest.mark.parametrize("wanted", ["float16", "tf32", "bf16", "", "FLOAT32"])
def test_what_is_no_precision(wanted: str) -> None:
    with pytest.raises(ConfigError, match=f"'{wanted}'.*float32 or bfloat16"):
        resolve_precision(wanted)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_error_inside_leaves_torch_as_it_was(precision) -> None:
    flags = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    def fail() -> None:
        with arithmetic(torch.device("cpu"), precision):
            assert torch.is_inference_mode_enabled()
            assert torch.backends.cudnn.allow_tf32 is False
            assert torch.backends.cuda.matmul.allow_tf32 is False
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == flags
    assert not torch.is_inference_mode_enabled()


def test_bfloat16_rounds_products_to_eight_bits() -> None:
    x = torch.tensor([[1 + 2**-10]])
    # 1 + 2**-10 has a bit that bfloat16, of 8 bits, does not keep; float32 keeps it.
    with arithmetic(torch.device("cpu"), "bfloat16"):
        assert (x @ torch.ones(1, 1)).item() == 1.0
    with arithmetic(torch.device("cpu"), "float32"):
        assert (x @ torch.ones(1, 1)).item() == 1 + 2**-10
