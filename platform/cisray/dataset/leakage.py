"""Which alignments touch sequences of two sets: found from a split's BED files, by other means.

Knows lines of `HEAD.sequences.bed` and alignments; knows nothing of regions, graphs, or how a split
was made, so that a mistake there shows here.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cisray.dataset.alignments import Side
from cisray.dataset.homology import Pair

# Sorted starts and sorted ends of a set's windows, by set and chromosome.
Windows = Mapping[str, Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]]]


@dataclass(frozen=True, slots=True)
class Leak:
    """Alignments that touch sequences of two sets, above and below the size that was asked for.

    Bases are those of their shorter sides, as much as can be alike. Alignments of which the FASTA
    files lack a chromosome are `left_out`, of which `left_out_linking` are large enough to count.
    """

    alignments: int
    linking: int
    straddling: int
    straddling_bp: int
    below: int
    below_bp: int
    below_by_sets: Mapping[str, int]
    left_out: int
    left_out_linking: int
    left_out_chromosomes: tuple[str, ...]


def read_windows(lines: Iterable[str]) -> Windows:
    """Read chrom, start, end and set of every window from the lines of a BED file."""
    starts: dict[str, dict[str, list[int]]] = {}
    ends: dict[str, dict[str, list[int]]] = {}
    for line in lines:
        chrom, start, end, split = line.rstrip("\n").split("\t")
        starts.setdefault(split, {}).setdefault(chrom, []).append(int(start))
        ends.setdefault(split, {}).setdefault(chrom, []).append(int(end))
    return {
        split: {
            chrom: (np.sort(np.array(held)), np.sort(np.array(ends[split][chrom])))
            for chrom, held in by_chrom.items()
        }
        for split, by_chrom in starts.items()
    }


def find_leaks(windows: Mapping[str, Windows], pair: Pair, min_alignment_bp: int) -> Leak:
    """Count the alignments of two genomes that touch windows of more than one set, on any side."""
    held = pair.alignments
    sets = sorted({split for one in windows.values() for split in one})
    touched = np.column_stack(
        [
            _touched(held.first, windows[pair.first], split)
            | _touched(held.second, windows[pair.second], split)
            for split in sets
        ]
        or [np.zeros(len(held), dtype=np.bool_)]
    )
    joins = touched.sum(axis=1) > 1
    counts = held.sizes >= min_alignment_bp
    small = joins & ~counts
    return Leak(
        alignments=len(held),
        linking=int(counts.sum()),
        straddling=int((joins & counts).sum()),
        straddling_bp=int(held.sizes[joins & counts].sum()),
        below=int(small.sum()),
        below_bp=int(held.sizes[small].sum()),
        below_by_sets=_by_sets(touched[small], sets),
        left_out=len(held.left_out.sizes),
        left_out_linking=int((held.left_out.sizes >= min_alignment_bp).sum()),
        left_out_chromosomes=tuple(held.left_out.chromosomes),
    )


def _touched(side: Side, windows: Windows, split: str) -> NDArray[np.bool_]:
    """Tell of every alignment whether a window of a set has a base of it."""
    touched = np.zeros(len(side.start), dtype=np.bool_)
    for number, chrom in enumerate(side.chroms):
        starts, ends = windows.get(split, {}).get(chrom, (None, None))
        if starts is None or ends is None:
            continue
        at = np.flatnonzero(side.chrom == number)
        # Windows that have begun before its end, less those that have ended by its start.
        begun = np.searchsorted(starts, side.end[at], side="left")
        ended = np.searchsorted(ends, side.start[at], side="right")
        touched[at] = begun > ended
    return touched


def _by_sets(touched: NDArray[np.bool_], sets: list[str]) -> dict[str, int]:
    kinds, counts = np.unique(touched, axis=0, return_counts=True)
    found = Counter[str]()
    for kind, count in zip(kinds, counts, strict=True):
        names = [name for name, met in zip(sets, kind, strict=True) if met]
        found[" and ".join(names)] += int(count)
    return dict(sorted(found.items()))
