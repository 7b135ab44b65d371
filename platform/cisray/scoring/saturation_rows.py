"""From regions to a plan of every substitution in them, and a table of the bases that have none.

Knows the order of substitutions and how regions overlap; knows nothing of BED files or of scores.
Rows come in the order of the plan by themselves: the genome is walked from breakpoint to
breakpoint, where any region begins or ends, so that nothing is sorted and little is held.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cisray.errors import ConfigError, CoordinateError
from cisray.genome.encode import ALPHABET, UNKNOWN, encode
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.variant import positions_of
from cisray.scoring.planned import PlanFiles, Planned, write_plan
from cisray.scoring.rejects import refuse_rejects
from cisray.scoring.shards import MAX_ROWS, Cutting, check_positions, cut
from cisray.store.table_writer import TableWriter
from cisray_schemas import REJECTS, SATURATION_SCORES, SUBSTITUTIONS, Reason

_STEP_BP = 1 << 18
_BATCH_ROWS = 1 << 14
ALTERNATES = len(ALPHABET) - 1
# Of each base the three others, in the order of the alphabet.
_OTHERS = np.array([[alt for alt in range(4) if alt != ref] for ref in range(4)], np.int8)
_LETTERS = pa.array(list(ALPHABET))
_CLUSTER = "cluster"  # of a row: regions that overlap, directly or through others, share a number


class Region(NamedTuple):
    """Bases that are all substituted; the chromosome is in the FASTA's spelling."""

    interval: Interval
    name: str = ""


def plan_saturation(
    regions: Sequence[Region],
    genome: Genome,
    files: PlanFiles,
    cutting: Cutting,
    *,
    strict: bool = False,
    whole: bool = False,
) -> Planned:
    """Plan all substitutions of the regions; bases other than A, C, G and T are rejects.

    A base of several regions has rows for each. The sequence is read twice. With `strict` any
    reject is an error, raised when all are counted and nothing is planned yet. With `whole` no
    region is cut: all of its rows lie in one shard.

    Raises `ConfigError` for regions too large for that, `RejectsRefused`, `CoordinateError` for a
    region that leaves its chromosome or has no bases, and for a chromosome that is too long for the
    tables, `FastaError`, `StorageError`, and `ResultsError` where a base was lost.
    """
    check_positions(cutting)
    _check(regions, cutting)
    if whole:
        cutting = replace(cutting, together=_CLUSTER)
        _check_whole(regions, cutting)
    with TableWriter(files.rejects, REJECTS) as rejects:
        firsts = _number(regions, genome, files.source, rejects)
    entries = int(firsts[-1])
    if strict:
        refuse_rejects(files.rejects, entries, "region")
    return write_plan(
        cut(_rows(regions, genome, firsts, cutting), cutting),
        (SUBSTITUTIONS, SATURATION_SCORES),
        files,
        entries=entries,
        rejects_sha256=rejects.sha256,
    )


def _check(regions: Sequence[Region], cutting: Cutting) -> None:
    for number, (place, _) in enumerate(regions, start=1):
        length = cutting.chromosomes.get(place.chrom, 0)
        if not 0 <= place.start < place.end <= length:
            raise CoordinateError(
                f"region {number:,}, {place}, is not one or more of the {length:,} bases of its "
                "chromosome: check the assembly, and name chromosomes as the FASTA does."
            )


def _check_whole(regions: Sequence[Region], cutting: Cutting) -> None:
    """Refuse regions that may have more rows than a shard, those that overlap counted together."""
    ranks = {chrom: rank for rank, chrom in enumerate(cutting.chromosomes)}
    for _, parts in groupby(_stretches(regions, ranks), key=itemgetter(2)):
        cluster = [(stretch, len(active_R)) for stretch, active_R, _ in parts]
        rows = sum(ALTERNATES * stretch.width * copies for stretch, copies in cluster)
        if rows > cutting.max_rows:
            first, last = cluster[0][0], cluster[-1][0]
            more = "" if cutting.max_rows == MAX_ROWS else ", or allow more with --rows-per-shard"
            raise ConfigError(
                f"{Interval(first.chrom, first.start, last.end)} is a region, or several that "
                f"overlap, of {rows:,} rows that have to be ranked together, and a shard holds at "
                f"most {cutting.max_rows:,}: cut it into smaller regions{more}."
            )


def _number(
    regions: Sequence[Region], genome: Genome, source: str, rejects: TableWriter
) -> NDArray[np.int64]:
    """Write the rejects, and give the number of each region's first entry, and of all entries."""
    firsts = np.zeros(len(regions) + 1, np.int64)
    for number, region in enumerate(regions):
        count = 0
        for part in _steps(region.interval, _STEP_BP):
            letters = genome.letters(part)
            unknown = np.flatnonzero(encode(letters) == UNKNOWN)
            count += ALTERNATES * part.width - (ALTERNATES - 1) * len(unknown)
            for some in np.split(unknown, range(_BATCH_ROWS, len(unknown), _BATCH_ROWS)):
                if len(some):
                    found = [chr(letters[offset]) for offset in some]
                    pos = positions_of(part.start + some)
                    rejects.add(_reject_rows((source, number), region, pos, found))
        firsts[number + 1] = firsts[number] + count
    return firsts


def _steps(interval: Interval, width: int) -> Iterator[Interval]:
    for start in range(interval.start, interval.end, width):
        yield Interval(interval.chrom, start, min(start + width, interval.end))


def _reject_rows(
    place: tuple[str, int], region: Region, pos: NDArray[np.int64], found: list[str]
) -> pa.Table:
    count = len(pos)
    file, number = place
    columns: dict[str, Sequence[object] | NDArray[np.int64]] = {
        "file": [file] * count,
        "record": [number] * count,
        "line": [None] * count,
        "alt_index": [0] * count,
        "chrom": [region.interval.chrom] * count,
        "pos": pos,
        "id": [region.name] * count,
        "ref": found,
        "alt": [None] * count,
        "reason": [Reason.NON_ACGT_ALLELE] * count,
        "detail": [f"the FASTA has {letter}, not A, C, G or T." for letter in found],
    }
    arrays = [pa.array(columns[field.name], field.type) for field in REJECTS.schema]
    return pa.Table.from_arrays(arrays, schema=REJECTS.schema)


def _rows(
    regions: Sequence[Region], genome: Genome, firsts: NDArray[np.int64], cutting: Cutting
) -> Iterator[pa.Table]:
    """Give the rows of all regions, in the order of the plan."""
    ranks = {chrom: rank for rank, chrom in enumerate(cutting.chromosomes)}
    following = firsts[:-1].copy()  # of each region the number of its next entry
    for stretch, active_R, cluster in _stretches(regions, ranks):
        width = max(1, _BATCH_ROWS // (ALTERNATES * len(active_R)))
        for part in _steps(stretch, width):
            codes_L = genome.fetch(part)
            rows = _substitutions(part, codes_L, active_R, following[active_R])
            if rows.num_rows:
                for name, value in (("rank", ranks[part.chrom]), (_CLUSTER, cluster)):
                    rows = rows.append_column(name, pa.array([value] * rows.num_rows))
                yield rows
            following[active_R] += _entries_of(codes_L).sum()


def _stretches(
    regions: Sequence[Region], ranks: Mapping[str, int]
) -> Iterator[tuple[Interval, NDArray[np.int64], int]]:
    """Give what lies between breakpoints, with the numbers of the regions there, ascending.

    And the number of the cluster: another one wherever no region goes on.
    """
    begins: dict[tuple[int, int], list[int]] = defaultdict(list)
    ends: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, (place, _) in enumerate(regions):
        begins[ranks[place.chrom], place.start].append(number)
        ends[ranks[place.chrom], place.end].append(number)
    chroms = list(ranks)
    active: set[int] = set()
    cluster = 0
    for here, there in pairwise(sorted(begins.keys() | ends.keys())):
        active.difference_update(ends.get(here, ()))
        cluster += not active
        active.update(begins.get(here, ()))
        if active:
            yield Interval(chroms[here[0]], here[1], there[1]), np.array(sorted(active)), cluster


def _entries_of(codes_L: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.where(codes_L < UNKNOWN, ALTERNATES, 1)


def _substitutions(
    part: Interval,
    codes_L: NDArray[np.uint8],
    regions_R: NDArray[np.int64],
    first_R: NDArray[np.int64],
) -> pa.Table:
    """Lay out the substitutions of each base, each in every region, numbered from `first_R` on.

    By base, then alternate, then region: the order of the plan, as later regions have larger
    numbers.
    """
    before_L = np.cumsum(_entries_of(codes_L)) - _entries_of(codes_L)
    known = np.flatnonzero(codes_L < UNKNOWN)
    copies = ALTERNATES * len(regions_R)
    variant = (
        before_L[known, None, None] + np.arange(ALTERNATES)[None, :, None] + first_R[None, None, :]
    )
    refs = codes_L[known]
    columns = {
        "variant": pa.array(variant.ravel()),
        "region": pa.array(np.tile(regions_R, ALTERNATES * len(known)).astype(np.int32)),
        "pos": pa.array(np.repeat(positions_of(part.start + known), copies).astype(np.int32)),
        "ref": _LETTERS.take(pa.array(np.repeat(refs, copies))),
        "alt": _LETTERS.take(pa.array(np.repeat(_OTHERS[refs].ravel(), len(regions_R)))),
    }
    return pa.table(columns)
