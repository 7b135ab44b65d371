"""Sets of bins along a genome: which bins lie in regions, are predicted, or are measured.

Knows bins that begin at multiples of their width from base 0 on; knows nothing of what is in them.
A set has one truth per bin that lies whole on its chromosome: 24 million for a human genome.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cisray.genome.interval import Interval

Truths = NDArray[np.bool_]
Places = NDArray[np.int64]


def _joined(regions: Iterable[Interval]) -> Iterator[tuple[str, int, int]]:
    """Join regions that overlap or touch."""
    ordered = sorted((region.chrom, region.start, region.end) for region in regions)
    at: tuple[str, int, int] | None = None
    for chrom, start, end in ordered:
        if at is not None and at[0] == chrom and start <= at[2]:
            at = (chrom, at[1], max(at[2], end))
            continue
        if at is not None:
            yield at
        at = (chrom, start, end)
    if at is not None:
        yield at


class Stretch(NamedTuple):
    """Bins `low` to before `high` of a chromosome, numbered from base 0."""

    chrom: str
    low: int
    high: int


@dataclass(frozen=True, slots=True, eq=False)
class BinMask:
    """A set of whole bins, by chromosome."""

    bin_bp: int
    by_chrom: Mapping[str, Truths]

    @classmethod
    def none(cls, lengths: Mapping[str, int], bin_bp: int) -> "BinMask":
        """Begin with no bin; `lengths` are those of the chromosomes, in bp."""
        empty = {chrom: np.zeros(bp // bin_bp, np.bool_) for chrom, bp in lengths.items()}
        return cls(bin_bp, empty)

    @classmethod
    def inside(
        cls, regions: Iterable[Interval], lengths: Mapping[str, int], bin_bp: int
    ) -> "BinMask":
        """Take the bins whose bases all lie in regions; those side by side are one."""
        mask = cls.none(lengths, bin_bp)
        for chrom, start, end in _joined(regions):
            mask.add(chrom, -(-max(start, 0) // bin_bp), max(end, 0) // bin_bp)
        return mask

    def add(self, chrom: str, low: int, high: int) -> None:
        """Take bins in; those beyond the last whole bin of the chromosome do not count."""
        self.by_chrom[chrom][low:high] = True

    def __and__(self, other: "BinMask") -> "BinMask":
        """Take the bins of both."""
        shared = {c: held & other.by_chrom[c] for c, held in self.by_chrom.items()}
        return BinMask(self.bin_bp, shared)

    def __or__(self, other: "BinMask") -> "BinMask":
        """Take the bins of either."""
        joined = {c: held | other.by_chrom[c] for c, held in self.by_chrom.items()}
        return BinMask(self.bin_bp, joined)

    def minus(self, other: "BinMask") -> "BinMask":
        """Take the bins that the other lacks."""
        rest = {c: held & ~other.by_chrom[c] for c, held in self.by_chrom.items()}
        return BinMask(self.bin_bp, rest)

    def __len__(self) -> int:
        """Count the bins."""
        return sum(int(held.sum()) for held in self.by_chrom.values())

    def holds(self, chrom: str, low_V: Places, high_V: Places) -> Truths:
        """Tell of stretches on a chromosome whether all their bins are in the set."""
        held = self.by_chrom[chrom]
        before = np.concatenate([[0], np.cumsum(held)])
        on_it = (low_V >= 0) & (high_V <= len(held))
        low, high = np.where(on_it, low_V, 0), np.where(on_it, high_V, 0)
        whole: Truths = on_it & (before[high] - before[low] == high_V - low_V)
        return whole

    def stretches(self, most: int) -> Iterator[Stretch]:
        """Give the bins as stretches of at most so many, in order."""
        for chrom, held in self.by_chrom.items():
            edges = np.flatnonzero(np.diff(held.astype(np.int8), prepend=0, append=0))
            for low, high in edges.reshape(-1, 2).tolist():
                for first in range(low, high, most):
                    yield Stretch(chrom, first, min(first + most, high))
