"""Statistics at given sites: one row per allele and site that its window's target holds whole.

Knows sites, and where windows lie; knows nothing of BED files, of sequences or of scores. The sites
of a chromosome are sorted once; alleles come in batches of any number, of which one is held.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cisray.errors import RegionsError
from cisray.genome.alleles import Allele, Reject
from cisray.genome.interval import Interval
from cisray.genome.regions import Feature
from cisray.genome.variant import Variant, starts_at
from cisray.genome.windows import Placement, Window, WindowSpec, input_starts
from cisray.scoring.planned import SiteCount
from cisray.scoring.shards import Cutting, one_chromosome_each
from cisray.scoring.variant_rows import reject
from cisray_schemas import VARIANT_SITE_SCORES, VARIANT_SITES, Reason

Numbers = NDArray[np.int64]

_BATCH_ENTRIES = 1 << 8
_BATCH_ROWS = 1 << 16


def check_narrow(site: Interval, spec: WindowSpec, placement: Placement) -> None:
    """Raise `RegionsError` for a site that no target can hold whole.

    Targets start at any base, or on the grid at multiples of `bin_bp`.
    """
    at = site.start % spec.bin_bp if placement == "grid" else 0
    if at + site.width > spec.target_bp:
        grid = f", at multiples of {spec.bin_bp:,}" if placement == "grid" else ""
        raise RegionsError(
            f"the site {site} of {site.width:,} bases is in no window's target, which has "
            f"{spec.target_bp:,} bases{grid}: give a narrower one, such as the TSS of a gene."
        )


class AtSites:
    """The rows of alleles at sites, which are numbered in the order given.

    A site is in reach of an allele that has every base of it in the target of its window. The row
    counts the bins that hold a base of the site. `owed` are the rows of the alleles sifted so far,
    counted in another way than rows are made.
    """

    tables = VARIANT_SITES, VARIANT_SITE_SCORES

    def __init__(self, sites: Sequence[Feature], cutting: Cutting) -> None:
        """Sort the sites. Raises `RegionsError` as `check_narrow` does."""
        by_chrom: dict[str, list[int]] = defaultdict(list)
        for number, (place, _) in enumerate(sites):
            check_narrow(place, cutting.spec, cutting.placement)
            by_chrom[place.chrom].append(number)
        self._on = {
            chrom: _Sorted(sites, by_chrom.get(chrom, []), cutting) for chrom in cutting.chromosomes
        }
        self._of_rank = list(self._on.values())
        self._scored = np.zeros(len(sites), dtype=bool)
        self.owed = 0
        self._cutting = cutting

    def sift(self, entries: Iterable[Allele | Reject]) -> Iterator[Allele | Reject]:
        """Reject alleles without a site in reach; entries stay in their order."""
        coming = iter(entries)
        while batch := list(islice(coming, _BATCH_ENTRIES)):
            alleles = [entry for entry in batch if isinstance(entry, Allele)]
            counts = self._count([allele.variant for allele in alleles])
            self.owed += int(counts.sum())
            reaches = iter(counts > 0)
            for entry in batch:
                if isinstance(entry, Reject) or next(reaches):
                    yield entry
                else:
                    yield self._out_of_reach(entry)

    def multiply(self, alleles: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Make the rows of alleles that are sorted, those of one allele by number of the site."""
        for rank, some in one_chromosome_each(alleles):
            for rows in self._of_rank[rank].rows(some):
                self._scored[rows["site"].to_numpy()] = True
                yield rows

    @property
    def sites(self) -> SiteCount:
        """Count the sites, and those that rows were made for."""
        return SiteCount(len(self._scored), int(self._scored.sum()))

    def _count(self, variants: Sequence[Variant]) -> Numbers:
        counts = np.zeros(len(variants), dtype=np.int64)
        by_chrom: dict[str, list[int]] = defaultdict(list)
        for index, variant in enumerate(variants):
            by_chrom[variant.chrom].append(index)
        for chrom, members in by_chrom.items():
            pos = np.array([variants[index].pos for index in members], np.int64)
            counts[members] = self._on[chrom].count(pos)
        return counts

    def _out_of_reach(self, allele: Allele) -> Reject:
        window = Window.placed(allele.variant.interval, self._cutting.spec, self._cutting.placement)
        detail = f"no site lies whole in the target of its window, {window.target}."
        return reject(allele, Reason.NO_SITE_IN_REACH, detail)


class _Sorted:
    """The sites of one chromosome in the order of their starts; `numbers` are those in the input.

    None is wider than a target.
    """

    def __init__(self, sites: Sequence[Feature], numbers: Sequence[int], cutting: Cutting) -> None:
        self._cutting = cutting
        order = sorted(numbers, key=lambda number: sites[number].interval.start)
        self.numbers = np.array(order, np.int64)
        self.names = pa.array([sites[number].name for number in order], pa.string())
        self.starts = np.array([sites[number].interval.start for number in order], np.int64)
        self.ends = np.array([sites[number].interval.end for number in order], np.int64)
        self._ends_in_order = np.sort(self.ends)

    def count(self, pos: Numbers) -> Numbers:
        """Count the sites in reach of alleles at 1-based positions.

        They are those that end by the end of the target, without those that start before it: as no
        site starts before a target and ends after it.
        """
        targets = self._targets(pos)
        ended = np.searchsorted(
            self._ends_in_order, targets + self._cutting.spec.target_bp, side="right"
        )
        return ended - np.searchsorted(self.starts, targets)

    def rows(self, alleles: pa.Table) -> Iterator[pa.Table]:
        """Make the rows of sorted alleles of this chromosome, some at a time."""
        targets = self._targets(alleles["pos"].to_numpy().astype(np.int64))
        firsts = np.searchsorted(self.starts, targets)
        ends = np.searchsorted(self.starts, targets + self._cutting.spec.target_bp)
        for step in _steps(ends - firsts):
            pairs = self._pairs(targets[step], firsts[step], ends[step])
            yield self._laid_out(alleles.slice(step.start, step.stop - step.start), *pairs)

    def _targets(self, pos: Numbers) -> Numbers:
        spec = self._cutting.spec
        return input_starts(starts_at(pos), spec, self._cutting.placement) + spec.crop_bp

    def _pairs(self, targets: Numbers, firsts: Numbers, ends: Numbers) -> tuple[Numbers, ...]:
        """Give, for each allele and site in its reach, the target's start and both their places.

        Sites that start in a target are neighbours; of these the ones that end in it count.
        """
        counts = ends - firsts
        alleles = np.repeat(np.arange(len(targets)), counts)
        before = np.cumsum(counts) - counts
        sites = np.arange(len(alleles)) + np.repeat(firsts - before, counts)
        inside = self.ends[sites] <= targets[alleles] + self._cutting.spec.target_bp
        alleles, sites = alleles[inside], sites[inside]
        order = np.lexsort((self.numbers[sites], alleles))
        return targets[alleles[order]], alleles[order], sites[order]

    def _laid_out(
        self, rows: pa.Table, targets: Numbers, alleles: Numbers, sites: Numbers
    ) -> pa.Table:
        bin_bp = self._cutting.spec.bin_bp
        first = (self.starts[sites] - targets) // bin_bp
        last = (self.ends[sites] - 1 - targets) // bin_bp
        columns = {
            "site": self.numbers[sites],
            "site_name": self.names.take(pa.array(sites)),
            "site_start": self.starts[sites],
            "site_end": self.ends[sites],
            "first_bin": first,
            "bins": last - first + 1,
        }
        table = rows.take(pa.array(alleles))
        for name, column in columns.items():
            kind = VARIANT_SITES.schema.field(name).type
            table = table.append_column(name, pa.array(column, kind))
        return table


def _steps(counts: Numbers) -> Iterator[slice]:
    """Cut alleles into steps of some 65,536 candidates for rows, or of one allele with more."""
    step = np.cumsum(counts) // _BATCH_ROWS
    firsts = np.flatnonzero(np.diff(step, prepend=-1)).tolist()
    return (slice(first, end) for first, end in pairwise([*firsts, len(counts)]))


def bins_of(keys: pa.Table, every: range) -> list[range]:
    """Take out of a shard's keys which bins count in each row: `every` where it is at no site."""
    if "first_bin" not in keys.column_names:
        return [every] * keys.num_rows
    firsts, counts = (keys[name].to_pylist() for name in ("first_bin", "bins"))
    return [range(first, first + count) for first, count in zip(firsts, counts, strict=True)]
