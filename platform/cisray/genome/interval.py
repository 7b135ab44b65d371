"""Intervals: a stretch of one chromosome, 0-based half-open, and the arithmetic on it.

Knows nothing of any chromosome's length: an interval may start before base 0 and end past the
last base, as windows do; `Genome.fetch` and `Genome.fetch_padded` decide what that means.
"""

from dataclasses import dataclass, replace
from typing import Self

from cisray.errors import CoordinateError, LocusError
from cisray.locus import format_locus, parse_locus


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """Bases `start` to `end - 1` of `chrom`, 0-based; no bases at all is an insertion point.

    Raises `CoordinateError` when `end` lies before `start`.

    >>> Interval("chr21", 24_999_999, 25_100_000).width
    100001
    """

    chrom: str
    start: int
    end: int

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise CoordinateError(
                f"the interval {self.chrom} [{self.start}, {self.end}) ends before it starts: "
                "start and end are 0-based half-open, with start <= end."
            )

    @classmethod
    def from_locus(cls, text: str) -> Self:
        """Read a 1-based inclusive locus; raise `LocusError`, also for a bare chromosome.

        >>> Interval.from_locus("chr21:101-200")
        Interval(chrom='chr21', start=100, end=200)
        """
        chrom, start, end = parse_locus(text)
        if end is None:
            raise LocusError(
                f"the locus {text!r} names a whole chromosome, whose length is not known here: "
                "give a range such as chr21:25,000,000-25,100,000."
            )
        return cls(chrom, start, end)

    def __str__(self) -> str:
        """Write the 1-based locus, or name the base where a locus cannot say it.

        >>> print(Interval("chr21", 100, 200), Interval("chr21", -5, 200), sep=" | ")
        chr21:101-200 | chr21 [-5, 200) 0-based
        """
        if self.start < 0 or self.width == 0:
            return f"{self.chrom} [{self.start}, {self.end}) 0-based"
        return format_locus(self.chrom, self.start, self.end)

    @property
    def width(self) -> int:
        """Number of bases."""
        return self.end - self.start

    def shift(self, bp: int) -> Self:
        """Move by `bp` bases, to the right when positive."""
        return replace(self, start=self.start + bp, end=self.end + bp)

    def resize(self, width: int) -> Self:
        """Take `width` bases around the same centre base.

        The centre base of w bases is the one at offset (w - 1) // 2: the middle, or the left one
        of the two in the middle, so offset w // 2 - 1 when w is even, which is where the published
        variant scores put a SNV. An insertion point counts the base on its left as its centre.
        Raises `CoordinateError` for a negative width.

        >>> Interval("chr21", 5000, 5001).resize(196_608).start == 5000 - 98_303
        True
        """
        if width < 0:
            raise CoordinateError(f"{self} cannot be resized to {width} bases: give 0 or more.")
        start = self.start + (self.width - 1) // 2 - (width - 1) // 2
        return replace(self, start=start, end=start + width)

    def overlaps(self, other: "Interval") -> bool:
        """Tell whether the two share at least one base; an insertion point overlaps nothing."""
        return self.chrom == other.chrom and max(self.start, other.start) < min(self.end, other.end)

    def contains(self, other: "Interval") -> bool:
        """Tell whether `other` lies within; an insertion point may touch either end."""
        return self.chrom == other.chrom and self.start <= other.start and other.end <= self.end

    def intersect(self, other: "Interval") -> Self | None:
        """Give the shared bases, or None when there are none."""
        if not self.overlaps(other):
            return None
        return replace(self, start=max(self.start, other.start), end=min(self.end, other.end))
