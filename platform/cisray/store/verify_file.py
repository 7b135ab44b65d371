"""One data file of a run, read whole: bytes, footer, rows and values against what they must be.

Knows Parquet, the keys that a shard owes and how values are rounded; knows nothing of records or
of other files. Columns are read a few at a time, so that memory is that of some of them.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cisray.store.encode import FLOAT32_MANTISSA_BITS
from cisray.store.folder import StoredFile
from cisray.store.layout import RunLayout
from cisray.store.plan import Plan
from cisray.store.problems import AGAIN, Problem, ProblemKind
from cisray.store.receipt import WrittenFile

COLUMNS_AT_ONCE = 64
_ABOUT_THE_RUN = ("cisray.run_id", "cisray.manifest_sha256")
# Files of before it was told say nothing of it.
_LATER = {"cisray.max_relative_error"}
_ABOUT_THE_PLACE = ("cisray.block", "cisray.chrom", "cisray.start", "cisray.end")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a file must be: what is recorded of it, its footer's notes, its columns.

    The first `key_columns` of the schema are keys; None where the run's tracks cannot be read, or
    have no such block. `keys` are those of the rows that `shard` owes in `plan`; None, with `plan`,
    where that cannot be read.
    """

    shard: int
    last_shard: int
    file: WrittenFile
    notes: Mapping[str, str]
    schema: pa.Schema | None
    key_columns: int
    mantissa_bits: int
    plan: Plan | None
    keys: pa.Table | None

    def place(self, row: int) -> str:
        """Name a row that is owed; of a compacted file it is one of some shard among several."""
        plan = self.plan
        for shard in range(self.shard, self.last_shard + 1):
            span = plan.spans.get(shard) if plan is not None else None
            if plan is not None and span is not None:
                if row < span.rows:
                    return plan.place(shard, row)
                row -= span.rows
        return f"row {row}"


def check_file(layout: RunLayout, wanted: Wanted) -> Iterator[Problem]:
    """Yield everything that is wrong with a file; nothing for one that is as it was written."""
    file = layout.file(wanted.file.path)

    def problem(kind: ProblemKind, text: str, way_out: str = AGAIN) -> Problem:
        return Problem(kind, wanted.file.path, wanted.shard, f"{file} {text} {way_out}")

    size = file.size()
    if size is None:
        yield problem("missing-file", f"is missing: shard {wanted.shard} has lost it.")
        return
    if size != wanted.file.bytes:
        yield problem(
            "size",
            f"of shard {wanted.shard} has {size:,} bytes, the run recorded "
            f"{wanted.file.bytes:,} bytes.",
        )
    else:
        found = _digest_of(file)
        if found != wanted.file.sha256:
            recorded = wanted.file.sha256
            yield problem(
                "digest",
                f"is damaged: its sha256 is {found}, the run recorded {recorded} (shard "
                f"{wanted.shard}).",
            )
    try:
        with (
            file.open() as stream,
            pq.ParquetFile(stream, page_checksum_verification=True) as opened,
        ):
            for finding in _contents(opened, wanted):
                yield problem(finding.kind, finding.text)
    except (OSError, ValueError, pa.ArrowException) as error:
        yield problem("unreadable", f"cannot be read ({error}), of shard {wanted.shard}.")


class Finding(NamedTuple):
    """What is wrong, and the sentence about it that goes on from the name of the file."""

    kind: ProblemKind
    text: str


def _contents(opened: pq.ParquetFile, wanted: Wanted) -> Iterator[Finding]:
    """Compare footer, columns, keys and values; after a footer of elsewhere nothing else."""
    schema = wanted.schema
    elsewhere = list(_footer(opened, wanted))
    if not elsewhere and schema is not None:
        elsewhere = list(_columns(opened, schema, wanted.shard))
    yield from elsewhere
    if elsewhere or schema is None:
        return
    if wanted.keys is not None and wanted.plan is not None:
        found = opened.read(wanted.keys.column_names).cast(wanted.keys.schema)
        if not found.equals(wanted.keys):
            yield from _key_findings(found, wanted.keys, wanted)
    yield from _Values(wanted, list(schema)[wanted.key_columns :]).findings(opened)


def _footer(opened: pq.ParquetFile, wanted: Wanted) -> Iterator[Finding]:
    raw = opened.metadata.metadata or {}
    found = {
        key.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for key, value in raw.items()
    }
    asked = wanted.notes.keys() - (_LATER - found.keys())
    differ = {key for key in asked if found.get(key) != wanted.notes[key]}
    if "cisray.run_id" not in found:
        yield Finding("foreign", "is no data file of a run: its footer does not say of which.")
    elif differ & set(_ABOUT_THE_RUN):
        yield Finding(
            "foreign",
            f"lies in the place of shard {wanted.shard}, but is of another run: its footer says "
            f"{found['cisray.run_id']} (manifest {found.get('cisray.manifest_sha256', '')[:12]}), "
            f"this is {wanted.notes['cisray.run_id']} "
            f"({wanted.notes['cisray.manifest_sha256'][:12]}).",
        )
    elif differ & set(_ABOUT_THE_PLACE):
        here, there = (
            "block {}, {} {} to {}".format(*(notes.get(key) for key in _ABOUT_THE_PLACE))
            for notes in (wanted.notes, found)
        )
        yield Finding(
            "misplaced",
            f"lies in the place of shard {wanted.shard} ({here}), but its footer says {there} "
            f"(0-based){_owner(wanted, found)}.",
        )
    elif differ:
        told = ", ".join(f"{key} {found.get(key)!r}" for key in sorted(differ))
        yield Finding("foreign", f"of shard {wanted.shard} has a footer that says {told}.")


def _owner(wanted: Wanted, found: Mapping[str, str]) -> str:
    """Name the shard of the run that lies where a footer says."""
    for shard, span in wanted.plan.spans.items() if wanted.plan else ():
        place = (span.chrom, str(span.start), str(span.end))
        if place == tuple(found.get(key) for key in _ABOUT_THE_PLACE[1:]):
            return f": those are rows of shard {shard}"
    return ""


def _columns(opened: pq.ParquetFile, schema: pa.Schema, shard: int) -> Iterator[Finding]:
    found = opened.schema_arrow
    for field in schema:
        if field.name not in found.names:
            yield Finding("columns", f"of shard {shard} has no column {field.name}.")
            return
        there = found.field(field.name)
        if (there.type, there.nullable) != (field.type, field.nullable):
            yield Finding(
                "columns",
                f"of shard {shard} has a column {field.name} of {there.type}"
                f"{' with nulls' if there.nullable else ''}, the run's is {field.type}.",
            )
            return
    if found.names != schema.names:
        yield Finding(
            "columns",
            f"of shard {shard} has {len(found.names):,} columns, beginning with "
            f"{found.names[:5]}; the run's has {len(schema.names):,}, beginning with "
            f"{schema.names[:5]}.",
        )


def _key_findings(found: pa.Table, owed: pa.Table, wanted: Wanted) -> Iterator[Finding]:
    """Say in which way rows are not those owed: lost, of elsewhere, twice, or out of order."""
    names, shard = owed.column_names, wanted.shard
    asked = _counted(owed, "owed").with_row_index("row")
    counts = asked.join(_counted(found, "there"), on=names, how="full", coalesce=True)
    counts = counts.with_columns(pl.col("owed", "there").fill_null(0))
    lost = counts.filter(pl.col("there") < pl.col("owed")).sort("first")
    twice = counts.filter(pl.col("there") > pl.col("owed"), pl.col("owed") > 0).sort("first")
    others = counts.filter(pl.col("owed") == 0)
    size = f"({found.num_rows:,} rows, {owed.num_rows:,} owed)"
    if lost.height:
        number = int((lost["owed"] - lost["there"]).sum())
        first = wanted.place(lost["first"][0])
        text = f"lacks {number:,} rows of shard {shard} {size}, the first one at {first}."
        yield Finding("missing-rows", text)
    if twice.height:
        number = int((twice["there"] - twice["owed"]).sum())
        first = wanted.place(twice["first"][0])
        text = f"holds {number:,} rows of shard {shard} once too often {size}, the first one at "
        yield Finding("duplicate-rows", f"{text}{first}.")
    if others.height:
        row = ", ".join(f"{name} {others[name][0]}" for name in names[:5])
        text = f"holds {int(others['there'].sum()):,} rows that shard {shard} does not owe {size}, "
        yield Finding("foreign-rows", f"{text}such as {row}.")
    if not (lost.height or twice.height or others.height):
        pairs = enumerate(zip(found.to_pylist(), owed.to_pylist(), strict=True))
        at = next(number for number, (there, wanted_row) in pairs if there != wanted_row)
        text = f"holds the rows of shard {shard} out of order: row {at} is not "
        yield Finding("row-order", f"{text}{wanted.place(at)}.")


def _counted(keys: pa.Table, name: str) -> pl.DataFrame:
    """Count equal rows, in a column of that name; the first of them stands in `first`."""
    frame = pl.DataFrame(keys)
    first = [pl.col("at").min().alias("first")] if name == "owed" else []
    return frame.with_row_index("at").group_by(frame.columns).agg(pl.len().alias(name), *first)


class _Values:
    """Finds values that are not finite, and those with more bits than the run keeps."""

    def __init__(self, wanted: Wanted, fields: Sequence[pa.Field]) -> None:
        self._wanted, self._fields = wanted, fields
        # A value is rounded if all bits below those kept are zero.
        self._dropped = np.uint32((1 << (FLOAT32_MANTISSA_BITS - wanted.mantissa_bits)) - 1)

    def findings(self, opened: pq.ParquetFile) -> Iterator[Finding]:
        broken, precise = _Tally(), _Tally()
        for first in range(0, len(self._fields), COLUMNS_AT_ONCE):
            fields = self._fields[first : first + COLUMNS_AT_ONCE]
            table = opened.read([field.name for field in fields])
            for field in fields:
                column = table[field.name]
                values = np.ascontiguousarray(column.to_numpy(), dtype=np.float32)
                finite = np.isfinite(values)
                # A NaN that is stored as one is no missing value: that would be a null.
                broken.add(field.name, ~finite & np.asarray(column.is_valid().to_numpy()))
                precise.add(field.name, finite & ((values.view(np.uint32) & self._dropped) != 0))
        bits = self._wanted.mantissa_bits
        if broken.number:
            yield Finding("not-finite", self._told(broken, "are not finite"))
        if precise.number:
            text = f"have more than the {bits} mantissa bits that the run keeps"
            yield Finding("not-rounded", self._told(precise, text))

    def _told(self, tally: "_Tally", what: str) -> str:
        wanted, row = self._wanted, tally.row
        if wanted.plan is None or wanted.keys is None or row >= wanted.keys.num_rows:
            place = f"in row {row}"
        else:
            place = f"at {wanted.place(row)}"
        return (
            f"holds {tally.number:,} values that {what}, the first one in column {tally.column} "
            f"{place} (shard {wanted.shard})."
        )


class _Tally:
    """Counts findings in columns and keeps where the first one was."""

    def __init__(self) -> None:
        self.number, self.column, self.row = 0, "", 0

    def add(self, column: str, wrong: NDArray[np.bool_]) -> None:
        count = int(wrong.sum())
        if count and not self.number:
            self.column, self.row = column, int(np.argmax(wrong))
        self.number += count


def _digest_of(file: StoredFile) -> str:
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    return digest.hexdigest()
