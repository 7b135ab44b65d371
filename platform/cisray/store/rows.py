"""The last check of a shard's rows before they are stored, and their rounding.

Knows the contract of a data file (columns, bins, finite float32); knows nothing of files. What
passes here is exactly what the plan owes; nothing is sorted, cut, filled or cast into shape.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cisray.errors import ResultsError
from cisray.locus import format_locus
from cisray.store.encode import round_mantissa
from cisray.store.plan import ShardSpan
from cisray_schemas.genome_tracks import genome_tracks_schema

Columns = Mapping[str, npt.NDArray[np.generic]]


class Piece(NamedTuple):
    """The rows of one shard for one block. `start` .. `end` are 0-based half-open.

    `columns` holds `start` and the block's columns in head order, each of N values.
    """

    block: str
    chrom: str
    start: int
    end: int
    columns: pa.Table | Columns


class Owed(NamedTuple):
    """What a piece must be: its shard's span, the first base of each bin, its value columns."""

    span: ShardSpan
    starts: npt.NDArray[np.int32]
    columns: list[str]
    bin_bp: int


def checked_rows(piece: Piece, owed: Owed, mantissa_bits: int) -> pa.Table:
    """Return the rows of a piece, rounded, in the schema of a data file.

    Raises ResultsError for rows, bins or columns other than those owed, for values of another
    type than float32, and for values that are not finite (naming track, bin and their number).
    """
    span = owed.span
    where = f"shard {span.shard}, block {piece.block}"
    if (piece.chrom, piece.start, piece.end) != (span.chrom, span.start, span.end):
        raise ResultsError(
            f"{where} is {span.chrom} {span.start} to {span.end} in the plan, but its results are "
            f"for {piece.chrom} {piece.start} to {piece.end} (0-based half-open)"
        )
    columns = _as_arrays(piece.columns, where)
    names = ["start", *owed.columns]
    if list(columns) != names:
        raise ResultsError(f"{where} {_column_difference(list(columns), names)}")
    _check_starts(columns["start"], owed, where)
    arrays = [pa.array(owed.starts)]
    for name in owed.columns:
        values = _checked_values(columns[name], name, owed, where)
        arrays.append(pa.array(round_mantissa(values, mantissa_bits)))
    return pa.Table.from_arrays(arrays, schema=genome_tracks_schema(owed.columns))


def _as_arrays(columns: pa.Table | Columns, where: str) -> Columns:
    if not isinstance(columns, pa.Table):
        return columns
    if len(set(columns.column_names)) != columns.num_columns:
        raise ResultsError(f"{where} has a column name twice: {columns.column_names}")
    nulls = [name for name in columns.column_names if columns[name].null_count]
    if nulls:
        raise ResultsError(f"{where} has nulls in {', '.join(nulls[:5])}; every bin needs a value")
    return {name: columns[name].to_numpy() for name in columns.column_names}


def _column_difference(got: list[str], owed: list[str]) -> str:
    missing = [name for name in owed if name not in set(got)]
    surplus = [name for name in got if name not in set(owed)]
    if missing or surplus:
        return f"lacks the columns {missing[:5]} and has the columns {surplus[:5]} too many"
    return f"has its columns in another order than the head: {got[:5]} ... for {owed[:5]} ..."


def _check_starts(starts: npt.NDArray[np.generic], owed: Owed, where: str) -> None:
    if not np.issubdtype(starts.dtype, np.integer):
        raise ResultsError(f"{where} has starts of type {starts.dtype}; bins start at integers")
    if starts.shape != owed.starts.shape:
        raise ResultsError(f"{where} has {starts.shape} rows, its plan owes {owed.starts.shape}")
    wrong = starts != owed.starts
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ResultsError(
            f"{where} has a bin at {owed.span.chrom} {starts[row]} in row {row} where the plan has "
            f"{owed.starts[row]} (0-based starts); {int(wrong.sum())} rows differ"
        )


def _checked_values(
    values: npt.NDArray[np.generic], name: str, owed: Owed, where: str
) -> npt.NDArray[np.float32]:
    if values.dtype != np.float32 or values.shape != owed.starts.shape:
        raise ResultsError(
            f"{where}, track column {name} has {values.shape} values of {values.dtype}; "
            f"{owed.starts.shape} of float32 are owed"
        )
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.argmin(finite))
        start = int(owed.starts[row])
        raise ResultsError(
            f"{where}: {int((~finite).sum())} of {len(finite)} values of track column {name} are "
            f"not finite, the first one ({values[row]}) at "
            f"{format_locus(owed.span.chrom, start, start + owed.bin_bp)}. "
            f"Nothing of the shard is stored; try --precision float32, or check the weights."
        )
    return values.astype(np.float32, copy=False)
