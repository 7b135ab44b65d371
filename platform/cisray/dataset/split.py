"""Genomes divided into sets so that no alignment joins two of them, and tiled into sequences.

Knows how regions, alignments and sets go together; knows nothing of files. Windows never leave the
stretch of their set, so that what holds for regions holds for every base of an input.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cisray.dataset.assignment import Aims, deal
from cisray.dataset.homology import Linking, Lookup, Pair, Place, components
from cisray.dataset.regions import CutGenome, cut_genome, merge
from cisray.errors import ConfigError
from cisray.genome.interval import Interval


@dataclass(frozen=True, slots=True)
class GenomeParts:
    """A genome as far as a split needs it: lengths, gaps, and what must not fill a window.

    `unmappable` may overlap; blacklisted stretches are among it.
    """

    head: str
    chromosomes: Mapping[str, int]
    gaps: Sequence[Interval] = ()
    unmappable: Sequence[Interval] = ()
    chosen: Sequence[str] | None = None
    forced: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tiling:
    """How sets become sequences: their length, strides, and where they may begin.

    They begin at multiples of `snap_bp`, so that bins of all sequences lie on one grid, which is
    that of `cisray score genome`. One of which at least the share `max_unmappable` cannot be mapped
    is dropped.
    """

    input_bp: int
    train_stride: int
    other_stride: int
    snap_bp: int = 128
    max_unmappable: float = 0.5

    def windows(self, stretch: Interval, split: str) -> Iterator[Interval]:
        """Tile a stretch, from its first multiple of the snap on."""
        stride = self.train_stride if split == "train" else self.other_stride
        first = -(-stretch.start // self.snap_bp) * self.snap_bp
        for start in range(first, stretch.end - self.input_bp + 1, stride):
            yield Interval(stretch.chrom, start, start + self.input_bp)


@dataclass(frozen=True, slots=True)
class Region:
    """A region, its set, and the number of the component that it belongs to."""

    interval: Interval
    split: str
    component: int


@dataclass(frozen=True, slots=True)
class Tile:
    """The window of an example, and its set."""

    interval: Interval
    split: str


@dataclass(frozen=True, slots=True)
class GenomeSplit:
    """What became of one genome; bases of windows that were dropped are among `tiled_bp`."""

    cut: CutGenome
    regions: tuple[Region, ...]
    sequences: tuple[Tile, ...]
    dropped: tuple[Tile, ...]
    tiled_bp: int

    @property
    def left_over_bp(self) -> int:
        """Count the bases of regions that no window covers, at the ends of stretches."""
        return sum(region.interval.width for region in self.regions) - self.tiled_bp


@dataclass(frozen=True, slots=True)
class Leak:
    """Alignments that join sequences of two sets, above and below the size that was asked for."""

    alignments: int
    linking: int
    straddling: int
    below: int
    below_bp: int
    below_by_sets: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Split:
    """All genomes divided, and the sizes in bases of the components, the largest first."""

    genomes: Mapping[str, GenomeSplit]
    component_bp: tuple[int, ...]
    sets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """Everything a split depends on beside genomes and alignments."""

    tiling: Tiling
    aims: Aims
    linking: Linking = field(default_factory=Linking)
    region_bp: int = 1_000_000
    seed: int = 44


def make_split(
    genomes: Sequence[GenomeParts], pairs: Sequence[Pair], options: SplitOptions
) -> Split:
    """Divide genomes into sets and tile them.

    Raises ConfigError where chromosomes of one component are to go to different sets, and where
    a genome has no region.
    """
    cuts = {
        parts.head: cut_genome(
            parts.head,
            parts.chromosomes,
            parts.gaps,
            chosen=parts.chosen,
            region_bp=options.region_bp,
            shortest_bp=options.tiling.input_bp,
        )
        for parts in genomes
    }
    for cut in cuts.values():
        if not cut.regions:
            raise ConfigError(
                f"the genome of {cut.head} has no stretch of {options.tiling.input_bp:,} bases "
                f"between gaps: nothing can be split."
            )
    groups = components({head: cut.regions for head, cut in cuts.items()}, pairs, options.linking)
    sizes = [sum(cuts[head].regions[at].width for head, at in group) for group in groups]
    splits = _dealt(groups, sizes, cuts, {p.head: p.forced for p in genomes}, options)
    placed = {
        place: (split, number)
        for number, (group, split) in enumerate(zip(groups, splits, strict=True))
        for place in group
    }
    made = {
        parts.head: _tiled(parts, cuts[parts.head], placed, options.tiling) for parts in genomes
    }
    return Split(made, tuple(sizes), tuple(options.aims.shares))


def find_leaks(split: Split, pair: Pair, linking: Linking) -> Leak:
    """Look from the sequences alone which alignments touch two sets, whatever made the split."""
    sides = {
        head: (Lookup([one.interval for one in merged]), [one.split for one in merged])
        for head in (pair.first, pair.second)
        for merged in [_covered(split.genomes[head].sequences)]
    }
    straddling = below = below_bp = 0
    by_sets: Counter[str] = Counter()
    for alignment in pair.alignments:
        met = {
            sides[head][1][number]
            for head, side in ((pair.first, alignment.first), (pair.second, alignment.second))
            for number, _ in sides[head][0].meeting(side)
        }
        if len(met) < 2:
            continue
        if linking.counts(alignment):
            straddling += 1
        else:
            below += 1
            below_bp += alignment.size
            by_sets[" and ".join(sorted(met))] += 1
    return Leak(
        alignments=len(pair.alignments),
        linking=sum(map(linking.counts, pair.alignments)),
        straddling=straddling,
        below=below,
        below_bp=below_bp,
        below_by_sets=dict(sorted(by_sets.items())),
    )


def _dealt(
    groups: Sequence[Sequence[Place]],
    sizes: Sequence[int],
    cuts: Mapping[str, CutGenome],
    forced: Mapping[str, Mapping[str, str]],
    options: SplitOptions,
) -> list[str]:
    wanted = [_forced_set(group, cuts, forced) for group in groups]
    unknown = {name for name in wanted if name is not None} - set(options.aims.shares)
    if unknown:
        raise ConfigError(
            f"chromosomes are to go to {', '.join(sorted(unknown))}, and the sets are "
            f"{', '.join(options.aims.shares)}."
        )
    taken: Counter[str] = Counter()
    for name, size in zip(wanted, sizes, strict=True):
        if name is not None:
            taken[name] += size
    free = [size for name, size in zip(wanted, sizes, strict=True) if name is None]
    dealt = iter(deal(free, options.aims, options.seed, taken))
    return [name if name is not None else next(dealt) for name in wanted]


def _forced_set(
    group: Sequence[Place], cuts: Mapping[str, CutGenome], forced: Mapping[str, Mapping[str, str]]
) -> str | None:
    """Tell where a component has to go, if one of its chromosomes was named for a set."""
    found: dict[str, str] = {}
    for head, at in group:
        region = cuts[head].regions[at]
        name = forced[head].get(region.chrom)
        if name is not None:
            found.setdefault(name, f"{head} {region}")
    if len(found) > 1:
        told = ", ".join(f"{place} to {name}" for name, place in found.items())
        raise ConfigError(
            f"chromosomes that alignments connect were named for different sets ({told}): name one "
            f"set for all of them, or fewer chromosomes."
        )
    return next(iter(found), None)


def _tiled(
    parts: GenomeParts,
    cut: CutGenome,
    placed: Mapping[Place, tuple[str, int]],
    tiling: Tiling,
) -> GenomeSplit:
    regions = tuple(
        Region(interval, *placed[parts.head, number]) for number, interval in enumerate(cut.regions)
    )
    blocked: dict[str, list[Interval]] = {}
    for one in parts.unmappable:
        blocked.setdefault(one.chrom, []).append(one)
    merged = [one for held in blocked.values() for one in merge(held)]
    lookup = Lookup(merged)
    kept: list[Tile] = []
    dropped: list[Tile] = []
    tiled_bp = 0
    for stretch in _stretches(regions):
        windows = [
            Tile(one, stretch.split) for one in tiling.windows(stretch.interval, stretch.split)
        ]
        tiled_bp += sum(one.width for one in merge(window.interval for window in windows))
        for window in windows:
            bad = sum(bp for _, bp in lookup.meeting(window.interval))
            is_kept = bad < tiling.max_unmappable * tiling.input_bp
            (kept if is_kept else dropped).append(window)
    return GenomeSplit(cut, regions, tuple(kept), tuple(dropped), tiled_bp)


def _stretches(regions: Sequence[Region]) -> Iterator[Tile]:
    """Join regions of one set that touch."""
    held: Tile | None = None
    for region in regions:
        one = region.interval
        if (
            held is not None
            and held.split == region.split
            and held.interval.chrom == one.chrom
            and held.interval.end == one.start
        ):
            held = Tile(Interval(one.chrom, held.interval.start, one.end), held.split)
            continue
        if held is not None:
            yield held
        held = Tile(one, region.split)
    if held is not None:
        yield held


def _covered(sequences: Sequence[Tile]) -> list[Tile]:
    """Join the windows of each set and chromosome that overlap or touch."""
    by_place: dict[tuple[str, str], list[Interval]] = {}
    for one in sequences:
        by_place.setdefault((one.split, one.interval.chrom), []).append(one.interval)
    return [
        Tile(interval, split) for (split, _), held in by_place.items() for interval in merge(held)
    ]
