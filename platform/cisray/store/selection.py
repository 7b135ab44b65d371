"""What a query of a run may name: a region, and statistics, held against what the run has.

Knows spellings of chromosomes and names of statistics; knows nothing of files.
"""

from collections.abc import Sequence
from typing import Protocol

from cisray.errors import (
    CoordinateError,
    StatisticError,
    UnknownChromosome,
    WrongRun,
    near_matches,
)
from cisray.locus import match_chromosome, parse_locus
from cisray.store.linked_rows import Place
from cisray.store.place import RunPlace


class HasInterval(Protocol):
    """Anything with a chromosome and 0-based half-open bounds, such as an Interval."""

    @property
    def chrom(self) -> str:
        """Name of the chromosome."""

    @property
    def start(self) -> int:
        """First base, 0-based."""

    @property
    def end(self) -> int | None:
        """Base after the last one; None reaches to the end of the chromosome."""


Region = str | tuple[str, int, int | None] | HasInterval
TrackQuery = str | int | Sequence[str | int]


def select_statistics(
    known: list[str] | None, stats: str | Sequence[str] | None, path: RunPlace
) -> list[str] | None:
    """Name those statistics of the run at `path` that are asked for, in its order.

    Raises WrongRun where there are none along the genome, and StatisticError.
    """
    if stats is None:
        return known
    if known is None:
        raise WrongRun(
            f"the run in {path} has no statistics: it holds predictions along the genome, one "
            f"column per track. Leave stats out."
        )
    asked = [stats] if isinstance(stats, str) else list(stats)
    for name in asked:
        if name not in known:
            raise StatisticError(
                f"the run in {path} has no statistic {name!r}.{near_matches(name, known)} It "
                f"holds {', '.join(known)}."
            )
    if not asked:
        raise StatisticError(f"no statistic is chosen; the run holds {', '.join(known)}.")
    return [name for name in known if name in asked]


def resolve_region(region: Region, known: list[str], path: RunPlace) -> Place:
    """Give the place of a region on a chromosome that the run at `path` covers, in its spelling.

    Raises CoordinateError for a region without bases, and UnknownChromosome.
    """
    if isinstance(region, str):
        # Names of HLA contigs look like loci: the name of a chromosome is one, whole.
        region = (region, 0, None) if region in known else parse_locus(region)
    if isinstance(region, tuple):
        name, start, end = region
    else:
        name, start, end = region.chrom, region.start, region.end
    if end is not None and end <= start:
        raise CoordinateError(
            f"region {name} {start}-{end} (0-based half-open) is empty; its end must lie after "
            f"its start"
        )
    chrom = match_chromosome(name, known)
    if chrom is None:
        more = ", ..." if len(known) > 30 else ""
        raise UnknownChromosome(
            f"the run in {path} has no chromosome {name!r}.{near_matches(name, known)} It covers "
            f"{', '.join(known[:30])}{more}."
        )
    return chrom, start, end
