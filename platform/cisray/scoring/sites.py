"""Rows of variants gathered by the window that they read, so that nothing is computed twice.

Knows windows, variants and bins; knows nothing of sequences, models or statistics.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from cisray.genome.variant import Variant
from cisray.genome.windows import Window

# What a row asks for: the window that its variant is seen in, and the bins that count.
Asked = tuple[Window, Variant, range]
Rows = Mapping[Variant, Sequence[tuple[int, range]]]


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """Rows of a batch that ask for the same bins; rows[i] is that of the batch's lanes[i]."""

    bins: range
    lanes: tuple[int, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Distinct variants that are computed at once, in ascending order, and the rows they answer."""

    variants: tuple[Variant, ...]
    cuts: tuple[Cut, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A window, its variants in batches, and from the first to the last the bins asked for."""

    window: Window
    bins: range
    batches: tuple[Batch, ...]

    @property
    def variants(self) -> Iterator[Variant]:
        """Go through the variants of all batches."""
        return (variant for batch in self.batches for variant in batch.variants)


def gather(
    asked: Iterable[Asked],
    *,
    lanes_at_once: Callable[[range], int],
    lanes_of: Callable[[Variant], int],
) -> list[Site]:
    """Bring what rows 0, 1, 2, ... ask for into sites, one per window, in ascending order.

    A batch takes `lanes_of` lanes for each of its variants, together at most `lanes_at_once` (told
    for the site's bins) unless it has one variant only. What comes out does not depend on the order
    of the rows, but for their numbers.
    """
    by_window: dict[Window, dict[Variant, list[tuple[int, range]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row, (window, variant, bins) in enumerate(asked):
        by_window[window][variant].append((row, bins))
    return [
        _site(window, by_window[window], lanes_at_once, lanes_of) for window in sorted(by_window)
    ]


def _site(
    window: Window,
    rows: Rows,
    lanes_at_once: Callable[[range], int],
    lanes_of: Callable[[Variant], int],
) -> Site:
    every = [bins for found in rows.values() for _, bins in found]
    bins = range(min(one.start for one in every), max(one.stop for one in every))
    room = lanes_at_once(bins)
    batches: list[list[Variant]] = []
    left = 0
    for variant in sorted(rows):
        lanes = lanes_of(variant)
        if not batches or lanes > left:
            batches.append([])
            left = room
        batches[-1].append(variant)
        left -= lanes
    return Site(window, bins, tuple(_batch(batch, rows) for batch in batches))


def _batch(variants: Sequence[Variant], rows: Rows) -> Batch:
    by_bins: dict[range, list[tuple[int, int]]] = defaultdict(list)
    for lane, variant in enumerate(variants):
        for row, bins in rows[variant]:
            by_bins[bins].append((lane, row))
    cuts = (
        Cut(bins, tuple(lane for lane, _ in found), tuple(row for _, row in found))
        for bins, found in by_bins.items()
    )
    return Batch(tuple(variants), tuple(cuts))


def parts(
    sites: Sequence[Site], *, most: int, size_of: Callable[[Site, Batch], int]
) -> Iterator[list[Site]]:
    """Cut sites, and their batches, into parts whose sizes add up to at most `most`.

    A part has one batch at the least, however large it is.
    """
    part: list[tuple[Site, Batch]] = []
    left = most
    for site, batch in ((one, batch) for one in sites for batch in one.batches):
        size = size_of(site, batch)
        if part and size > left:
            yield _joined(part)
            part, left = [], most
        part.append((site, batch))
        left -= size
    if part:
        yield _joined(part)


def _joined(pairs: Iterable[tuple[Site, Batch]]) -> list[Site]:
    return [
        replace(site, batches=tuple(batch for _, batch in found))
        for site, found in groupby(pairs, key=lambda pair: pair[0])
    ]
