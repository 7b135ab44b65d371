"""A genome cut into regions: what is left between gaps, in pieces of about a megabase.

Knows intervals; knows nothing of alignments or sets. Every base of the genome is in a gap, in a
contig that is too short, or in one region.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cisray.genome.interval import Interval


@dataclass(frozen=True, slots=True)
class CutGenome:
    """The regions of one genome in its order, and the bases that are in none."""

    head: str
    chromosomes: Mapping[str, int]
    regions: tuple[Interval, ...]
    gap_bp: int
    short_bp: int
    excluded_bp: int

    @property
    def total_bp(self) -> int:
        """Count the bases of the FASTA."""
        return sum(self.chromosomes.values())


def cut_genome(
    head: str,
    chromosomes: Mapping[str, int],
    gaps: Iterable[Interval],
    *,
    chosen: Sequence[str] | None,
    region_bp: int,
    shortest_bp: int,
) -> CutGenome:
    """Cut chromosomes at gaps, leave out contigs shorter than `shortest_bp`, halve what is longer
    than `region_bp`.

    `chosen` names the chromosomes that are cut; None takes all. Halves are halved again until none
    is longer, the largest first, so that regions have between half of `region_bp` and that.
    Source: basenji_data_align.py.
    """
    names = list(chromosomes if chosen is None else chosen)
    by_chrom: dict[str, list[Interval]] = {name: [] for name in names}
    for gap in gaps:
        if gap.chrom in by_chrom:
            by_chrom[gap.chrom].append(gap)
    gap_bp = short_bp = 0
    regions: list[Interval] = []
    for name in names:
        merged = merge(by_chrom[name])
        gap_bp += sum(gap.width for gap in merged)
        contigs = between(Interval(name, 0, chromosomes[name]), merged)
        short_bp += sum(contig.width for contig in contigs if contig.width < shortest_bp)
        long = [contig for contig in contigs if contig.width >= shortest_bp]
        regions += sorted(halved(long, region_bp), key=lambda region: region.start)
    excluded = sum(size for name, size in chromosomes.items() if name not in by_chrom)
    return CutGenome(head, dict(chromosomes), tuple(regions), gap_bp, short_bp, excluded)


def halved(contigs: Iterable[Interval], longest: int) -> list[Interval]:
    """Halve the largest interval until none is longer than `longest`."""
    heap = [(-contig.width, contig.chrom, contig.start) for contig in contigs]
    heapq.heapify(heap)
    while heap and -heap[0][0] > longest:
        size, chrom, start = heapq.heappop(heap)
        half = -size // 2
        heapq.heappush(heap, (-half, chrom, start))
        heapq.heappush(heap, (size + half, chrom, start + half))
    return [Interval(chrom, start, start - size) for size, chrom, start in heap]


def merge(intervals: Iterable[Interval]) -> list[Interval]:
    """Join intervals of one chromosome that overlap or touch, in order."""
    merged: list[Interval] = []
    for one in sorted(intervals, key=lambda interval: (interval.start, interval.end)):
        if merged and one.start <= merged[-1].end:
            last = merged[-1]
            merged[-1] = Interval(last.chrom, last.start, max(last.end, one.end))
        else:
            merged.append(one)
    return merged


def between(whole: Interval, holes: Sequence[Interval]) -> list[Interval]:
    """Give what an interval has outside merged holes."""
    left, parts = whole.start, []
    for hole in holes:
        if hole.start > left:
            parts.append(Interval(whole.chrom, left, hole.start))
        left = max(left, hole.end)
    if left < whole.end:
        parts.append(Interval(whole.chrom, left, whole.end))
    return parts
