"""The rows of a run together with those that it links to, in one order.

Knows Polars, and which parts of a chromosome hold how many rows; knows nothing of where runs lie.
Both kinds of row are sorted, and are put into one order a stretch of a chromosome at a time, so
that no more is sorted at once than a stretch holds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

import polars as pl

from cisray.errors import StorageError
from cisray.store.plan import ShardSpan
from cisray.store.query import RowQuery, first_base, overlapping

STRETCH_ROWS = 1 << 16
_ORDER = ("chrom", "pos", "ref", "alt", "variant")

# A chromosome and bounds on it, 0-based half-open; None reaches to its end.
Place = tuple[str, int, int | None]
Stretch = tuple[str, int, int]
RowsAt = Callable[[Stretch], pl.LazyFrame]
# None where a run covers nothing of the chromosome.
OtherRowsAt = Callable[[Stretch], pl.LazyFrame | None]


@dataclass(frozen=True, slots=True)
class LinkedRows:
    """What the rows of a run with links are made of.

    `own` gives the rows of the run that meet a place, and `origins` those of the runs that it links
    to, by their ids. `links` is the table of links, `spans` are the shards of rows and of links
    alike, and `query` tells the key columns of the frame.
    """

    own: RowsAt
    origins: Mapping[str, OtherRowsAt]
    links: pl.LazyFrame
    spans: Sequence[ShardSpan]
    query: RowQuery

    def scan(self, columns: Sequence[str], place: Place | None) -> pl.LazyFrame:
        """Give all rows, or those that meet a place, by chromosome, pos, ref, alt and variant.

        `columns` are the value columns.
        """
        parts = [
            self._stretch(stretch, columns)
            for stretch in stretches(_meeting(self.spans, place), self.query.chromosomes)
        ]
        if not parts:
            schema = self.query.keys | dict.fromkeys(columns, pl.Float32())
            return pl.LazyFrame(schema=schema)
        rows = parts[0] if len(parts) == 1 else pl.concat(parts)
        return rows if place is None else overlapping(rows, place[1:])

    def _stretch(self, stretch: Stretch, columns: Sequence[str]) -> pl.LazyFrame:
        chrom, start, end = stretch
        inside = first_base().is_between(start, end, closed="left")
        names = [*self.query.keys, *columns]
        parts = [self.own(stretch).filter(inside).select(names)]
        links = self.links.filter(pl.col("chrom") == chrom, inside)
        for run_id, rows_at in self.origins.items():
            rows = links.filter(pl.col("since_run") == run_id)
            joined = _with_values(rows, rows_at(stretch), columns)
            cast = pl.col("chrom").cast(self.query.keys["chrom"])
            parts.append(joined.with_columns(cast).select(names))
        return pl.concat(parts).sort(_ORDER)


def stretches(spans: Sequence[ShardSpan], chromosomes: Sequence[str]) -> Iterator[Stretch]:
    """Cut chromosomes where shards begin, into stretches of about `STRETCH_ROWS` rows.

    Every row of a shard has its first base in just one of them.
    """
    rank = {chrom: number for number, chrom in enumerate(chromosomes)}
    ordered = sorted(spans, key=lambda span: (rank[span.chrom], span.start))
    for chrom, on_it in groupby(ordered, key=attrgetter("chrom")):
        begin, reach, rows = -1, 0, 0
        for start, some in groupby(on_it, key=attrgetter("start")):
            if begin < 0:
                begin = start
            elif rows >= STRETCH_ROWS:
                yield chrom, begin, min(start, reach)
                begin, rows = start, 0
            here = list(some)
            reach = max(reach, *(span.end for span in here))
            rows += sum(span.rows for span in here)
        yield chrom, begin, reach


def _with_values(
    links: pl.LazyFrame, rows: pl.LazyFrame | None, columns: Sequence[str]
) -> pl.LazyFrame:
    """Set values beside links. None of these is lost, whatever has become of the other run."""
    if rows is None:
        return links.with_columns(pl.lit(None, pl.Float32()).alias(name) for name in columns)
    values = rows.select("variant", *columns)
    return links.join(values, left_on="since_variant", right_on="variant", how="left")


def check_links(links: pl.LazyFrame, run_id: str, variants: pl.LazyFrame, place: object) -> None:
    """Compare each link to a run with the row of that run's plan that it names.

    Raises StorageError where one is of another allele.
    """
    keys = ["chrom", "pos", "ref", "alt"]
    text = pl.col("chrom").cast(pl.String)
    astray = (
        links.filter(pl.col("since_run") == run_id)
        .with_columns(text)
        .join(
            variants.with_columns(text),
            left_on=["since_variant", *keys],
            right_on=["variant", *keys],
            how="anti",
        )
        .select(pl.len())
        .collect()
        .item()
    )
    if astray:
        raise StorageError(
            f"{astray:,} links lead to rows of the run in {place} that are of other alleles. Bring "
            f"both runs back from a copy, or score again into another --out."
        )


def _meeting(spans: Sequence[ShardSpan], place: Place | None) -> list[ShardSpan]:
    if place is None:
        return list(spans)
    chrom, start, end = place
    return [
        span
        for span in spans
        if span.chrom == chrom and span.end > start and (end is None or span.start < end)
    ]
