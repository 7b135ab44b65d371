"""Assembly gaps as the FASTA itself shows them, for a genome whose table of gaps is not at hand.

Knows runs of bases that are not A, C, G or T; knows nothing of regions.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from cisray.genome.encode import UNKNOWN
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome

# Assemblies write a gap of unknown size as 100 N; single N are ambiguous bases, and no gap.
SHORTEST_GAP_BP = 100
_BLOCK_BP = 1 << 24


def find_gaps(
    genome: Genome, chromosomes: Sequence[str], *, block_bp: int = _BLOCK_BP
) -> list[Interval]:
    """Find every run of `SHORTEST_GAP_BP` or more bases that are not A, C, G or T.

    Holds a few bytes for each base of a block. Raises FastaError where a file is damaged.
    """
    return [
        run
        for chrom in chromosomes
        for run in _runs(genome, chrom, block_bp)
        if run.width >= SHORTEST_GAP_BP
    ]


def _runs(genome: Genome, chrom: str, block_bp: int) -> Iterator[Interval]:
    """Give runs of unknown bases in order, also those that go on from one block to the next."""
    length = genome.chromosomes[chrom]
    begun: int | None = None
    for offset in range(0, length, block_bp):
        block = Interval(chrom, offset, min(offset + block_bp, length))
        is_unknown = np.zeros(block.width + 1, dtype=np.bool_)
        is_unknown[0] = begun is not None
        is_unknown[1:] = genome.fetch(block) >= UNKNOWN
        for edge in (offset + np.flatnonzero(is_unknown[1:] != is_unknown[:-1])).tolist():
            if begun is None:
                begun = edge
            else:
                yield Interval(chrom, begun, edge)
                begun = None
    if begun is not None:
        yield Interval(chrom, begun, length)
