"""The last check of a shard's rows before they are stored, and their rounding.

Knows the contract of a data file (keys, columns, finite float32); knows nothing of files. What
passes here is exactly what the plan owes; nothing is sorted, cut, filled or cast into shape.
"""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cisray.errors import ResultsError
from cisray.store.encode import round_mantissa
from cisray.store.plan import Plan

Column: TypeAlias = "npt.NDArray[np.generic] | pa.Array | pa.ChunkedArray"
Columns = Mapping[str, Column]


class Piece(NamedTuple):
    """The rows of one shard for one block. `start` .. `end` are 0-based half-open.

    `columns` holds the plan's keys and the block's value columns in order, each of N values, as
    NumPy arrays or Arrow columns.
    """

    block: str
    chrom: str
    start: int
    end: int
    columns: pa.Table | Columns


class Owed(NamedTuple):
    """What a piece must be: a shard of a plan, its keys, and the schema of its data file."""

    plan: Plan
    shard: int
    keys: pa.Table
    schema: pa.Schema


def checked_rows(piece: Piece, owed: Owed, mantissa_bits: int) -> pa.Table:
    """Return the rows of a piece, rounded, in the schema of a data file.

    In a column that is nullable there, NaN stands for a missing value and becomes null.

    Raises ResultsError for keys or columns other than those owed, for values of another type than
    float32, and for values that are not finite (naming column, row and their number).
    """
    span = owed.plan.spans[owed.shard]
    where = f"shard {owed.shard}, block {piece.block}"
    if (piece.chrom, piece.start, piece.end) != (span.chrom, span.start, span.end):
        raise ResultsError(
            f"{where} is {span.chrom} {span.start} to {span.end} in the plan, but its results are "
            f"for {piece.chrom} {piece.start} to {piece.end} (0-based half-open)"
        )
    columns = _as_mapping(piece.columns, where)
    if list(columns) != owed.schema.names:
        raise ResultsError(f"{where} {_column_difference(list(columns), owed.schema.names)}")
    arrays = []
    for field in owed.schema:
        column = _as_array(columns[field.name], field, where)
        if field.name in owed.keys.column_names:
            _check_key(column, field, owed, where)
            arrays.append(owed.keys[field.name])
        else:
            values = round_mantissa(_checked_values(column, field, owed, where), mantissa_bits)
            # In pandas a missing value is NaN: this option writes null for it.
            arrays.append(pa.array(values, from_pandas=field.nullable))
    return pa.Table.from_arrays(arrays, schema=owed.schema)


def _as_mapping(columns: pa.Table | Columns, where: str) -> Columns:
    if not isinstance(columns, pa.Table):
        return columns
    if len(set(columns.column_names)) != columns.num_columns:
        raise ResultsError(f"{where} has a column name twice: {columns.column_names}")
    return dict(zip(columns.column_names, columns.columns, strict=True))


def _as_array(column: Column, field: pa.Field, where: str) -> npt.NDArray[np.generic]:
    if isinstance(column, np.ndarray):
        return column
    if column.null_count and not field.nullable:
        raise ResultsError(f"{where} has nulls in {field.name}; every row needs a value")
    array: npt.NDArray[np.generic] = column.to_numpy(zero_copy_only=False)
    return array


def _column_difference(got: list[str], owed: list[str]) -> str:
    missing = [name for name in owed if name not in set(got)]
    surplus = [name for name in got if name not in set(owed)]
    if missing or surplus:
        return f"lacks the columns {missing[:5]} and has the columns {surplus[:5]} too many"
    return f"has its columns in another order than owed: {got[:5]} ... for {owed[:5]} ..."


def _check_key(got: npt.NDArray[np.generic], field: pa.Field, owed: Owed, where: str) -> None:
    expected = _as_array(owed.keys[field.name], field, where)
    kinds = "OUT" if pa.types.is_string(field.type) else "iu"
    if got.dtype.kind not in kinds:
        raise ResultsError(f"{where} has a column {field.name} of {got.dtype}, not of {field.type}")
    if got.shape != expected.shape:
        raise ResultsError(f"{where} has {got.shape} rows, its plan owes {expected.shape}")
    wrong = np.asarray(got != expected, dtype=bool)
    if wrong.any():
        row = int(np.argmax(wrong))
        base = (field.metadata or {}).get(b"base", b"").decode()
        raise ResultsError(
            f"{where} has the {field.name} {got[row]} in row {row} where the plan has "
            f"{expected[row]}{f' ({base})' if base else ''}, {owed.plan.place(owed.shard, row)}; "
            f"{int(wrong.sum())} rows differ"
        )


def _checked_values(
    values: npt.NDArray[np.generic], field: pa.Field, owed: Owed, where: str
) -> npt.NDArray[np.float32]:
    if values.dtype != np.float32 or values.shape != (owed.keys.num_rows,):
        raise ResultsError(
            f"{where}, column {field.name} has {values.shape} values of {values.dtype}; "
            f"{(owed.keys.num_rows,)} of float32 are owed"
        )
    wrong = np.isinf(values) if field.nullable else ~np.isfinite(values)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ResultsError(
            f"{where}: {int(wrong.sum())} of {len(wrong)} values of column {field.name} are not "
            f"finite, the first one ({values[row]}) at {owed.plan.place(owed.shard, row)}. "
            f"Nothing of the shard is stored; try --precision float32, or check the weights."
        )
    return values.astype(np.float32, copy=False)
