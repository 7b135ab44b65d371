"""Products on channels-last data, held to torch's own channels-first convolution in float64."""

import pytest
import torch
from torch.nn import functional

from cisray.inference.fast.products import convolve, linear, linear_add, linear_sigmoid
from cisray.inference.precision import arithmetic


@pytest.fixture(autouse=True)
def plain_float32():
    with arithmetic(torch.device("cpu"), "float32"):
        yield


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(("lanes", "rows"), [(1, 1), (3, 40), (1, 1024), (2, 513), (1, 2000)])
def test_convolutions(
    lanes: int, rows: int, with_bias: bool, layout: torch.memory_format, dtype: torch.dtype
) -> None:
    x, kernel, bias = numbers(lanes, rows + 4, 12), numbers(7, 12, 1, 5), numbers(7)
    x, kernel, bias = (part.to(dtype) for part in (x, kernel, bias))
    chosen = bias if with_bias else None
    ours = convolve(x, kernel.contiguous(memory_format=layout), chosen)
    wide = None if chosen is None else chosen.double()
    theirs = functional.conv1d(x.double().transpose(1, 2), kernel[:, :, 0].double(), wide)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours.double(), theirs.transpose(1, 2), rtol=0, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_linear_maps(dtype: torch.dtype) -> None:
    x, weight, bias = numbers(2, 30, 12), numbers(7, 12), numbers(7)
    other = numbers(2, 30, 7)
    wide = x.double() @ weight.double().T
    ours = [part.to(dtype) for part in (x, weight, bias, other)]
    x, weight, bias, other = ours
    for got, expected in (
        (linear(x, weight, bias), wide + bias.double()),
        (linear_add(x, weight, bias, other), wide + bias.double() + other.double()),
        (linear_add(x, weight, None, other), wide + other.double()),
        (linear_sigmoid(x, weight), 1 / (1 + torch.exp(-wide))),
    ):
        assert got.dtype == dtype
        torch.testing.assert_close(got.double(), expected, rtol=0, atol=2e-5)
