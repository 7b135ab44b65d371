import gzip
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cisray.errors import ConfigError, CoordinateError, OutsideTarget
from cisray.genome.interval import Interval
from cisray.genome.windows import (
    Tile,
    Window,
    WindowSpec,
    central_bins,
    contiguous,
    input_starts,
    missing_bp,
    num_tiles,
    tiles,
    tiles_over,
)

ENFORMER = WindowSpec()


@st.composite
def specs(draw: st.DrawFn) -> WindowSpec:
    bin_bp, target_bins, crop_bins = (draw(st.integers(1, 6)) for _ in range(3))
    if bin_bp * target_bins % 2:
        bin_bp *= 2
    return WindowSpec((target_bins + 2 * crop_bins) * bin_bp, bin_bp, target_bins)


def test_enformer_geometry() -> None:
    assert (ENFORMER.input_bp, ENFORMER.bin_bp, ENFORMER.target_bins) == (196_608, 128, 896)
    assert ENFORMER.target_bp == 114_688  # 896 x 128
    assert ENFORMER.crop_bins == 320  # (1,536 - 896) / 2
    assert ENFORMER.crop_bp == 40_960  # 320 x 128


@pytest.mark.parametrize(
    "sizes",
    [(0, 128, 896), (196_608, 0, 1), (196_608, 128, 0), (196_600, 128, 896), (256, 128, 3),
     (1280, 128, 5), (35, 5, 1)],
)  # fmt: skip
def test_impossible_geometries_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(CoordinateError, match="impossible"):
        WindowSpec(*sizes)


def test_a_centred_variant_lies_in_bin_447() -> None:
    snv = Interval("chr21", 25_000_000, 25_000_001)
    window = Window.around(snv, ENFORMER)
    # 25,000,000 - 98,303 = 24,901,697; + 196,608 = 25,098,305
    assert window.input == Interval("chr21", 24_901_697, 25_098_305)
    # 24,901,697 + 40,960 = 24,942,657; + 114,688 = 25,057,345
    assert window.target == Interval("chr21", 24_942_657, 25_057_345)
    # (25,000,000 - 24,942,657) / 128 = 57,343 / 128 = 447.99: the last base of bin 447
    assert window.bins_of(snv) == range(447, 448)
    assert window.bins_of(snv.shift(1)) == range(448, 449)
    assert window.bins_of(Interval("chr21", 25_000_000, 25_000_002)) == range(447, 449)


@given(st.integers(-1000, 1000), st.integers(1, 30), specs())
def test_around_places_the_first_base_left_of_the_middle(
    start: int, width: int, spec: WindowSpec
) -> None:
    window = Window.around(Interval("a", start, start + width), spec)
    assert start - window.input.start == spec.input_bp // 2 - 1
    assert window.input.width == spec.input_bp
    assert window.target.width == spec.target_bp
    assert window.target.start - window.input.start == window.input.end - window.target.end
    assert window.input == Interval("a", start, start + 1).resize(spec.input_bp)


@pytest.mark.parametrize(
    ("start", "input_start", "index"),
    [
        # Enformer's centre index is 98,303 = 196,608 / 2 - 1, and 98,304 = 768 x 128.
        # 25,000,000 = 195,312 x 128 + 64: its centred start, 24,901,697, is 194,544 x 128 + 65,
        # so that the next multiple, 194,545 x 128 = 24,901,760, is nearer, by 63 against 65.
        (25_000_000, 24_901_760, 98_303 - 63),
        # One base earlier the centred start is 194,544 x 128 + 64, a tie: 24,901,632, the earlier.
        (24_999_999, 24_901_632, 98_303 + 64),
        # The whole cell of 128 bases from 25,000,000 on shares a window.
        (25_000_127, 24_901_760, 98_303 + 64),
        (25_000_128, 24_901_888, 98_303 - 63),
        # Near a chromosome's start windows overhang: 40 - 98,303 = -98,263 = -768 x 128 + 41.
        (40, -98_304, 98_344),
    ],
)
def test_a_variant_on_the_grid(start: int, input_start: int, index: int) -> None:
    window = Window.on_grid(Interval("chr21", start, start + 1), ENFORMER)
    assert window.input == Interval("chr21", input_start, input_start + 196_608)
    assert window.target.start == input_start + 40_960
    assert start - window.input.start == index


@given(st.integers(-1000, 1000), st.integers(1, 30), specs())
def test_the_grid_window_is_the_nearest_that_starts_on_a_multiple(
    start: int, width: int, spec: WindowSpec
) -> None:
    interval = Interval("a", start, start + width)
    window = Window.on_grid(interval, spec)
    centred = Window.around(interval, spec).input.start
    around_it = range(-2000, 2001)
    nearest = min(
        (k * spec.bin_bp for k in around_it), key=lambda begin: (abs(begin - centred), begin)
    )
    assert window.input.start == nearest
    assert abs(nearest - centred) <= spec.bin_bp // 2
    assert window == Window.for_target("a", nearest + spec.crop_bp, spec)
    assert window.target.start % spec.bin_bp == 0


@given(st.integers(-1000, 1000), specs())
def test_every_cell_of_the_grid_shares_one_window(first: int, spec: WindowSpec) -> None:
    """Neighbouring bases share a window, or the next has the window one bin on, every bin_bp."""
    starts = [
        Window.on_grid(Interval("a", base, base + 1), spec).input.start
        for base in range(first, first + 3 * spec.bin_bp + 1)
    ]
    steps = [after - before for before, after in pairwise(starts)]
    assert set(steps) <= {0, spec.bin_bp}
    changes = [i for i, step in enumerate(steps) if step]
    assert len(changes) == 3
    assert {b - a for a, b in pairwise(changes)} == {spec.bin_bp}


@given(st.integers(-1000, 1000), specs())
def test_placements_by_name(start: int, spec: WindowSpec) -> None:
    interval = Interval("a", start, start + 2)
    assert Window.placed(interval, spec, "centered") == Window.around(interval, spec)
    assert Window.placed(interval, spec, "grid") == Window.on_grid(interval, spec)


@pytest.mark.parametrize("placement", ["centered", "grid"])
def test_an_insertion_point_cannot_be_placed(placement) -> None:
    with pytest.raises(CoordinateError, match="Give the base beside it"):
        Window.placed(Interval("a", 500, 500), ENFORMER, placement)


@given(st.integers(-500, 500), specs())
def test_bins_are_the_target_in_order(target_start: int, spec: WindowSpec) -> None:
    window = Window.for_target("a", target_start, spec)
    assert window.target_bins == spec.target_bins
    end = window.target.start
    for index in range(window.target_bins):
        interval = window.bin_interval(index)
        assert (interval.start, interval.width) == (end, spec.bin_bp)
        assert window.bins_of(interval) == range(index, index + 1)
        end = interval.end
    assert end == window.target.end


@given(st.integers(-500, 500), specs(), st.data())
def test_bins_of_agrees_with_looking_at_every_bin(
    target_start: int, spec: WindowSpec, data: st.DataObject
) -> None:
    window = Window.for_target("a", target_start, spec)
    start = data.draw(st.integers(window.target.start, window.target.end - 1))
    interval = Interval("a", start, data.draw(st.integers(start + 1, window.target.end)))
    touched = [i for i in range(window.target_bins) if window.bin_interval(i).overlaps(interval)]
    assert list(window.bins_of(interval)) == touched


@pytest.mark.parametrize(
    "interval",
    [
        Interval("a", 999, 1001),  # begins before the target
        Interval("a", 1031, 1033),  # ends after it
        Interval("a", 990, 1000),
        Interval("a", 1032, 1040),
        Interval("a", 1010, 1010),  # no bases
        Interval("b", 1010, 1011),
    ],
)
def test_bins_of_refuses_what_leaves_the_target(interval: Interval) -> None:
    window = Window.for_target("a", 1000, WindowSpec(64, 8, 4))  # target [1000, 1032)
    with pytest.raises(OutsideTarget, match="does not lie within"):
        window.bins_of(interval)


@pytest.mark.parametrize("index", [-1, 4])
def test_bin_interval_refuses_other_bins(index: int) -> None:
    with pytest.raises(OutsideTarget, match="0 to 3"):
        Window.for_target("a", 1000, WindowSpec(64, 8, 4)).bin_interval(index)


def test_impossible_windows_are_refused() -> None:
    with pytest.raises(CoordinateError, match="leaves its input"):
        Window(Interval("a", 10, 20), Interval("a", 15, 21), 1)
    with pytest.raises(CoordinateError, match="leaves its input"):
        Window(Interval("a", 10, 20), Interval("b", 12, 18), 1)
    with pytest.raises(CoordinateError, match="whole number of bins"):
        Window(Interval("a", 10, 20), Interval("a", 12, 17), 2)


@given(st.integers(-300, 300), st.integers(0, 200), specs())
def test_missing_bp_counts_bases_off_the_chromosome(
    target_start: int, length: int, spec: WindowSpec
) -> None:
    window = Window.for_target("a", target_start, spec)
    input_bases = range(window.input.start, window.input.end)
    before = sum(base < 0 for base in input_bases)
    after = sum(base >= length for base in input_bases)
    assert window.missing_bp(length) == (before, after)


@given(st.integers(0, 400), specs())
def test_tiles_partition_the_chromosome(length: int, spec: WindowSpec) -> None:
    grid = list(tiles("a", length, spec))
    covered = [
        base for tile in grid for base in range(tile.window.target.start, tile.window.target.end)
    ]
    # Every base of the chromosome in exactly one target, in order, and less than a tile beyond it.
    assert covered == list(range(len(covered)))
    assert length <= len(covered) < length + spec.target_bp
    assert [tile.index for tile in grid] == list(range(num_tiles(length, spec)))
    for tile in grid:
        starts = [tile.window.bin_interval(i).start for i in range(spec.target_bins)]
        assert tile.bins_inside == sum(start < length for start in starts)


def test_the_last_tile_of_chr20_overhangs() -> None:
    grid = list(tiles("20", 63_025_520, ENFORMER))
    assert len(grid) == 550  # 63,025,520 / 114,688 = 549.54
    assert grid[0].window.input.start == -40_960
    assert grid[0].window.missing_bp(63_025_520) == (40_960, 0)
    # 549 x 114,688 = 62,963,712; 61,808 bases are left: 482.875 bins, so 483 begin on it.
    assert grid[-1].window.target.start == 62_963_712
    assert grid[-1].bins_inside == 483
    # Input end 62,963,712 + 114,688 + 40,960 = 63,119,360; - 63,025,520 = 93,840.
    assert grid[-1].window.missing_bp(63_025_520) == (0, 93_840)
    assert {tile.bins_inside for tile in grid[:-1]} == {896}


@given(st.integers(1, 300), specs(), st.data())
def test_tiles_over_are_the_grid_tiles_that_overlap(
    length: int, spec: WindowSpec, data: st.DataObject
) -> None:
    starts = data.draw(st.lists(st.integers(0, length - 1), max_size=5))
    regions = [Interval("a", s, data.draw(st.integers(s + 1, length))) for s in starts]
    expected: list[Tile] = [
        tile
        for tile in tiles("a", length, spec)
        if any(tile.window.target.overlaps(region) for region in regions)
    ]
    assert list(tiles_over(regions, length, spec)) == expected


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ([Interval("a", 990, 1001)], "1,000 bases"),
        ([Interval("a", -1, 5)], "1,000 bases"),
        ([Interval("a", 500, 500)], "1,000 bases"),
        ([Interval("a", 1, 2), Interval("b", 1, 2)], "a, b"),
    ],
)
def test_tiles_over_refuses(regions: list[Interval], message: str) -> None:
    with pytest.raises(CoordinateError, match=message):
        tiles_over(regions, 1000, ENFORMER)


def test_a_negative_length_is_refused() -> None:
    with pytest.raises(CoordinateError, match="-1 bases"):
        tiles("a", -1, ENFORMER)


@pytest.mark.realdata
def test_borzoi_intervals_are_enformer_windows(shared: Path) -> None:
    path = shared / "data/targets/borzoi_sequences_human.bed.gz"
    lines = gzip.decompress(path.read_bytes()).decode("ascii").splitlines()
    assert len(lines) == 55_497
    for line in lines[::500]:
        chrom, start, end = line.split("\t")[:3]
        interval = Interval(chrom, int(start), int(end))
        assert interval.width == ENFORMER.input_bp
        window = Window.for_target(chrom, interval.start + ENFORMER.crop_bp, ENFORMER)
        assert window.input == interval
        middle = Interval(chrom, interval.start + 98_303, interval.start + 98_304)
        assert Window.around(middle, ENFORMER) == window


@given(
    st.lists(st.integers(-300, 300), max_size=20),
    st.integers(1, 200),
    specs(),
    st.sampled_from(["centered", "grid"]),
)
def test_many_windows_lie_where_each_is_placed(
    starts: list[int], length: int, spec: WindowSpec, placement: str
) -> None:
    windows = [Window.placed(Interval("a", s, s + 1), spec, placement) for s in starts]
    found = input_starts(np.array(starts, np.int64), spec, placement)
    assert found.tolist() == [window.input.start for window in windows]
    missing = missing_bp(found, length, spec)
    assert missing.tolist() == [
        sum(not 0 <= base < length for base in range(window.input.start, window.input.end))
        for window in windows
    ]


def test_central_bins_are_those_of_basenjis_slice_center() -> None:
    # (448 - n / 2) to (448 + n / 2) of 896; a centred variant is in bin 447.
    assert central_bins(WindowSpec(), 2) == range(447, 449)
    assert central_bins(WindowSpec(), 896) == range(896)
    for count in (0, 1, 3, -2, 898):
        with pytest.raises(ConfigError, match=rf"^{count} bins .* from 2 to 896"):
            central_bins(WindowSpec(), count)


@given(st.lists(st.integers(0, 500), min_size=0, max_size=30).map(sorted), st.integers(56, 300))
def test_runs_of_windows_end_at_gaps_and_where_they_are_long(starts, longest_bp: int) -> None:
    spec = WindowSpec(input_bp=56, bin_bp=8, target_bins=3)
    windows = [Window.for_target("chr1", start, spec) for start in starts]
    for longest in (None, longest_bp):
        runs = list(contiguous(windows, longest_bp=longest))
        assert [i for run in runs for i in run] == list(range(len(starts)))
        for run in runs:
            assert all(starts[i + 1] - starts[i] <= 56 for i in run[:-1])
            assert longest is None or starts[run[-1]] + 56 - starts[run[0]] <= longest
        for run, following in pairwise(runs):
            first = starts[following[0]]
            apart = first - starts[run[-1]] > 56
            assert apart or (longest is not None and first + 56 - starts[run[0]] > longest)


def test_a_shifted_window() -> None:
    window = Window.for_target("chr1", 100, WindowSpec(input_bp=56, bin_bp=8, target_bins=3))
    assert window.shift(-3) == Window.for_target("chr1", 97, WindowSpec(56, 8, 3))
