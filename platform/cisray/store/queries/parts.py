"""A run in parts: the files that can hold given places, and pieces small enough to be held.

Knows the list of files of a run; knows nothing of what is in them. A part is a run itself, of fewer
files, or of a run with links a stretch of a chromosome; either is scanned like a run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cisray.errors import WrongRun
from cisray.store.linked_rows import Stretch, stretches
from cisray.store.query import first_base, overlapping
from cisray.store.selection import resolve_region

if TYPE_CHECKING:
    from cisray.store.scan import Run
    from cisray.store.selection import Region, TrackQuery

Item = TypeVar("Item")
PART_ROWS = 65_536
PART_TRACKS = 128


class Part(Protocol):
    """Some rows of a run, that follow one another in its order."""

    def scan(
        self,
        tracks: "TrackQuery | None" = None,
        region: "Region | None" = None,
        stats: str | Sequence[str] | None = None,
    ) -> pl.LazyFrame:
        """Query these rows, as `Run.scan` queries all."""


@dataclass(frozen=True, slots=True)
class _StretchPart:
    """The rows, and the links, of a run whose first base lies in a stretch."""

    run: "Run"
    stretch: Stretch

    def scan(
        self,
        tracks: "TrackQuery | None" = None,
        region: "Region | None" = None,
        stats: str | Sequence[str] | None = None,
    ) -> pl.LazyFrame:
        """Query these rows."""
        chrom, start, end = self.stretch
        rows = self.run.scan(tracks, self.stretch, stats)
        rows = rows.filter(first_base().is_between(start, end, closed="left"))
        if region is None:
            return rows
        place = resolve_region(region, self.run.chromosomes, self.run.path)
        return overlapping(rows, place[1:]) if place[0] == chrom else rows.clear()


def holding(run: "Run", places: pl.DataFrame) -> "Run":
    """Keep the files that may share a base with any place, (`chrom`, `start`, `end`).

    Places are 0-based half-open; names of chromosomes are those of the run.
    """
    kept = [
        of_chrom.filter(_meet(of_chrom, places.filter(pl.col("chrom") == chrom)))
        for (chrom,), of_chrom in run.files.group_by("chrom", maintain_order=True)
    ]
    files = pl.concat([run.files.clear(), *kept]).sort("block", "shard")
    return replace(run, files=files)


def parts_of(run: "Run", rows: int = PART_ROWS) -> Iterator["Run"]:
    """Cut a run into parts of whole shards, in the order of its plan.

    A part lies on one chromosome, and has at most `rows` rows and those of one more shard. Raises
    WrongRun for a run with links.
    """
    require_own_rows(run)
    shards = (
        run.files.unique("shard", keep="first")
        .sort("shard")
        .with_columns(before=pl.col("n_rows").cum_sum() - pl.col("n_rows"))
        .with_columns(part=pl.struct("chrom", pl.col("before") // rows).rle_id())
    )
    for (_,), part in shards.group_by("part", maintain_order=True):
        files = run.files.filter(pl.col("shard").is_in(part["shard"].implode()))
        yield replace(run, files=files)


def parts_with_links(run: "Run") -> Iterator[Part]:
    """Cut a run of variants into parts, in its order; the rows that it links to are among them."""
    if run.links is None:
        yield from parts_of(run)
        return
    spans = [*run.plan.spans.values(), *run.links.spans.values()]
    for stretch in stretches(spans, run.chromosomes):
        yield _StretchPart(run, stretch)


def require_own_rows(run: "Run") -> None:
    """Raise WrongRun for a run with links: their rows lie in none of its files."""
    if run.links is not None:
        raise WrongRun(
            f"the run in {run.path} links to scores of other runs, and is read whole only: take "
            f"its rows from scan(), or join them with join_variants()."
        )


def in_pieces(items: Sequence[Item]) -> Iterator[tuple[int, Sequence[Item]]]:
    """Cut a list of tracks into pieces that are read at once, each after the place of its first."""
    for first in range(0, len(items), PART_TRACKS):
        yield first, items[first : first + PART_TRACKS]


def query_of(tracks: Sequence[int]) -> str:
    """Write indices of tracks as one query: many queries would be looked up one by one."""
    return ",".join(map(str, tracks))


def _meet(files: pl.DataFrame, places: pl.DataFrame) -> NDArray[np.bool_]:
    """Tell of each file whether it meets any place; all are of one chromosome."""
    ordered = places.sort("start")
    starts = ordered["start"].to_numpy()
    # Of the places that begin before a file ends, one meets it if the furthest end does.
    furthest = np.maximum.accumulate(np.concatenate([[-1], ordered["end"].to_numpy()]))
    begun = np.searchsorted(starts, files["end"].to_numpy(), side="left")
    met: NDArray[np.bool_] = furthest[begun] > files["start"].to_numpy()
    return met
