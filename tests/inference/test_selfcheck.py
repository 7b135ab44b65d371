"""The sample of a self-check, and how far two predictions of it lie apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cisray.inference.selfcheck import (
    EFFECT_TOLERANCES,
    TOLERANCES,
    draw,
    measure,
    measure_effect,
    sample_rows,
    sample_size,
    subtraction_noise,
)

NAMES = [f"chr{1 + n // 90}:{114_688 * (n % 90)}" for n in range(270)]


@pytest.mark.parametrize(
    ("wanted", "total", "count"),
    [
        ("auto", 0, 0),
        ("auto", 2, 2),
        ("auto", 3, 3),
        ("auto", 3_999, 3),
        ("auto", 4_000, 4),
        ("auto", 27_123, 27),
        ("off", 500, 0),
        (1, 500, 1),
        (12, 500, 12),
        (501, 500, 500),
    ],
)
def test_the_size_of_a_sample(wanted, total: int, count: int) -> None:
    assert sample_size(wanted, total) == count


@given(st.randoms(use_true_random=False), st.integers(0, 300), st.text(max_size=5))
def test_a_sample_follows_from_the_seed_and_not_from_the_order(dice, count, seed) -> None:
    shuffled = dice.sample(NAMES, len(NAMES))
    sample = draw(NAMES, count, seed)
    assert sample == draw(shuffled, count, seed)
    assert sample <= set(NAMES)
    assert len(sample) == min(count, len(NAMES))
    # A larger sample of the same seed holds the smaller one.
    assert sample <= draw(NAMES, count + 1, seed)


def test_seeds_draw_different_samples_and_every_name_in_its_turn() -> None:
    times = dict.fromkeys(NAMES, 0)
    for seed in range(900):
        for name in draw(NAMES, 3, str(seed)):
            times[name] += 1
    # 900 x 3 / 270 = 10 draws of each name, a Poisson number: none beyond 10 +- 5 sqrt(10) = 26.
    assert sum(times.values()) == 2700
    assert min(times.values()) >= 1
    assert max(times.values()) <= 26


def test_a_drawn_sample_stays_as_it_is() -> None:
    """Runs that were begun with another release of cisray are resumed with the same tiles."""
    # `printf "s a" | sha256sum` and so on: a 7ab4..., b 3ed3..., c 7df0..., d f36c..., e 39bd...
    assert draw("abcde", 1, "s") == {"e"}
    assert draw("abcde", 2, "s") == {"e", "b"}
    assert draw("abcde", 4, "s") == {"e", "b", "a", "c"}


def values(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_the_error_is_that_of_the_worst_track() -> None:
    plain = values([3, 4, 0], [30, 0, 40], [1, 2, 2])
    ours = plain.copy()
    ours[1, 2] += 1  # 1 of 50: 0.02
    ours[2, 0] -= 0.5  # 0.5 of 3: 0.1667, though the smaller difference
    found = measure(ours, plain)
    assert found.error == pytest.approx(0.5 / 3)
    assert (found.track, found.bin, found.value, found.plain) == (2, 0, 0.5, 1.0)
    assert found.largest_relative == pytest.approx(0.5)
    assert found.is_within(0.17)
    assert not found.is_within(0.16)


def test_faint_values_count_in_the_norm_only() -> None:
    # 0.009 is less than a thousandth of 10: its relative error of 1 is not told.
    found = measure(values([10, 0.018, 5]), values([10, 0.009, 5.5]))
    assert found.largest_relative == pytest.approx(0.5 / 5.5)
    # 0.011 is not: (0.022 - 0.011) / 0.011 = 1.
    found = measure(values([10, 0.022, 5]), values([10, 0.011, 5.5]))
    assert found.largest_relative == pytest.approx(1)


def test_equal_values_are_no_error() -> None:
    plain = values([1, 2], [0, 0])
    found = measure(plain.copy(), plain)
    assert (found.error, found.largest_relative) == (0, 0)
    assert all(found.is_within(tolerance) for tolerance in TOLERANCES.values())


def test_something_for_nothing_is_an_infinite_error() -> None:
    found = measure(values([1, 2], [0, 1e-30]), values([1, 2], [0, 0]))
    assert (found.error, found.track, found.bin) == (np.inf, 1, 1)
    assert not found.is_within(1e6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_what_is_not_finite_is_never_within(bad: float, side: int) -> None:
    both = [values([1, 2, 3], [4, 5, 6]), values([1, 2, 3], [4, 5, 6])]
    both[side][1, 2] = bad
    found = measure(*both)
    assert (found.track, found.bin) == (1, 2)
    assert not found.is_within(np.inf if np.isnan(found.error) else 1e30)


def test_both_not_finite_is_no_agreement() -> None:
    same = values([np.inf, 1])
    assert not measure(same, same.copy()).is_within(1e30)


def test_shapes_that_differ_or_hold_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2\).*\(1, 3\)"):
        measure(values([1, 2]), values([1, 2, 3]))
    with pytest.raises(ValueError, match=r"\(0, 3\)"):
        measure(np.empty((0, 3), np.float32), np.empty((0, 3), np.float32))


@given(st.integers(0, 2**32), st.floats(1e-6, 1e-2))
def test_scaling_a_track_by_a_factor_is_found_as_that_error(seed: int, factor: float) -> None:
    plain = np.random.default_rng(seed).uniform(0.5, 4, (5, 20)).astype(np.float32)
    ours = plain.copy()
    ours[3] *= np.float32(1 + factor)
    found = measure(ours, plain)
    # float32 keeps 6e-8 of each value.
    assert found.track == 3
    assert found.error == pytest.approx(factor, rel=1e-3, abs=1.2e-7)
    assert found.largest_relative == pytest.approx(factor, rel=1e-3, abs=2.4e-7)


# Effects, and samples of rows.


def test_an_error_of_an_effect_is_relative_to_the_effect() -> None:
    prediction = values([3, 4], [30, 40]).T
    plain = values([0.03, 0.04], [0.0, 0.05]).T
    fast = plain.copy()
    fast[1, 0] += 0.002  # 0.002 of a norm of 0.05: 0.04
    fast[0, 1] += 0.002  # the same, but see the next test
    found = measure_effect(fast, plain, prediction, noise=3e-6)
    # Of the difference 3e-6 of the signal's norm of 5 are taken off.
    assert found.error == pytest.approx((0.002 - 15e-6) / 0.05, rel=1e-4)
    assert (found.track, found.bin) == (0, 1)
    assert (found.value, found.plain) == (pytest.approx(0.042), pytest.approx(0.04))
    assert found.is_within(EFFECT_TOLERANCES["bfloat16"])
    assert not found.is_within(EFFECT_TOLERANCES["float32"])


def test_a_track_whose_own_effect_cancels_is_measured_by_what_tracks_have() -> None:
    prediction = values([1, 1], [10, 10], [2, 2]).T
    plain = values([0.1, 0.1], [1e-6, 0], [0.2, 0.2]).T
    fast = plain.copy()
    fast[0, 1] += 0.02
    # Two tracks of three have effects of 0.1 of their signal: root mean square 0.1 sqrt(2 / 3).
    expected = 0.02 / (0.1 * np.sqrt(2 / 3) * np.sqrt(200))
    found = measure_effect(fast, plain, prediction, noise=0)
    assert (found.track, found.error) == (1, pytest.approx(expected, rel=1e-4))
    assert not measure_effect(fast + 0.1 * prediction, plain, prediction, noise=0).is_within(0.5)


def test_what_subtraction_cannot_tell_is_no_error() -> None:
    prediction = values([300, 400], [30, 40]).T
    plain = np.zeros((2, 2), np.float32)
    fast = plain.copy()
    fast[0, 0] = 500 * 1.9e-5
    assert measure_effect(fast, plain, prediction, noise=2e-5).error == 0
    assert measure_effect(fast, plain, prediction, noise=1.8e-5).error == np.inf
    # Nor does it hide what is larger: an effect of 1e-3 of the signal that is off by a fifth.
    plain = np.float32(1e-3) * prediction
    assert not measure_effect(np.float32(1.2) * plain, plain, prediction, noise=2e-5).is_within(0.1)


def test_noise_is_told_by_a_reference_within_bounds() -> None:
    plain = values([3, 4], [30, 40])
    for off, noise in ((0.0, 3e-6), (5e-5, 3e-6), (4e-4, 1.6e-5), (1e-2, 2e-5)):
        ours = plain.copy()
        ours[1, 0] += off  # of a norm of 50
        found = subtraction_noise(measure(ours, plain))
        assert found == pytest.approx(noise, rel=0.02)
    assert subtraction_noise(measure(np.inf * plain, plain)) == 2e-5


def test_a_track_without_signal_and_effect_is_no_error() -> None:
    prediction, plain = values([1, 2], [0, 0]).T, values([0.1, 0.1], [0, 0]).T
    assert measure_effect(plain, plain, prediction, noise=0).error == 0
    fast = plain.copy()
    fast[1, 1] = 1e-9
    assert measure_effect(fast, plain, prediction, noise=0).error == np.inf


@pytest.mark.parametrize("which", range(3))
def test_an_effect_that_is_not_finite_is_never_within(which: int) -> None:
    arrays = [values([1, 2], [3, 4]) for _ in range(3)]
    arrays[which][0, 1] = np.nan
    found = measure_effect(*arrays, noise=0)
    assert (found.bin, found.track) == (0, 1)
    assert not found.is_within(1e30)


def test_effects_of_other_shapes_are_refused() -> None:
    one, two = values([1, 2]), values([1, 2], [3, 4])
    for arrays in ((one, two, two), (two, one, two), (two, two, one)):
        with pytest.raises(ValueError, match="shape"):
            measure_effect(*arrays, noise=0)


@given(st.integers(0, 300), st.integers(0, 300), st.text(max_size=5))
def test_sampled_rows_are_distinct_and_a_larger_sample_holds_them(total, count, seed) -> None:
    rows = sample_rows(total, count, seed)
    assert len(rows) == min(count, total)
    assert all(0 <= row < total for row in rows)
    assert rows <= sample_rows(total, count + 1, seed)
    assert rows == sample_rows(total, count, seed)


def test_every_row_is_drawn_in_its_turn() -> None:
    times = np.zeros(270, int)
    for seed in range(900):
        times[list(sample_rows(270, 3, str(seed)))] += 1
    # As for names: 10 draws of each row, none beyond 10 +- 5 sqrt(10) = 26.
    assert times.sum() == 2700
    assert 1 <= times.min() <= times.max() <= 26
    # And of each row as any draw: all 270 rows are drawn from 270.
    assert sample_rows(270, 270, "s") == frozenset(range(270))


def test_drawn_rows_stay_as_they_are() -> None:
    # `printf "s 0" | sha256sum` and so on, modulo 10, 9, 8 and 7: 4, 2, 6 and 1. So row 0 + 4, to
    # whose place 0 goes; 1 + 2; 2 + 6; and what is now at place 3 + 1.
    samples = [sample_rows(10, count, "s") for count in (1, 2, 3, 4)]
    assert samples == [{4}, {4, 3}, {4, 3, 8}, {4, 3, 8, 0}]


def test_a_sample_of_very_many_rows_costs_what_it_has() -> None:
    assert len(sample_rows(10**12, 1000, "s")) == 1000
