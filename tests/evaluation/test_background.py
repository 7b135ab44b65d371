"""Quantiles of a background are mid-ranks, as close as its ladder lets them be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cisray.errors import EvaluationError
from cisray.evaluation.background import LADDER_P, Distribution

STEP = 0.01


def mid_ranks(background: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The share that is smaller and half of the share that is equal, pair by pair."""
    smaller = (background[None, :] < values[:, None]).mean(axis=1)
    equal = (background[None, :] == values[:, None]).mean(axis=1)
    return smaller + equal / 2


def test_the_ladder_is_basenji_s() -> None:
    steps = np.round(np.diff(LADDER_P), 9)
    assert len(LADDER_P) == 279
    assert (LADDER_P[0], LADDER_P[98], LADDER_P[99], LADDER_P[-1]) == (0.001, 0.099, 0.1, 0.999)
    assert set(steps[:99]) == set(steps[179:]) == {0.001}
    assert set(steps[99:179]) == {0.01}


def test_a_background_s_own_values_are_uniform() -> None:
    values = np.random.default_rng(1).laplace(size=5_000).astype(np.float32)
    own, exact = Distribution.of(values).quantile(values), mid_ranks(values, values)
    assert stats.kstest(own, "uniform").statistic < 0.004
    # The promise is a step of the ladder; what is measured here is a third of it.
    np.testing.assert_allclose(own, exact, atol=0.004)
    tails = (exact < 0.099) | (exact > 0.9)
    np.testing.assert_allclose(own[tails], exact[tails], atol=0.001)


def test_ladder_and_moments_equal_numpy_s() -> None:
    values = np.random.default_rng(2).normal(3, 2, size=1_234)
    one = Distribution.of(values)
    np.testing.assert_allclose(one.quantiles, np.quantile(values, LADDER_P, method="hazen"))
    assert (one.n, one.least, one.largest) == (1_234, values.min(), values.max())
    assert one.mean == pytest.approx(np.mean(values))
    assert one.sd == pytest.approx(np.std(values, ddof=1))
    np.testing.assert_allclose(one.z_score(values), stats.zscore(values, ddof=1))


backgrounds = st.lists(st.integers(-6, 6), min_size=1, max_size=60)


@given(backgrounds, st.lists(st.integers(-8, 8), min_size=2, max_size=20))
@settings(max_examples=200, deadline=None)
def test_quantiles_are_mid_ranks_within_a_step_with_ties(background, asked) -> None:
    """Integers tie often; between two of them a mid-rank is flat, where the ladder is linear."""
    held = np.array(background, dtype=np.float32)
    values = np.array(asked, dtype=np.float32)
    there = np.isin(values, held)
    found = Distribution.of(held).quantile(values)
    np.testing.assert_allclose(found[there], mid_ranks(held, values[there]), atol=STEP)
    assert (found[values < held.min()] == 0).all()
    assert (found[values > held.max()] == 1).all()


@given(backgrounds, st.lists(st.floats(-9, 9, width=32), min_size=2, max_size=30))
@settings(max_examples=200, deadline=None)
def test_quantiles_are_monotone_and_within_0_and_1(background, asked) -> None:
    one = Distribution.of(np.array(background, dtype=np.float32))
    found = one.quantile(np.sort(np.array(asked, dtype=np.float32)))
    assert (np.diff(found) >= 0).all()
    assert ((found >= 0) & (found <= 1)).all()


@given(st.integers(1, 400))
@settings(max_examples=30, deadline=None)
def test_the_ends_say_how_fine_quantiles_are(n: int) -> None:
    values = np.arange(n, dtype=np.float32)
    found = Distribution.of(values).quantile(np.array([0, n - 1], np.float32))
    assert found == pytest.approx([0.5 / n, 1 - 0.5 / n])


def test_many_equal_values_have_the_middle_of_their_share() -> None:
    values = np.concatenate([np.zeros(700), np.linspace(1, 2, 300)]).astype(np.float32)
    one = Distribution.of(values)
    assert one.quantile(np.zeros(1))[0] == pytest.approx(0.35, abs=0.006)
    # Just beyond them the share below is all of them.
    assert one.quantile(np.array([1e-6]))[0] == pytest.approx(0.7, abs=0.011)


def test_sizes_are_a_background_of_their_own() -> None:
    values = np.random.default_rng(3).normal(size=4_001).astype(np.float32)
    sizes = np.abs(values)
    found = Distribution.of(sizes).quantile(sizes)
    np.testing.assert_allclose(found, mid_ranks(sizes, sizes), atol=0.004)


def test_missing_and_constant_values() -> None:
    one = Distribution.of(np.array([2.0, np.nan, 2.0]))
    assert (one.n, one.sd) == (2, 0.0)
    values = np.array([1.0, 2.0, 3.0, np.nan])
    assert one.quantile(values)[:3].tolist() == [0.0, 0.5, 1.0]
    assert np.isnan(one.quantile(values)[3])
    assert np.isnan(one.z_score(values)).all()
    with pytest.raises(EvaluationError, match="without any value"):
        Distribution.of(np.array([np.nan]))
