"""Which regions must stay together: those that an alignment connects, in one genome or between two.

Knows regions and alignments; knows nothing of sets.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import networkx

from cisray.dataset.synteny import Alignment
from cisray.genome.interval import Interval

Place = tuple[str, int]  # a head, and the number of a region or stretch there


class OnGenome(Protocol):
    """Something that lies at an interval."""

    @property
    def chrom(self) -> str:
        """Its chromosome."""

    @property
    def start(self) -> int:
        """Its first base, 0-based."""

    @property
    def end(self) -> int:
        """The base after its last one."""


class Lookup:
    """Intervals that do not overlap, found by place."""

    def __init__(self, intervals: Sequence[OnGenome]) -> None:
        self._by_chrom: dict[str, list[tuple[int, int, int]]] = {}
        for number, one in enumerate(intervals):
            self._by_chrom.setdefault(one.chrom, []).append((one.start, one.end, number))
        for held in self._by_chrom.values():
            held.sort()

    def meeting(self, interval: Interval) -> Iterator[tuple[int, int]]:
        """Give the number of each that shares bases with an interval, and how many."""
        held = self._by_chrom.get(interval.chrom, [])
        first = bisect_right(held, interval.start, key=lambda one: one[1])
        last = bisect_left(held, interval.end, key=lambda one: one[0])
        for start, end, number in held[first:last]:
            yield number, min(end, interval.end) - max(start, interval.start)


@dataclass(frozen=True, slots=True)
class Pair:
    """Alignments between the genomes of two heads."""

    first: str
    second: str
    alignments: Sequence[Alignment]


@dataclass(frozen=True, slots=True)
class Linking:
    """What connects regions: alignments of at least so many bases on their shorter side.

    Basenji connects a region to an alignment where they share more than 1,024 bases, so that up to
    as many at the end of an alignment may lie in another set. Here one base is enough.
    """

    min_alignment_bp: int = 100_000
    min_overlap_bp: int = 1

    def counts(self, alignment: Alignment) -> bool:
        """Tell whether an alignment connects anything."""
        return alignment.size >= self.min_alignment_bp


def components(
    regions: Mapping[str, Sequence[Interval]], pairs: Iterable[Pair], linking: Linking
) -> list[list[Place]]:
    """Group regions that alignments connect, directly or over others; each is in one group.

    Groups come by size in bases, the largest first, and of one size by their first region.
    """
    graph: networkx.Graph[Place] = networkx.Graph()
    graph.add_nodes_from(
        (head, number) for head, held in regions.items() for number in range(len(held))
    )
    lookups = {head: Lookup(held) for head, held in regions.items()}
    for pair in pairs:
        for alignment in filter(linking.counts, pair.alignments):
            met = [
                (head, number)
                for head, side in ((pair.first, alignment.first), (pair.second, alignment.second))
                for number, bp in lookups[head].meeting(side)
                if bp >= linking.min_overlap_bp
            ]
            networkx.add_path(graph, met)
    order = {head: rank for rank, head in enumerate(regions)}
    groups = [
        sorted(group, key=lambda place: (order[place[0]], place[1]))
        for group in networkx.connected_components(graph)
    ]
    return sorted(
        groups,
        key=lambda group: (
            -sum(regions[head][number].width for head, number in group),
            order[group[0][0]],
            group[0][1],
        ),
    )
