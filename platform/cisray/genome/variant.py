"""Variants as a VCF record states them: one alternative allele at a 1-based position.

The only place where a 1-based `pos` and a 0-based `start` meet; everywhere else, arithmetic is done
on `Variant.interval`. Knows nothing of the reference sequence: whether REF agrees with the FASTA,
and where an indel is placed within a repeat, are other modules' questions.
"""

import re
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cisray.errors import CoordinateError
from cisray.genome.interval import Interval

Positions = NDArray[np.int64]

_ALLELE = re.compile(r"[ACGTN]+")
# The chromosome may itself hold the separator (chrUn_KI270742v1), hence greedy and anchored at
# both ends; only the underscore form, GTEx's, carries a build.
_IDS = (
    re.compile(
        r"(?P<chrom>\S+):(?P<pos>\d{1,18}):(?P<ref>[A-Za-z]+)[:>](?P<alt>[A-Za-z]+)", re.ASCII
    ),
    re.compile(
        r"(?P<chrom>\S+)_(?P<pos>\d{1,18})_(?P<ref>[A-Za-z]+)_(?P<alt>[A-Za-z]+)(?:_b\d+)?",
        re.ASCII,
    ),
    re.compile(r"(?P<chrom>\S+)-(?P<pos>\d{1,18})-(?P<ref>[A-Za-z]+)-(?P<alt>[A-Za-z]+)", re.ASCII),
)


def split_id(text: str) -> tuple[str, int, str, str]:
    """Take an identifier apart into chrom, 1-based pos, ref and alt, none of them checked.

    Understood is what `Variant.from_id` understands. Raises `CoordinateError`.

    >>> split_id("chr1:0:a:R")
    ('chr1', 0, 'a', 'R')
    """
    for form in _IDS:
        match = form.fullmatch(text.strip())
        if match is not None:
            return match["chrom"], int(match["pos"]), match["ref"], match["alt"]
    raise CoordinateError(
        f"cannot read a variant out of {text!r}: write chr1:100:A:G, chr1:100:A>G, 1-100-A-G "
        "or chr1_100_A_G_b38, with a 1-based position; an rs number does not say the alleles."
    )


def interval_at(chrom: str, pos: int, size: int) -> Interval:
    """Give the `size` bases from the 1-based position `pos` on, as a 0-based half-open interval.

    >>> interval_at("chr1", 100, 2)
    Interval(chrom='chr1', start=99, end=101)
    """
    start = pos - 1
    return Interval(chrom, start, start + size)


def starts_at(pos: Positions) -> Positions:
    """Give the 0-based starts of many 1-based positions.

    >>> starts_at(np.array([1, 100]))
    array([ 0, 99])
    """
    return pos - 1


def positions_of(start: Positions) -> Positions:
    """Give the 1-based positions of many 0-based starts.

    >>> positions_of(np.array([0, 99]))
    array([  1, 100])
    """
    return start + 1


@dataclass(frozen=True, slots=True, order=True)
class Variant:
    """One biallelic record; `pos` is the 1-based position of the first base of `ref`.

    Alleles are upper-case A, C, G, T, N; symbolic and missing alleles (<DEL>, *, .) are refused.
    Raises `CoordinateError`.
    """

    chrom: str
    pos: int
    ref: str
    alt: str

    def __post_init__(self) -> None:
        if self.pos < 1:
            raise CoordinateError(
                f"the variant {self} stands at position {self.pos}, but VCF positions count from 1."
            )
        for field, allele in (("ref", self.ref), ("alt", self.alt)):
            if not _ALLELE.fullmatch(allele):
                raise CoordinateError(
                    f"the variant {self} has the {field} allele {allele!r}: alleles are one or "
                    "more of the upper-case letters A, C, G, T, N."
                )

    @classmethod
    def from_id(cls, text: str) -> Self:
        """Read an identifier that spells the variant out; raise `CoordinateError`.

        Understood are `chr1:100:A:G`, `chr1:100:A>G`, `1-100-A-G` (gnomAD) and `chr1_100_A_G_b38`
        (GTEx), of which the build is not kept.

        >>> Variant.from_id("chr1_100_A_G_b38")
        Variant(chrom='chr1', pos=100, ref='A', alt='G')
        """
        return cls(*split_id(text))

    @classmethod
    def from_start(cls, chrom: str, start: int, ref: str, alt: str) -> Self:
        """Place `ref` at a 0-based start; raise `CoordinateError`.

        >>> Variant.from_start("chr1", 99, "A", "G")
        Variant(chrom='chr1', pos=100, ref='A', alt='G')
        """
        return cls(chrom, start + 1, ref, alt)

    def __str__(self) -> str:
        """Write `chrom:pos:ref:alt`, which `from_id` reads back."""
        return f"{self.chrom}:{self.pos}:{self.ref}:{self.alt}"

    @property
    def interval(self) -> Interval:
        """The bases that `ref` replaces, 0-based half-open.

        >>> Variant("chr1", 100, "AC", "G").interval
        Interval(chrom='chr1', start=99, end=101)
        """
        return interval_at(self.chrom, self.pos, len(self.ref))

    @property
    def is_snv(self) -> bool:
        """Whether one base is exchanged for one."""
        return len(self.ref) == 1 and len(self.alt) == 1

    def swapped(self) -> Self:
        """Exchange the alleles, for data sets whose reference allele is the FASTA's alternative."""
        return replace(self, ref=self.alt, alt=self.ref)
