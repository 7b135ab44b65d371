"""Differences through the transformer, held to subtraction in float64."""

import copy

import pytest
import torch
from small_enformers import (
    BINS,
    CROP,
    TOKENS,
    folded,
    plain_tracks,
    small_enformer,
    small_enformer_64,
)

from cisray.inference.fast import delta as delta_module
from cisray.inference.fast import transformer as module
from cisray.inference.fast.delta import LARGEST_RISE, DeltaTransformer
from cisray.inference.fast.reference import ReferencePass
from cisray.inference.fast.transformer import Transformer
from cisray.inference.fast.weights import round_block, round_tail
from cisray.inference.precision import arithmetic

CPU = torch.device("cpu")
F32, F64, BF16 = torch.float32, torch.float64, torch.bfloat16


@pytest.fixture(autouse=True)
def plain_float32():
    with arithmetic(CPU, "float32"):
        yield


def draw(seed: int, lanes: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(lanes, TOKENS, 48, generator=generator, dtype=F64)


@pytest.fixture
def x_KD() -> torch.Tensor:
    return 0.3 + draw(4)[0]


@pytest.fixture
def few() -> torch.Tensor:
    """Two lanes that change five or one token, at a border of chunks and at the last token."""
    d = draw(5, 2)
    d[0, :254] = d[0, 259:] = 0
    d[1, :-1] = 0
    return 0.1 * d


def differences(
    model, x_KD, d_BKD, *, products=None, bins: range = range(BINS), cache_bytes: int = 10**9
):
    """Through a model in its own type, products in a lower one if asked for."""
    blocks, tail = folded(model)
    wide = blocks[0].query.dtype
    reference = ReferencePass(Transformer(blocks, tail), products or wide, cache_bytes)
    reference.run(x_KD.to(wide), range(CROP + bins.start, CROP + bins.stop))
    carried = DeltaTransformer(
        [round_block(block, products or wide) for block in blocks],
        round_tail(tail, products or wide),
    )
    return carried.differences(reference, d_BKD.to(wide))


def subtracted(model, x_KD, d_BKD, bins: range = range(BINS)) -> torch.Tensor:
    return plain_tracks(model, x_KD + d_BKD, bins) - plain_tracks(model, x_KD[None], bins)


def error(ours: torch.Tensor, truth: torch.Tensor) -> float:
    """Relative to the difference's own norm; the worst lane."""
    return float(((ours - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)).max())


@pytest.mark.parametrize("at_once", ["one head", "all heads"])
@pytest.mark.parametrize("rows", [256, 31])
@pytest.mark.parametrize("bins", [range(BINS), range(3, 4), range(200, BINS)])
def test_the_algebra_is_exact(x_KD, few, bins, rows: int, at_once, monkeypatch) -> None:
    monkeypatch.setattr(module, "CPU_ROWS", rows)
    if at_once == "all heads":
        for each in (module, delta_module):
            monkeypatch.setattr(each, "head_groups", lambda heads, device: [slice(0, heads)])
    model = small_enformer_64()
    found = differences(model, x_KD, few, bins=bins)
    assert found.difference_BNT.shape == (2, len(bins), 12)
    assert error(found.difference_BNT, subtracted(model, x_KD, few, bins)) < 1e-10
    assert (found.rise_B < 20).all()


@pytest.mark.parametrize("size", [1e-4, 1e-2, 1.0, 4.0])
def test_the_algebra_is_exact_for_changes_of_every_token(x_KD, size: float) -> None:
    model, d_BKD = small_enformer_64(), size * draw(6)
    found = differences(model, x_KD, d_BKD)
    # Subtraction is the less exact of the two: 1e-16 of the signal, 1e-11 of the smallest here.
    assert error(found.difference_BNT, subtracted(model, x_KD, d_BKD)) < 1e-10


@pytest.mark.parametrize("products", [F32, BF16])
@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-6, 1e-9])
def test_the_error_is_relative_to_the_difference(x_KD, few, size: float, products) -> None:
    truth = differences(small_enformer_64(), x_KD, size * few).difference_BNT
    ours = differences(small_enformer(), x_KD, size * few, products=products).difference_BNT
    assert ours.dtype == F32
    assert error(ours, truth) < {F32: 1e-4, BF16: 0.02}[products]


def test_no_difference_is_exactly_none(x_KD) -> None:
    for products in (F32, BF16):
        nothing = torch.zeros(1, TOKENS, 48)
        found = differences(small_enformer(), x_KD, nothing, products=products)
        assert not found.difference_BNT.any()
        assert found.rise_B.tolist() == [0]


def test_the_way_back_is_the_opposite(x_KD, few) -> None:
    model = small_enformer_64()
    there = differences(model, x_KD, few[:1]).difference_BNT
    back = differences(model, x_KD + few[0], -few[:1]).difference_BNT
    assert error(-back, there) < 1e-11


@pytest.mark.parametrize("products", [F32, BF16])
def test_lanes_do_not_see_each_other(x_KD, few, products) -> None:
    """Products over rows of several lanes may be cut into other blocks, and rounded anew."""
    changed_BKD = torch.cat([few, draw(9)])
    d_BKD = torch.cat([changed_BKD, torch.zeros_like(few)])
    together = differences(small_enformer(), x_KD, d_BKD, products=products).difference_BNT
    for lane in range(len(changed_BKD)):
        alone = differences(small_enformer(), x_KD, d_BKD[[lane]], products=products)
        assert error(together[[lane]], alone.difference_BNT) < {F32: 1e-6, BF16: 5e-3}[products]
    assert not together[len(changed_BKD) :].any()


@pytest.mark.parametrize("products", [F32, BF16])
def test_memory_changes_no_bit(x_KD, few, products) -> None:
    every, none = (
        differences(small_enformer(), x_KD, few, products=products, cache_bytes=cache_bytes)
        for cache_bytes in (10**9, 0)
    )
    assert torch.equal(every.difference_BNT, none.difference_BNT)


def steep(factor: float):
    """A model whose attention is sharp: logits `factor` squared times as large."""
    model = copy.deepcopy(small_enformer_64())
    for attend, _ in model.transformer:
        attend.fn[1].to_q.weight.data *= factor
        attend.fn[1].to_k.weight.data *= factor
    return model


def test_weights_that_move_from_one_key_to_another(x_KD) -> None:
    """The reference's weight falls by orders of magnitude and no denominator comes near zero."""
    model, d_BKD = steep(1.3), draw(6)
    found = differences(model, x_KD, d_BKD)
    assert 40 < found.rise_B[0] < LARGEST_RISE
    truth = subtracted(model, x_KD, d_BKD)
    assert error(found.difference_BNT, truth) < 1e-12
    single = copy.deepcopy(model).float()
    assert error(differences(single, x_KD, d_BKD).difference_BNT, truth) < 1e-4
    rounded = differences(single, x_KD, d_BKD, products=BF16).difference_BNT
    assert error(rounded, truth) < 0.03


def test_what_is_too_large_is_told(x_KD, few) -> None:
    """Beyond LARGEST_RISE a weight may be missing, and far beyond exp overflows."""
    for factor in (2, 20):
        found = differences(steep(factor).float(), x_KD, torch.cat([draw(6), 1e-9 * few]))
        assert not found.rise_B[0] <= LARGEST_RISE
        assert (found.rise_B[1:] < LARGEST_RISE).all()
