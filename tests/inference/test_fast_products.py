"""Products on channels-last data, held to torch's own channels-first convolution in float64."""

import os
import subprocess
import sys

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


_OTHER_CPU = """
import numpy as np, torch
from cisray.inference.effects import PlainEffects
from cisray.inference.fast.effects import DeltaEffects
from cisray.inference.fast.predictor import FastPredictor
from cisray.model.enformer.config import EnformerConfig
from cisray.model.enformer.initialise import initialise
from cisray.model.enformer.network import Enformer
from cisray_jobs.models import SIZES

model = initialise(Enformer(SIZES["tiny"]), 1, randomise_all=True).eval()
codes = np.random.default_rng(0).integers(0, 4, (2, 4096)).astype(np.uint8)
cpu, tracks = torch.device("cpu"), model.tracks["human"]
exact, rounded = (
    FastPredictor(model, tracks, device=cpu, precision=kind).predict(codes)
    for kind in ("float32", "bfloat16")
)
assert np.abs(rounded / exact - 1).max() < 0.1
codes[1] = codes[0]
codes[1, 2000] ^= 1
delta, plain = (
    effects.open(codes[0]).differences(codes[1:])
    for effects in (
        DeltaEffects(model, tracks, device=cpu, precision="bfloat16"),
        PlainEffects(model, tracks, device=cpu),
    )
)
assert (delta - plain).norm() < 0.05 * plain.norm()
"""


@pytest.mark.long
def test_a_cpu_whose_onednn_refuses_bfloat16() -> None:
    """oneDNN is told to believe that it runs on an older CPU, which it asks once per process."""
    path = os.pathsep.join(sys.path)
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", _OTHER_CPU],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
