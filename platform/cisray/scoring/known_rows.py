"""Sorted alleles walked beside those that earlier runs have scored: the known ones are set apart.

Knows sorted rows and the table of links; knows nothing of runs, nor of where they lie. Both sides
come in order, a table at a time, so that of a file and of runs of any length one table each is
held. A known allele becomes a row of the table of links, any other a row of the plan.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cisray.genome.alleles import Allele, Reject
from cisray.scoring.planned import PlanFiles
from cisray.scoring.shards import MAX_ROWS, ORDER, Cutting, located, one_chromosome_each
from cisray.store.files import writing_to
from cisray.store.keyed_plan import KeyedPlanWriter
from cisray_schemas import LINKED, VARIANT_SCORES, VARIANTS

_KEY = [name for name in ORDER if name != "variant"]
_NOTHING = pa.schema(
    [("row", pa.int64()), ("since_run", pa.string()), ("since_variant", pa.int64())]
).empty_table()


class NotKnown:
    """Every allele has one row, unless an earlier run has scored it: then it has a link.

    `known` are tables of chrom, pos, ref, alt, `since_run` and `since_variant`, each stream sorted
    by chromosome in the FASTA's order, pos, ref and alt. What several have is linked to the first
    of them, and there to the first of equal rows. Links are written to `files.linked`, as a plan of
    `LINKED`; when all rows are made, `linked_to` has the runs that they lead to.
    """

    tables = VARIANTS, VARIANT_SCORES
    owed = None
    sites = None

    def __init__(
        self, known: Sequence[Iterator[pa.Table]], files: PlanFiles, cutting: Cutting
    ) -> None:
        """Begin without rows. Raises ValueError where there is no file for links."""
        if files.linked is None:
            raise ValueError("rows that are known need a file for their links")
        self._walks = [_Walk(tables, cutting) for tables in known]
        self._file = files.linked
        self._cutting = cutting
        self.linked_to: set[str] = set()

    def sift(self, entries: Iterable[Allele | Reject]) -> Iterable[Allele | Reject]:
        """Let all of them pass."""
        return entries

    def multiply(self, alleles: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Let those pass that are not known, and write links of the others.

        Raises StorageError. The file is whole when the last row has come.
        """
        with KeyedPlanWriter(self._file, LINKED, VARIANT_SCORES) as writer:
            links = _Links(writer, self._file, self._cutting)
            for batch in alleles:
                rows = batch.append_column("row", pa.array(np.arange(batch.num_rows)))
                known = self._known(rows.select([*_KEY, "row"]))
                links.add(_linked(rows, known))
                self.linked_to.update(pc.unique(known["since_run"]).to_pylist())
                if known.num_rows < rows.num_rows:
                    yield _others(rows, known).drop_columns("row")
            links.flush()

    def _known(self, left: pa.Table) -> pa.Table:
        """Look sorted rows up: `row` of each that is known, and what it is linked to."""
        found = [_NOTHING]
        for walk in self._walks:
            found.append(walk.look_up(left))
            left = _others(left, found[-1])
        return pa.concat_tables(found).sort_by("row")


class _Walk:
    """One stream of what is known, of which a table is held."""

    def __init__(self, tables: Iterator[pa.Table], cutting: Cutting) -> None:
        self._tables = tables
        self._chromosomes = pa.array(list(cutting.chromosomes))
        self._held: pa.Table | None = None
        self._last: tuple[Any, ...] = ()

    def look_up(self, rows: pa.Table) -> pa.Table:
        """Find the known ones of sorted rows, none of which is before those of the last call.

        What comes after the held table cannot equal a row that is not after its last one: so rows
        are looked up in one table each.
        """
        found, start = [_NOTHING], 0
        while start < rows.num_rows and self._hold():
            places = range(rows.num_rows)
            end = bisect_right(places, self._last, lo=start, key=lambda row: _place(rows, row))
            found.append(self._matches(rows.slice(start, end - start)))
            start = end
            if start < rows.num_rows:
                self._held = None  # used up
        return pa.concat_tables(found)

    def _hold(self) -> bool:
        """Hold a table, the next one if that before it is used up; tell False at the end."""
        if self._held is None:
            table = next(self._tables, None)
            if table is None:
                return False
            rank = pc.index_in(table["chrom"], value_set=self._chromosomes)
            ranked = table.append_column("rank", rank)
            self._last = _place(ranked, ranked.num_rows - 1)
            first = [("since_run", "first"), ("since_variant", "first")]
            # Its order is kept without threads only.
            once = ranked.group_by(_KEY, use_threads=False).aggregate(first)
            names = {f"{name}_first": name for name, _ in first}
            self._held = once.rename_columns(names)
        return True

    def _matches(self, rows: pa.Table) -> pa.Table:
        joined = rows.join(self._held, keys=_KEY, join_type="inner")
        return joined.select(_NOTHING.schema.names).cast(_NOTHING.schema)


class _Links:
    """Writes links as a plan, in shards of as many rows as a shard may have."""

    def __init__(self, writer: KeyedPlanWriter, file: Path, cutting: Cutting) -> None:
        self._writer = writer
        self._file = file
        self._cutting = cutting
        self._places = list(cutting.chromosomes.items())
        self._rank = -1
        self._held: list[pa.Table] = []
        self._count = 0

    def add(self, links: pa.Table) -> None:
        """Take in more links, in order."""
        for rank, rows in one_chromosome_each([links]):
            if rank != self._rank:
                self.flush()
                self._rank = rank
            self._held.append(rows)
            self._count += rows.num_rows
            while self._count >= MAX_ROWS:
                self._write(MAX_ROWS)

    def flush(self) -> None:
        """Write what is held."""
        if self._count:
            self._write(self._count)

    def _write(self, rows: int) -> None:
        held = pa.concat_tables(self._held).combine_chunks()
        shard = located(held.slice(0, rows), self._places[self._rank], self._cutting)
        with writing_to(self._file):
            self._writer.add_shard(shard)
        self._held, self._count = [held.slice(rows)], self._count - rows


def _place(rows: pa.Table, row: int) -> tuple[Any, ...]:
    return tuple(rows[name][row].as_py() for name in _KEY)


def _linked(rows: pa.Table, known: pa.Table) -> pa.Table:
    """Take the known ones of rows, with what they are linked to."""
    links = rows.take(known["row"])
    for name in ("since_run", "since_variant"):
        links = links.append_column(name, known[name])
    return links


def _others(rows: pa.Table, known: pa.Table) -> pa.Table:
    """Take the rows that are not among the known ones, by their `row`."""
    return rows.filter(pc.invert(pc.is_in(rows["row"], known["row"].combine_chunks())))
