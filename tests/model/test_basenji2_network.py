"""Basenji2's layers: order, reach, cropping, initial weights, and how it learns."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from cisray.model.basenji2.config import Basenji2Config, dilation_rates
from cisray.model.basenji2.initialise import initialise
from cisray.model.basenji2.layers import ConvBlock
from cisray.model.basenji2.network import Basenji2
from cisray.model.registry import new_network

SMALL = Basenji2Config(
    stem_channels=6,
    tower_channels=(6, 8),
    residual_channels=5,
    dilations=(1, 2),
    final_channels=10,
    input_bp=128,
    target_bins=8,
    heads={"human": 3, "mouse": 2},
)


@pytest.fixture
def model() -> Basenji2:
    return initialise(Basenji2(SMALL), 3, randomise_all=True).eval()


def onehot(batch: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 4, (batch, SMALL.input_bp), generator=generator)
    return functional.one_hot(codes, 4).float()


def test_the_order_of_a_block() -> None:
    block = ConvBlock(SMALL, 2, 3, 3, dilation=2).eval()
    with torch.no_grad():
        block.norm.running_mean.copy_(torch.tensor([0.1, 0.2, 0.3]))
        block.norm.running_var.copy_(torch.tensor([1.0, 2.0, 3.0]))
        x = torch.randn(1, 2, 9)
        gelu = x * torch.sigmoid(1.702 * x)
        expected = functional.conv1d(gelu, block.conv.weight, padding=2, dilation=2)
        shift = block.norm.running_mean[:, None]
        expected = (expected - shift) / torch.sqrt(block.norm.running_var[:, None] + 1e-3)
        torch.testing.assert_close(block(x), expected)


@torch.no_grad()
def test_a_base_reaches_the_bins_around_it_and_no_others(model: Basenji2) -> None:
    # In tokens: residual blocks reach 1 + 2 on each side. Below them the stem reaches 7 bases and
    # the tower 2 pooled positions twice: 7 + 2 * 2 + 2 * 4 = 19 bases, three tokens of 8.
    before = onehot()
    for base, token in ((64, 8), (71, 8), (55, 6)):
        after = before.clone()
        after[0, base] = after[0, base].roll(1)
        moved = (model(after) != model(before)).any(-1)[0].nonzero().flatten() + SMALL.crop_bins
        assert moved.min() >= token - 3 - 3
        assert moved.max() <= token + 3 + 3
        assert token in moved


@torch.no_grad()
def test_the_crop_is_centred(model: Basenji2) -> None:
    wide = Basenji2(SMALL.model_copy(update={"target_bins": 16}))
    wide.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(onehot()), wide.eval()(onehot())[:, 4:12])


@torch.no_grad()
def test_heads_share_the_trunk(model: Basenji2) -> None:
    embedded = model.embed(onehot(2))
    assert embedded.shape == (2, 8, 10)
    for head, tracks in SMALL.heads.items():
        assert model(onehot(2), head).shape == (2, 8, tracks)
        torch.testing.assert_close(model(onehot(2), head), model._heads[head](embedded))


def test_fresh_weights_follow_the_rules() -> None:
    config = SMALL.model_copy(update={"stem_channels": 200, "residual_channels": 300})
    fresh = initialise(Basenji2(config), 1)
    # he_normal: a deviation of sqrt(2 / fan_in), cut at two deviations of the untruncated normal.
    weight = fresh.stem.conv.weight.detach()
    sigma = math.sqrt(2 / (15 * 4))
    assert weight.std() == pytest.approx(sigma, rel=0.03)
    assert weight.abs().max() <= 2 * sigma / 0.8796
    for block in fresh.residual:
        assert not block.widen.norm.weight.any()
        assert (block.narrow.norm.weight == 1).all()
    x_BDK = torch.randn(2, 8, 16)
    torch.testing.assert_close(fresh.residual.eval()(x_BDK), x_BDK)
    again = new_network(config, 1).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in fresh.state_dict().items())


def test_a_generic_loop_trains_it() -> None:
    torch.manual_seed(0)
    model = initialise(Basenji2(SMALL), 5).train()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    # Stem, two of the tower, two of each residual block, the last block.
    assert len(norms) == 1 + 2 + 2 * 2 + 1
    data, target = onehot(4), torch.rand(4, 8, 3, generator=torch.Generator().manual_seed(1)) * 4
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = functional.poisson_nll_loss(model(data, "human"), target, log_input=False)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.1
    assert all(norm.num_batches_tracked == 30 for norm in norms)
    assert model._heads["mouse"][0].weight.grad is None


def test_running_statistics_keep_nine_tenths() -> None:
    block = ConvBlock(SMALL, 2, 1, 1).train()
    x = torch.randn(3, 2, 50, generator=torch.Generator().manual_seed(2))
    block(x)
    convolved = block.conv(block.activation(x))
    torch.testing.assert_close(block.norm.running_mean, 0.1 * convolved.mean().reshape(1))


@pytest.mark.parametrize(
    ("rounded", "rates"),
    # Unrounded: 1, 1.5, 2.25, 3.375, 5.06; rounded, half to even: 1, 2, 3, 4 (of 4.5), 6.
    [(False, (1, 2, 2, 3, 5)), (True, (1, 2, 3, 4, 6))],
)
def test_dilation_rates(rounded: bool, rates: tuple[int, ...]) -> None:
    assert dilation_rates(1.5, 5, rounded=rounded) == rates
