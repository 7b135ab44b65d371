"""From the alleles of a file of variants to a plan of shards and a table of rejects.

Knows what becomes of an entry: a row of the plan, or a reject in the order of the input. Knows
nothing of how entries are read or scored. Memory does not grow with the number of entries.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

import pyarrow as pa

from cisray.genome.alleles import Allele, Reject
from cisray.genome.variant import Variant
from cisray.scoring.planned import PlanFiles, Planned, SiteCount, write_plan
from cisray.scoring.rejects import refuse_rejects, reject_rows
from cisray.scoring.shards import ORDER, Cutting, check_positions, cut
from cisray.store.sorting import RowSorter
from cisray.store.table_writer import TableWriter
from cisray_schemas import REJECTS, VARIANT_SCORES, VARIANTS, Reason
from cisray_schemas.table import Table

# Entries are laid out as columns in batches; both limits are a few MB.
_BATCH_ENTRIES = 1 << 13
_BATCH_LETTERS = 1 << 22

_ADDED_BY_CUT = {"chrom", "missing_bp"}
_ROWS = pa.schema(
    [
        pa.field("rank", pa.int32(), nullable=False),
        *(field for field in VARIANTS.schema if field.name not in _ADDED_BY_CUT),
    ]
)

_Entry = TypeVar("_Entry")


class RowsOf(Protocol):
    """Which rows an allele has: at least one, or it is a reject."""

    @property
    def tables(self) -> tuple[Table, Table]:
        """The tables of the plan, and of the run's data files."""

    def sift(self, entries: Iterable[Allele | Reject]) -> Iterable[Allele | Reject]:
        """Give a reject in place of every allele that has no rows."""

    def multiply(self, alleles: Iterable[pa.Table]) -> Iterable[pa.Table]:
        """Make the rows of alleles that are sorted by `ORDER`, in the order of the plan."""

    @property
    def owed(self) -> int | None:
        """How many rows the alleles that were sifted must have; None for one each."""

    @property
    def sites(self) -> SiteCount | None:
        """Count the sites that rows are at, once all rows are made; None where they are at none."""


class OneEach:
    """Every allele has one row."""

    tables = VARIANTS, VARIANT_SCORES
    owed = None
    sites = None

    def sift(self, entries: Iterable[Allele | Reject]) -> Iterable[Allele | Reject]:
        """Let all of them pass."""
        return entries

    def multiply(self, alleles: Iterable[pa.Table]) -> Iterable[pa.Table]:
        """Let all of them pass."""
        return alleles


def plan_variants(
    entries: Iterable[Allele | Reject],
    files: PlanFiles,
    cutting: Cutting,
    *,
    fits: Callable[[Variant], bool],
    rows: RowsOf | None = None,
    strict: bool = False,
) -> Planned:
    """Plan the scoring of all alleles; every entry gets rows in one of the two files.

    `fits` tells whether a variant can be lined up with its window; of one base exchanged for one it
    is not asked. `rows` are `OneEach` unless given. With `strict` any reject is an error, raised
    when all are counted and nothing is planned yet.

    Raises `RejectsRefused`, `CoordinateError` for a chromosome whose positions the tables cannot
    hold, `StorageError`, `ResultsError` where an entry was lost, and whatever `entries` raises.
    """
    check_positions(cutting)
    rows = rows or OneEach()
    ranks = {chrom: rank for rank, chrom in enumerate(cutting.chromosomes)}
    with RowSorter(_ROWS, ORDER, folder=files.scratch) as sorter:
        with TableWriter(files.rejects, REJECTS) as rejects:
            alleles = _Batches[tuple[int, Allele]](
                lambda batch: sorter.add(_allele_rows(batch, ranks))
            )
            refused = _Batches[Reject](lambda batch: rejects.add(reject_rows(batch, files.source)))
            count = _sort_out(rows.sift(_fitting(entries, fits)), alleles, refused)
        if strict:
            refuse_rejects(files.rejects, count, "record")
        planned = write_plan(
            cut(rows.multiply(sorter.sorted_batches()), cutting),
            rows.tables,
            files,
            entries=count,
            rejects_sha256=rejects.sha256,
            rows=rows.owed,
        )
    return replace(planned, sites=rows.sites)


class _Batches(Generic[_Entry]):
    """Collects entries until there are enough, by number or by letters, and passes them on."""

    def __init__(self, pass_on: Callable[[list[_Entry]], None]) -> None:
        self._pass_on = pass_on
        self._waiting: list[_Entry] = []
        self._letters = 0

    def add(self, entry: _Entry, letters: int) -> None:
        self._waiting.append(entry)
        self._letters += letters
        if len(self._waiting) >= _BATCH_ENTRIES or self._letters >= _BATCH_LETTERS:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            self._pass_on(self._waiting)
            self._waiting, self._letters = [], 0


def _fitting(
    entries: Iterable[Allele | Reject], fits: Callable[[Variant], bool]
) -> Iterator[Allele | Reject]:
    for entry in entries:
        if isinstance(entry, Reject) or entry.variant.is_snv or fits(entry.variant):
            yield entry
        else:
            yield _does_not_fit(entry)


def _sort_out(
    entries: Iterable[Allele | Reject],
    alleles: _Batches[tuple[int, Allele]],
    rejects: _Batches[Reject],
) -> int:
    """Pass every entry on, alleles with their numbers, and give the count of entries."""
    count = 0
    for entry in entries:
        letters = len(entry.ref or "") + len(entry.alt or "")
        if isinstance(entry, Reject):
            rejects.add(entry, letters)
        else:
            alleles.add((count, entry), letters)
        count += 1
    alleles.flush()
    rejects.flush()
    return count


def _does_not_fit(allele: Allele) -> Reject:
    variant = allele.variant
    if len(variant.ref) == len(variant.alt):
        fault = Reason.TOO_LONG, "its window does not show what it changes."
    else:
        fault = (
            Reason.REPEAT_TOO_LONG,
            "it may be placed anywhere in a repeat, and leaves its window no flank to line up.",
        )
    return reject(allele, *fault)


def reject(allele: Allele, reason: Reason, detail: str) -> Reject:
    """Say why an allele that agrees with the reference is not scored after all."""
    record, line, alt_index, chrom, pos, known_as, ref, alt, _ = allele
    return Reject(record, line, alt_index, chrom, pos, known_as, ref, alt, reason, detail)


def _allele_rows(batch: list[tuple[int, Allele]], ranks: dict[str, int]) -> pa.Table:
    numbers, alleles = zip(*batch, strict=True)
    record, line, alt_index, chrom, pos, known_as, ref, alt, variants = zip(*alleles, strict=True)
    columns = {
        "rank": [ranks[variant.chrom] for variant in variants],
        "variant": numbers,
        "pos": [variant.pos for variant in variants],
        "ref": [variant.ref for variant in variants],
        "alt": [variant.alt for variant in variants],
        "id": known_as,
        "source_chrom": chrom,
        "source_pos": pos,
        "source_ref": ref,
        "source_alt": alt,
        "record": record,
        "line": line,
        "alt_index": alt_index,
    }
    arrays = [pa.array(columns[field.name], field.type) for field in _ROWS]
    return pa.Table.from_arrays(arrays, schema=_ROWS)
