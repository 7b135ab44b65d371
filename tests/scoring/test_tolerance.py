"""What may lie between a stored statistic and the same one computed again: enough, and not more."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.inference.selfcheck import EFFECT_TOLERANCES, LEAST_NOISE
from cisray.scoring.statistics import compute
from cisray.scoring.tolerance import tolerated
from cisray.scoring.variants import EffectArrays

STATS = ("REF", "ALT", "SAD", "SADR", "logSAD", "SAX", "D1", "D2", "JS")
BINS, TRACKS = 24, 5


def arrays(seed: int, effect: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions between 0.1 and 2, differences of both signs that leave them positive."""
    dice = np.random.default_rng(seed)
    prediction = dice.uniform(0.1, 2, (BINS, TRACKS))
    difference = effect * prediction * dice.uniform(-1, 1, (BINS, TRACKS))
    return torch.from_numpy(prediction), torch.from_numpy(difference)


def allowed(prediction, difference, precision="float32", bits=23):
    seen = EffectArrays(range(BINS), prediction.float(), difference.float())
    return tolerated(
        STATS, seen, range(BINS), precision=precision, noise=LEAST_NOISE, mantissa_bits=bits
    )


def statistics(prediction, difference) -> dict[str, np.ndarray]:
    found = compute(STATS, prediction, difference[None])
    return {name: values[0].double().numpy() for name, values in found.items()}


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from([0.3, 1e-2, 1e-4]),
    st.sampled_from(["float32", "bfloat16"]),
)
def test_differences_within_the_self_checks_tolerance_are_let_pass(seed, effect, precision) -> None:
    prediction, difference = arrays(seed, effect)
    dice = np.random.default_rng(seed + 1)
    sign = torch.from_numpy(dice.choice([-1.0, 1.0], (BINS, TRACKS)))
    off = difference * (1 + 0.9 * EFFECT_TOLERANCES[precision] * sign)
    owed, found = statistics(prediction, difference), statistics(prediction, off)
    most = allowed(prediction, difference, precision)
    for name in STATS:
        assert (np.abs(found[name] - owed[name]) <= most[name]).all(), name


@pytest.mark.parametrize("effect", [0.3, 1e-2])
def test_another_bin_or_a_changed_value_is_not_let_pass(effect) -> None:
    prediction, difference = arrays(3, effect)
    owed, most = statistics(prediction, difference), allowed(prediction, difference)
    for name in STATS:
        # Two per cent of the value, where no cancellation makes it small.
        loud = np.abs(owed[name]) > 0.5 * np.abs(owed[name]).max()
        assert (0.02 * np.abs(owed[name]) > most[name])[loud].any(), name
    moved = statistics(prediction, difference.roll(1, 0).clamp(min=-0.05))
    for name in ("logSAD", "JS"):
        assert (np.abs(moved[name] - owed[name]) > most[name]).any(), name
    others = statistics(prediction, difference.roll(1, 1).clamp(min=-0.05))
    assert (np.abs(others["SAD"] - owed["SAD"]) > most["SAD"]).all()


def test_a_sum_that_cancels_is_held_to_its_parts() -> None:
    prediction = torch.ones((BINS, 1), dtype=torch.float64)
    difference = 0.1 * torch.tensor([1.0, -1.0] * (BINS // 2), dtype=torch.float64)[:, None]
    most = allowed(prediction, difference)["SAD"]
    # 24 bins of 0.1, 5e-3 of each; and of the signal of 24, 3e-6.
    assert most == pytest.approx(24 * 0.1 * 5e-3 + 24 * 3e-6, rel=1e-2)


def test_rounding_is_that_of_the_run() -> None:
    prediction, difference = arrays(5, 0.3)
    fine, coarse = (allowed(prediction, difference, bits=bits) for bits in (23, 10))
    for name, values in statistics(prediction, difference).items():
        # 10 bits: half of 2**-10.
        owed = np.abs(values) * (2.0**-11 - 2.0**-24)
        assert coarse[name] - fine[name] == pytest.approx(owed, rel=1e-6, abs=1e-15)


def test_a_spread_may_be_off_by_as_much_as_its_statistic() -> None:
    prediction, difference = arrays(5, 0.3)
    seen = EffectArrays(range(BINS), prediction.float(), difference.float())
    found = tolerated(
        ("D2", "D2_sd"), seen, range(4, 12), precision="float32", noise=0.0, mantissa_bits=23
    )
    part = slice(4, 12)
    inside = EffectArrays(range(8), prediction[part].float(), difference[part].float())
    alone = tolerated(("D2",), inside, range(8), precision="float32", noise=0.0, mantissa_bits=23)
    assert (found["D2_sd"] == found["D2"]).all()
    assert found["D2"] == pytest.approx(alone["D2"])
