"""Variants in their one canonical form: trimmed, and moved left as far as the reference lets them.

Knows the algorithm of Tan, Abecasis and Kang (2015, doi:10.1093/bioinformatics/btv112), which `vt
normalize` and `bcftools norm` follow, and how to read a reference cheaply in small pieces; knows
nothing of files of variants. The form depends on the two sequences alone, the chromosome without
and with the variant: what follows the change is their longest common end, what precedes it the
longest common beginning of the rest. So two variants of one chromosome write the same sequence
exactly when their forms are equal.
"""

from collections import OrderedDict

from cisray.errors import CoordinateError
from cisray.genome.encode import decode
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.variant import Variant

# Reading a block costs 0.2 ms from a plain FASTA and 0.5 ms from BGZF. Blocks of 64 kb are no
# cheaper a record for sorted variants, and twice as dear for unsorted ones.
_BLOCK_BP = 1 << 15
_BLOCKS_KEPT = 256  # 8 MB of text


class ReferenceText:
    """The reference as upper-case letters A, C, G, T, N, read in blocks of which the latest stay.

    For many short reads near one another, such as those of sorted variants; right for any order.
    """

    def __init__(self, genome: Genome) -> None:
        self.genome = genome
        self._blocks: OrderedDict[tuple[str, int], str] = OrderedDict()

    def letters(self, interval: Interval) -> str:
        """Give the bases of an interval; `chrom` is in the FASTA's spelling.

        Raises `CoordinateError` where the interval leaves its chromosome.
        """
        chrom, start, end = interval.chrom, interval.start, interval.end
        number, offset = divmod(start, _BLOCK_BP)
        if 0 <= start < end:
            # Shorter than the interval where that goes on in the next block, or off the end.
            found = self._block(chrom, number)[offset : offset + end - start]
            if len(found) == end - start:
                return found
        return decode(self.genome.fetch(interval))

    def base(self, chrom: str, at: int) -> str:
        """Give the base at a 0-based position that lies on the chromosome."""
        return self._block(chrom, at // _BLOCK_BP)[at % _BLOCK_BP]

    def _block(self, chrom: str, number: int) -> str:
        key = (chrom, number)
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = self._read(chrom, number)
            if len(self._blocks) > _BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(key)
        return block

    def _read(self, chrom: str, number: int) -> str:
        start = number * _BLOCK_BP
        end = min(start + _BLOCK_BP, self.genome.chromosomes[chrom])
        return decode(self.genome.fetch(Interval(chrom, start, end))) if start < end else ""


def normalise(variant: Variant, reference: ReferenceText) -> Variant:
    """Trim a variant's alleles and move it left, keeping the sequence that it writes.

    The alleles' common suffix is cut off; an insertion or deletion that this leaves is moved left
    while the base before it equals its last base; it is then anchored on the base before it, or,
    at the start of the chromosome, on the base after it, as VCF demands; last, the common prefix is
    cut off but for one base. A SNV is returned as it is. The chromosome is in the FASTA's spelling.
    Raises `CoordinateError` when REF equals ALT or is not what the reference holds.
    """
    if variant.is_snv:
        return variant
    held = reference.letters(variant.interval)
    if variant.ref == variant.alt or held != variant.ref:
        raise CoordinateError(
            f"the variant {variant} cannot be normalised: its alleles must differ, and REF must be "
            f"the reference's, which is {held}."
        )
    chrom, start, ref, alt = variant.chrom, variant.interval.start, variant.ref, variant.alt
    shared = _shared_start(ref[::-1], alt[::-1])
    ref, alt = ref[: len(ref) - shared], alt[: len(alt) - shared]
    if not ref or not alt:
        start, bases = _moved_left(chrom, start, ref + alt, reference)
        ref, alt = (bases, "") if ref else ("", bases)
        if start > 0:
            start -= 1
            anchor = reference.base(chrom, start)
            ref, alt = anchor + ref, anchor + alt
        else:
            anchor = reference.base(chrom, len(ref))
            ref, alt = ref + anchor, alt + anchor
    # Both alleles keep a base: VCF has no empty ones.
    shared = _shared_start(ref[:-1], alt[:-1])
    return Variant.from_start(chrom, start + shared, ref[shared:], alt[shared:])


def _moved_left(chrom: str, start: int, bases: str, reference: ReferenceText) -> tuple[int, str]:
    """Move inserted or deleted bases left as far as they go, without copying them at each step.

    A step left takes the last base to the front, so after `moved` steps the last base is the one
    `moved` places before it in a circle.
    """
    size, moved = len(bases), 0
    while moved < start and reference.base(chrom, start - 1 - moved) == bases[-1 - moved % size]:
        moved += 1
    turn = size - moved % size
    return start - moved, bases[turn:] + bases[:turn]


def _shared_start(one: str, other: str) -> int:
    shared = 0
    while shared < min(len(one), len(other)) and one[shared] == other[shared]:
        shared += 1
    return shared
