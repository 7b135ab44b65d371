from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cisray.errors import CoordinateError, LocusError
from cisray.genome.interval import Interval


@st.composite
def intervals(draw: st.DrawFn, chroms: str = "ab", reach: int = 40) -> Interval:
    start = draw(st.integers(-reach, reach))
    return Interval(draw(st.sampled_from(chroms)), start, start + draw(st.integers(0, reach)))


def bases(interval: Interval) -> set[tuple[str, int]]:
    return {(interval.chrom, base) for base in range(interval.start, interval.end)}


@given(intervals(), intervals())
def test_set_operations_agree_with_sets_of_bases(one: Interval, other: Interval) -> None:
    shared = bases(one) & bases(other)
    assert one.overlaps(other) == bool(shared)
    common = one.intersect(other)
    assert (bases(common) if common is not None else set()) == shared
    if other.width:
        assert one.contains(other) == (bases(other) <= bases(one))


@given(intervals(), st.integers(0, 60))
def test_resize_moves_both_ends_alike(interval: Interval, width: int) -> None:
    resized = interval.resize(width)
    assert resized.width == width
    # The centre base is kept, so what is gained left and right differs by one base at most.
    left, right = interval.start - resized.start, resized.end - interval.end
    assert abs(left - right) <= 1
    assert interval.resize(interval.width) == interval


@pytest.mark.parametrize(
    ("interval", "width", "start"),
    [
        # One base at 25,000,000 lands at offset 196,608 / 2 - 1 = 98,303: 25,000,000 - 98,303.
        (Interval("chr21", 25_000_000, 25_000_001), 196_608, 24_901_697),
        # Two bases: the left one is the centre, as for a single base.
        (Interval("chr21", 25_000_000, 25_000_002), 196_608, 24_901_697),
        # Three bases: the middle one, one further right.
        (Interval("chr21", 25_000_000, 25_000_003), 196_608, 24_901_698),
        # Insertion point: the base on its left, 24,999,999, so the point is at input_bp / 2, as
        # kipoiseq places an interval without bases.
        (Interval("chr21", 25_000_000, 25_000_000), 196_608, 25_000_000 - 98_304),
        # Odd widths have one middle: offset (5 - 1) / 2 = 2.
        (Interval("chr21", 1000, 1001), 5, 998),
    ],
)
def test_resize_centre(interval: Interval, width: int, start: int) -> None:
    assert interval.resize(width) == Interval("chr21", start, start + width)


def test_insertion_points() -> None:
    point, host = Interval("a", 7, 7), Interval("a", 5, 9)
    assert point.width == 0
    assert host.contains(point)
    assert host.contains(Interval("a", 9, 9))
    assert not host.contains(Interval("a", 10, 10))
    assert not host.overlaps(point)
    assert host.intersect(point) is None


def test_an_end_before_the_start_is_refused() -> None:
    with pytest.raises(CoordinateError, match=r"chr21 \[900, 899\)"):
        Interval("chr21", 900, 899)
    with pytest.raises(CoordinateError, match="-1 bases"):
        Interval("chr21", 900, 901).resize(-1)


def test_values() -> None:
    interval = Interval("chr21", 100, 200)
    assert interval.shift(-150) == Interval("chr21", -50, 50)
    assert len({interval, Interval("chr21", 100, 200)}) == 1
    assert sorted([Interval("b", 1, 2), Interval("a", 5, 6), Interval("a", 5, 5)]) == [
        Interval("a", 5, 5),
        Interval("a", 5, 6),
        Interval("b", 1, 2),
    ]
    with pytest.raises(FrozenInstanceError):
        interval.start = 0  # type: ignore[misc]  # the point of the test


@given(intervals().filter(lambda one: one.width > 0 and one.start >= 0))
def test_locus_round_trip(interval: Interval) -> None:
    assert Interval.from_locus(str(interval)) == interval


def test_a_bare_chromosome_is_no_interval() -> None:
    with pytest.raises(LocusError, match="whole chromosome"):
        Interval.from_locus("chr21")
