"""From bases to targets: each formula against a direct computation, and the order between them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cisray.dataset.coverage import (
    Stretches,
    TrackRule,
    baseline,
    cap_unmappable,
    checked_rule,
    fill_bases,
    pool,
    to_float16,
    unmappable_bins,
)
from cisray.errors import TargetsError
from cisray.genome.interval import Interval

BIN = 4
VALUES = st.floats(-50, 500, width=32)
BASES = arrays.arrays(np.float64, st.integers(1, 12).map(lambda n: n * BIN), elements=VALUES)
DIRECT = {"sum": sum, "mean": lambda x: sum(x) / BIN, "max": max, "median": np.median}


@given(
    bases=BASES,
    stat=st.sampled_from(sorted(DIRECT)),
    scale=st.sampled_from([0.5, 1.0, 2.0]),
    clip=st.none() | st.floats(1, 100),
    soft=st.none() | st.floats(1, 100),
)
def test_pooling_equals_a_loop_over_bins(bases, stat, scale, clip, soft) -> None:
    found = pool(bases, TrackRule(stat, scale, clip, soft), BIN)
    for number in range(len(bases) // BIN):
        value = float(DIRECT[stat]([scale * b for b in bases[number * BIN : (number + 1) * BIN]]))
        if soft is not None and value > soft:
            value = soft - 1 + (value - soft + 1) ** 0.5
        if clip is not None:
            value = max(-clip, min(clip, value))
        assert found[number] == pytest.approx(value, rel=1e-12, abs=1e-12)


def test_scale_acts_before_the_clip_and_soft_clip_before_the_hard_one() -> None:
    bases = np.full(BIN, 10.0)
    assert pool(bases, TrackRule("mean", scale=2, clip=15), BIN).tolist() == [15]
    # 40 above 24: 24 - 1 + sqrt(17), above the hard clip of 25.
    assert pool(bases, TrackRule("sum", clip_soft=24), BIN)[0] == pytest.approx(23 + 17**0.5)
    assert pool(bases, TrackRule("sum", clip_soft=24, clip=25), BIN).tolist() == [25]


def test_soft_clip_is_continuous_at_its_threshold() -> None:
    rule = TrackRule("sum", clip_soft=8)
    below, above = (pool(np.full(BIN, v / BIN), rule, BIN)[0] for v in (8.0, 8.0001))
    assert 0 < above - below < 1e-3


@pytest.mark.parametrize(
    ("stat", "expected"),
    [("sum_sqrt", 3.0), ("mean_sqrt", (1 + 15 / 4) ** 0.5 - 1), ("sum_exp75", 16**0.75 - 1)],
)
def test_squeezing_statistics(stat: str, expected: float) -> None:
    assert pool(np.array([15.0, 0, 0, 0]), TrackRule(stat), BIN)[0] == pytest.approx(expected)


def test_a_root_of_a_negative_value_is_an_error_and_not_nan() -> None:
    with pytest.raises(ValueError, match="square root of 1 \\+ -8 does not exist"):
        pool(np.full(BIN, -2.0), TrackRule("sum_sqrt"), BIN)


def test_the_baseline_is_the_median_and_zero_where_bases_are_missing_or_bins_few() -> None:
    bases = np.array([1.0, 2, 3, 100])
    assert baseline(bases, bins=8) == 2.5
    assert baseline(bases, bins=7) == 0
    assert baseline(np.array([1.0, 2, np.nan, 100]), bins=8) == 0


def test_blacklisted_bases_are_capped_to_the_median_and_others_are_not() -> None:
    bases = np.array([1.0, 50, -50, 2, 3, 50, 2, 2])
    filled = fill_bases(bases, [slice(1, 3)], bins=8)
    assert filled.tolist() == [1, 2, -2, 2, 3, 50, 2, 2]
    assert bases[1] == 50, "what came in stays as it is"


def test_missing_bases_become_the_baseline_which_is_then_zero() -> None:
    bases = np.array([5.0, np.nan, 5, 5])
    assert fill_bases(bases, [], bins=8).tolist() == [5, 0, 5, 5]
    assert fill_bases(bases, [slice(2, 4)], bins=8).tolist() == [5, 0, 0, 0]


@given(
    regions=st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 60), st.integers(1, 30)), max_size=6
    ),
    start=st.integers(0, 50),
    buffer=st.integers(0, 5),
)
def test_stretches_cover_the_bases_that_a_loop_finds(regions, start, buffer) -> None:
    window = Interval("a", start, start + 24)
    intervals = [Interval(chrom, first, first + width) for chrom, first, width in regions]
    marked = np.zeros(24, dtype=bool)
    for stretch in Stretches.of(intervals).within(window, buffer):
        assert 0 <= stretch.start < stretch.stop <= 24
        marked[stretch] = True
    near = [i for i in intervals if i.chrom == "a"]
    for base in range(24):
        inside = any(i.start - buffer <= start + base < i.end + buffer for i in near)
        assert marked[base] == inside


@pytest.mark.parametrize(("bases", "marked"), [(12, False), (13, True)])
def test_a_bin_is_unmappable_from_a_tenth_of_its_bases_on(bases: int, marked: bool) -> None:
    # In two pieces, which count together.
    regions = Stretches.of([Interval("1", 128, 134), Interval("1", 140, 134 + bases)])
    found = unmappable_bins(regions, Interval("1", 0, 384), 128)
    assert found.tolist() == [False, marked, False]


def test_unmappable_bins_are_capped_to_the_quantile_of_their_own_track() -> None:
    target = np.array([[0, 8], [1, 6], [2, 4], [3, 2], [40, 0]], np.float16)
    capped = cap_unmappable(target, np.array([0, 0, 0, 1, 1], bool), 0.25)
    assert capped.tolist() == [[0, 8], [1, 6], [2, 4], [1, 2], [1, 0]]
    assert cap_unmappable(target, np.array([0, 0, 0, 1, 1], bool), 1.0).tolist() == target.tolist()


@pytest.mark.parametrize("value", [65_520.0, -1e9, np.inf, np.nan])
def test_what_float16_cannot_hold_is_an_error(value: float) -> None:
    with pytest.raises(ValueError, match=r"float16|infinite"):
        to_float16(np.array([0.0, value]))


def test_the_largest_float16_is_kept() -> None:
    assert to_float16(np.array([65_504.0])).tolist() == [65_504]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (TrackRule("median_sqrt"), "t.txt:3: sum_stat 'median_sqrt' is none of sum, mean"),
        (TrackRule("sum", clip=0), "t.txt:3: clip 0 must be above 0"),
        (TrackRule("sum", clip_soft=-1), "t.txt:3: clip_soft -1 must be above 0"),
    ],
)
def test_rules_that_cannot_be_applied_are_named(rule: TrackRule, message: str) -> None:
    with pytest.raises(TargetsError, match=message):
        checked_rule(rule, "t.txt:3")
