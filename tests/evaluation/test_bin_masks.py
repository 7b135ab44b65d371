"""Sets of bins equal what is counted base by base."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.evaluation.bin_masks import BinMask, Stretch
from cisray.genome.interval import Interval

LENGTHS = {"a": 45, "b": 16}
BIN = 4
regions = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 45), st.integers(1, 20)), max_size=6
)


def intervals(rows: list[tuple[str, int, int]]) -> list[Interval]:
    return [
        Interval(chrom, start, min(start + width, LENGTHS[chrom]))
        for chrom, start, width in rows
        if start < LENGTHS[chrom]
    ]


def by_base(rows: list[Interval], chrom: str) -> list[bool]:
    bases = {base for r in rows if r.chrom == chrom for base in range(r.start, r.end)}
    count = LENGTHS[chrom] // BIN
    return [{*range(i * BIN, i * BIN + BIN)} <= bases for i in range(count)]


@given(regions)
@settings(max_examples=100, deadline=None)
def test_bins_inside_regions_are_those_with_every_base_there(rows) -> None:
    held = intervals(rows)
    mask = BinMask.inside(held, LENGTHS, BIN)
    for chrom in LENGTHS:
        assert mask.by_chrom[chrom].tolist() == by_base(held, chrom)
    assert len(mask) == sum(sum(by_base(held, chrom)) for chrom in LENGTHS)


@given(regions, st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_stretches_are_the_bins_again(rows, most: int) -> None:
    mask = BinMask.inside(intervals(rows), LENGTHS, BIN)
    again = BinMask.none(LENGTHS, BIN)
    for stretch in mask.stretches(most):
        assert 1 <= stretch.high - stretch.low <= most
        assert not again.by_chrom[stretch.chrom][stretch.low : stretch.high].any()
        again.add(*stretch)
    assert all((again.by_chrom[c] == mask.by_chrom[c]).all() for c in LENGTHS)


@given(regions, st.lists(st.tuples(st.integers(-2, 12), st.integers(1, 5)), min_size=1))
@settings(max_examples=60, deadline=None)
def test_a_stretch_is_held_if_each_of_its_bins_is(rows, asked) -> None:
    mask = BinMask.inside(intervals(rows), LENGTHS, BIN)
    low = np.array([start for start, _ in asked])
    high = low + np.array([width for _, width in asked])
    held = mask.by_chrom["a"]
    expected = [
        all(0 <= i < len(held) and held[i] for i in range(start, start + width))
        for start, width in asked
    ]
    assert mask.holds("a", low, high).tolist() == expected


def test_sets_are_combined_bin_by_bin() -> None:
    one, other = BinMask.none(LENGTHS, BIN), BinMask.none(LENGTHS, BIN)
    one.add("a", 1, 4)
    other.add("a", 3, 6)
    other.add("b", 0, 99)  # beyond the last whole bin
    assert list((one & other).stretches(9)) == [Stretch("a", 3, 4)]
    assert list(one.minus(other).stretches(9)) == [Stretch("a", 1, 3)]
    assert list((one | other).stretches(9)) == [Stretch("a", 1, 6), Stretch("b", 0, 4)]
