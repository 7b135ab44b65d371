"""Alignments between two genomes, held in columns: a net of two mammals has millions.

Knows where each lies in either genome; knows nothing of files or sets.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cisray.genome.interval import Interval


class Alignment(NamedTuple):
    """A stretch of the first genome and the stretch of the second that is aligned to it."""

    first: Interval
    second: Interval

    @property
    def size(self) -> int:
        """Give the bases of the shorter side."""
        return min(self.first.width, self.second.width)


@dataclass(frozen=True, slots=True)
class Side:
    """Where alignments lie in one genome: a number into `chroms`, `start` and `end` of each."""

    chroms: Sequence[str]
    chrom: NDArray[np.int32]
    start: NDArray[np.int64]
    end: NDArray[np.int64]

    @property
    def widths(self) -> NDArray[np.int64]:
        """Give the bases of each."""
        return self.end - self.start

    def interval(self, at: int) -> Interval:
        """Give the stretch of one alignment."""
        return Interval(self.chroms[self.chrom[at]], int(self.start[at]), int(self.end[at]))

    def taken(self, wanted: NDArray[np.bool_]) -> "Side":
        """Give those that are wanted, in their order."""
        return Side(self.chroms, self.chrom[wanted], self.start[wanted], self.end[wanted])


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Alignments of a file that a FASTA has no chromosome for: their names, and shorter sides."""

    chromosomes: Mapping[str, int] = field(default_factory=dict)
    sizes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Alignments:
    """Alignments in the order of their file, and what of it is not among them."""

    first: Side
    second: Side
    left_out: LeftOut = field(default_factory=LeftOut)

    @classmethod
    def of(cls, found: Iterable[Alignment]) -> "Alignments":
        """Put alignments into columns."""
        columns = Columns()
        for one in found:
            columns.add(one)
        return columns.done()

    def __len__(self) -> int:
        """Count them."""
        return len(self.first.start)

    def __iter__(self) -> Iterator[Alignment]:
        """Give one after the other."""
        for at in range(len(self)):
            yield Alignment(self.first.interval(at), self.second.interval(at))

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Give the bases of the shorter side of each."""
        return np.minimum(self.first.widths, self.second.widths)

    def at_least(self, bp: int) -> "Alignments":
        """Give those with `bp` bases or more on their shorter side."""
        wanted = self.sizes >= bp
        return Alignments(self.first.taken(wanted), self.second.taken(wanted), self.left_out)


class Columns:
    """Alignments on their way into columns, 40 bytes each."""

    def __init__(self) -> None:
        self._names: tuple[dict[str, int], dict[str, int]] = ({}, {})
        self._chrom = (array("i"), array("i"))
        self._start = (array("q"), array("q"))
        self._end = (array("q"), array("q"))
        self._left_out: Counter[str] = Counter()
        self._left_out_bp = array("q")

    def add(self, alignment: Alignment) -> None:
        """Append one."""
        for side, names in enumerate(self._names):
            at = alignment[side]
            self._chrom[side].append(names.setdefault(at.chrom, len(names)))
            self._start[side].append(at.start)
            self._end[side].append(at.end)

    def leave_out(self, chromosome: str, size: int) -> None:
        """Count one whose chromosome is in no FASTA."""
        self._left_out[chromosome] += 1
        self._left_out_bp.append(size)

    def done(self) -> Alignments:
        """Give what was added."""
        first, second = (
            Side(
                tuple(names),
                np.array(self._chrom[side], dtype=np.int32),
                np.array(self._start[side], dtype=np.int64),
                np.array(self._end[side], dtype=np.int64),
            )
            for side, names in enumerate(self._names)
        )
        sizes = np.array(self._left_out_bp, dtype=np.int64)
        return Alignments(first, second, LeftOut(dict(sorted(self._left_out.items())), sizes))
