"""Windows: what a model reads, what it predicts, and how windows tile a chromosome.

Knows the geometry of a model's input and target, nothing of sequences or of torch. A window may
overhang its chromosome; `missing_bp` tells by how much.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from cisray.errors import ConfigError, CoordinateError, OutsideTarget
from cisray.genome.interval import Interval

Placement = Literal["centered", "grid"]
Starts = NDArray[np.int64]
_Start = TypeVar("_Start", int, Starts)


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """The geometry of one model; the defaults are Enformer's. Raises `CoordinateError`."""

    input_bp: int = 196_608
    bin_bp: int = 128
    target_bins: int = 896

    def __post_init__(self) -> None:
        if min(self.input_bp, self.bin_bp, self.target_bins) < 1:
            raise CoordinateError(f"{self} is impossible: every size must be at least 1.")
        if self.input_bp % 2 or self.input_bp % self.bin_bp:
            raise CoordinateError(
                f"{self} is impossible: input_bp must be even and a multiple of bin_bp."
            )
        if self.target_bp > self.input_bp or (self.input_bp - self.target_bp) % (2 * self.bin_bp):
            raise CoordinateError(
                f"{self} is impossible: the target of {self.target_bp} bp must leave an equal "
                f"number of whole bins on each side of the input of {self.input_bp} bp."
            )

    @property
    def target_bp(self) -> int:
        """Bases that the target bins cover.

        >>> WindowSpec().target_bp
        114688
        """
        return self.target_bins * self.bin_bp

    @property
    def crop_bp(self) -> int:
        """Input bases on each side of the target.

        >>> WindowSpec().crop_bp
        40960
        """
        return (self.input_bp - self.target_bp) // 2

    @property
    def crop_bins(self) -> int:
        """Bins cropped on each side.

        >>> WindowSpec().crop_bins
        320
        """
        return self.crop_bp // self.bin_bp


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """What a model reads (`input`) and the stretch in it that it predicts (`target`).

    Target bin i covers `bin_bp` bases from `target.start + i * bin_bp`. Raises `CoordinateError`
    when the target leaves the input or is not whole bins.
    """

    input: Interval
    target: Interval
    bin_bp: int

    def __post_init__(self) -> None:
        if not self.input.contains(self.target):
            raise CoordinateError(f"the target {self.target} leaves its input {self.input}.")
        if self.bin_bp < 1 or self.target.width == 0 or self.target.width % self.bin_bp:
            raise CoordinateError(
                f"the target {self.target} of {self.target.width} bp is not a whole number of bins "
                f"of {self.bin_bp} bp."
            )

    @classmethod
    def around(cls, interval: Interval, spec: WindowSpec) -> Self:
        """Put the first base of `interval` at index `input_bp // 2 - 1` of the input.

        The placement of the published Enformer variant scores: index 98,303 of 196,608, target
        bin 447 of 896. Raises `CoordinateError` for an insertion point, which has no first base.
        """
        centred_start = _centred_start(interval, spec)
        return cls.for_target(interval.chrom, centred_start + spec.crop_bp, spec)

    @classmethod
    def on_grid(cls, interval: Interval, spec: WindowSpec) -> Self:
        """Move the window `around` an interval to the nearest multiple of `bin_bp`.

        Of two that are equally near, the earlier is taken. The interval's first base is then at
        most bin_bp // 2 bases off the centre, all intervals that begin in one cell of bin_bp bases
        share a window, and all windows of a chromosome share its bins. For Enformer the cells are
        [128 k - 64, 128 k + 64). Raises `CoordinateError` for an insertion point.

        >>> snv = Interval("chr21", 25_000_000, 25_000_001)
        >>> Window.on_grid(snv, WindowSpec()).input.start / 128
        194545.0
        """
        input_start = _nearest_on_grid(_centred_start(interval, spec), spec.bin_bp)
        return cls.for_target(interval.chrom, input_start + spec.crop_bp, spec)

    @classmethod
    def placed(cls, interval: Interval, spec: WindowSpec, placement: Placement) -> Self:
        """Place a window `around` an interval for `centered`, or `on_grid` for `grid`."""
        place = cls.around if placement == "centered" else cls.on_grid
        return place(interval, spec)

    @classmethod
    def for_target(cls, chrom: str, target_start: int, spec: WindowSpec) -> Self:
        """Place the first target bin at `target_start` (0-based)."""
        input_start = target_start - spec.crop_bp
        return cls(
            input=Interval(chrom, input_start, input_start + spec.input_bp),
            target=Interval(chrom, target_start, target_start + spec.target_bp),
            bin_bp=spec.bin_bp,
        )

    @property
    def target_bins(self) -> int:
        """N, the number of target bins."""
        return self.target.width // self.bin_bp

    def bins_of(self, interval: Interval) -> range:
        """Give the target bins, on axis N, that hold a base of `interval`.

        Raises `OutsideTarget` when any base of it lies outside the target, or when it has none.

        >>> snv = Interval("chr21", 25_000_000, 25_000_001)
        >>> Window.around(snv, WindowSpec()).bins_of(snv)
        range(447, 448)
        """
        if interval.width == 0 or not self.target.contains(interval):
            raise OutsideTarget(
                f"{interval} does not lie within the target {self.target} that this window "
                "predicts: choose a window whose target holds all of it, and at least one base."
            )
        offset = self.target.start
        first = (interval.start - offset) // self.bin_bp
        last = (interval.end - 1 - offset) // self.bin_bp
        return range(first, last + 1)

    def bin_interval(self, index: int) -> Interval:
        """Give the bases of target bin `index`; raise `OutsideTarget` where there is none."""
        if not 0 <= index < self.target_bins:
            raise OutsideTarget(
                f"there is no target bin {index}: this window's bins are 0 to "
                f"{self.target_bins - 1}."
            )
        start = self.target.start + index * self.bin_bp
        return Interval(self.target.chrom, start, start + self.bin_bp)

    def missing_bp(self, chrom_length: int) -> tuple[int, int]:
        """Count the input bases before base 0 and after the end of the chromosome."""
        before = min(max(-self.input.start, 0), self.input.width)
        after = min(max(self.input.end - chrom_length, 0), self.input.width)
        return before, after

    def shift(self, bp: int) -> Self:
        """Move input and target by `bp` bases, to the right when positive."""
        return replace(self, input=self.input.shift(bp), target=self.target.shift(bp))


def central_bins(spec: WindowSpec, count: int) -> range:
    """Give the `count` bins around the middle of a target: Basenji's `slice_center`.

    [N/2 - count/2, N/2 + count/2) of N bins; four of Enformer's are the 512 bp in whose second bin
    a centred variant begins. Raises `ConfigError` unless `count` is even and from 2 to N.

    >>> central_bins(WindowSpec(), 4)
    range(446, 450)
    """
    if count % 2 or not 2 <= count <= spec.target_bins:
        raise ConfigError(
            f"{count} bins around the middle are not to be had: give an even number from 2 to "
            f"{spec.target_bins}, which are all bins that the model predicts."
        )
    first = spec.target_bins // 2 - count // 2
    return range(first, first + count)


def contiguous(windows: Sequence[Window], *, longest_bp: int | None = None) -> Iterator[range]:
    """Cut ascending windows of one width into runs, each a range of indices.

    A run ends where the input of one window ends before that of the next begins, and where with the
    next window it would span more than `longest_bp` bases.
    """
    first = 0
    for index, (left, right) in enumerate(pairwise(window.input for window in windows), start=1):
        spanned_bp = right.end - windows[first].input.start
        if left.end < right.start or (longest_bp is not None and spanned_bp > longest_bp):
            yield range(first, index)
            first = index
    if windows:
        yield range(first, len(windows))


def _centred_start(interval: Interval, spec: WindowSpec) -> int:
    """Give the input start that puts an interval's first base at index input_bp // 2 - 1."""
    if interval.width == 0:
        raise CoordinateError(
            f"no window can be centred on {interval}: it has no bases. Give the base beside it."
        )
    return interval.start - _bases_before(spec)


def _bases_before(spec: WindowSpec) -> int:
    return spec.input_bp // 2 - 1


def _nearest_on_grid(start: _Start, bin_bp: int) -> _Start:
    """Move to the nearest multiple of bin_bp, the earlier one of two that are equally near."""
    # ceil(start / bin_bp - 1/2): rounded, and halves go down.
    return -((bin_bp - 2 * start) // (2 * bin_bp)) * bin_bp


def input_starts(starts: Starts, spec: WindowSpec, placement: Placement) -> Starts:
    """Give where the inputs of many windows start: those `placed` for intervals from `starts` on.

    Both are 0-based. Intervals of a chromosome share a window exactly when they share its start.

    >>> input_starts(np.array([98_303, 98_304, 98_432]), WindowSpec(), "centered")
    array([  0,   1, 129])
    >>> input_starts(np.array([98_303, 98_304, 98_432]), WindowSpec(), "grid")
    array([  0,   0, 128])
    """
    centred = starts - _bases_before(spec)
    return centred if placement == "centered" else _nearest_on_grid(centred, spec.bin_bp)


def missing_bp(input_starts: Starts, chrom_length: int, spec: WindowSpec) -> Starts:
    """Count the bases of many inputs that lie beyond either end of their chromosome.

    >>> missing_bp(np.array([-3, 0, 803_393]), 1_000_000, WindowSpec())
    array([3, 0, 1])
    """
    before = np.clip(-input_starts, 0, spec.input_bp)
    after = np.clip(input_starts + (spec.input_bp - chrom_length), 0, spec.input_bp)
    return before + after


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """One cell of a chromosome's grid: tile `index` predicts the bases from index x target_bp on.

    `bins_inside` counts the target bins that start on the chromosome; only the last tile may have
    fewer than all, and its last such bin may overhang.
    """

    index: int
    window: Window
    bins_inside: int


def num_tiles(length: int, spec: WindowSpec) -> int:
    """Count the tiles of a chromosome of `length` bases; raise `CoordinateError` if negative.

    >>> num_tiles(63_025_520, WindowSpec())  # hg19 chr20
    550
    """
    if length < 0:
        raise CoordinateError(f"a chromosome cannot have {length} bases.")
    return -(-length // spec.target_bp)


def _tile(chrom: str, index: int, length: int, spec: WindowSpec) -> Tile:
    target_start = index * spec.target_bp
    bins_left = -(-(length - target_start) // spec.bin_bp)
    return Tile(
        index=index,
        window=Window.for_target(chrom, target_start, spec),
        bins_inside=min(bins_left, spec.target_bins),
    )


def tiles(chrom: str, length: int, spec: WindowSpec) -> Iterator[Tile]:
    """Cover a chromosome of `length` bases with targets side by side from base 0, in order.

    Every base lies in the target of exactly one tile; the last target may overhang the end.
    """
    return (_tile(chrom, index, length, spec) for index in range(num_tiles(length, spec)))


def tiles_over(regions: Iterable[Interval], length: int, spec: WindowSpec) -> Iterator[Tile]:
    """Give the grid's tiles whose target shares a base with any region, each once, in order.

    The regions lie on one chromosome, of `length` bases. Raises `CoordinateError` for regions of
    several chromosomes, beyond the ends, or without bases.
    """
    chosen: set[int] = set()
    chroms: set[str] = set()
    for region in regions:
        chroms.add(region.chrom)
        if region.width == 0 or region.start < 0 or region.end > length:
            raise CoordinateError(
                f"the region {region} is not one or more of the {length:,} bases of its chromosome."
            )
        first, last = region.start // spec.target_bp, (region.end - 1) // spec.target_bp
        chosen.update(range(first, last + 1))
    if len(chroms) > 1:
        raise CoordinateError(
            f"the regions lie on {', '.join(sorted(chroms))}: tile one chromosome at a time."
        )
    return (_tile(chrom, index, length, spec) for chrom in chroms for index in sorted(chosen))
