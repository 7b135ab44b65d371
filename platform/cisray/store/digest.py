"""The digest of a table by its values, taken while its rows pass in pieces of any size.

Knows Arrow's integers and strings; knows nothing of files, so that the same values have the same
digest however they are encoded or cut into batches.
"""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cisray_schemas.table import Table


class RowDigest:
    """SHA-256 over rows in their order; where they were cut into batches makes no difference."""

    def __init__(self, table: Table) -> None:
        """Begin without rows; `table` says which columns are taken in, and in which order."""
        self._table = table
        self._columns = [_ColumnDigest(field.nullable) for field in table.schema]
        self._rows = 0

    def add(self, rows: pa.Table) -> None:
        """Take in more rows, which have the table's columns and types."""
        for field, digest in zip(self._table.schema, self._columns, strict=True):
            digest.add(rows[field.name])
        self._rows += rows.num_rows

    def hexdigest(self) -> str:
        """Give the digest of all rows so far, hexadecimal."""
        whole = hashlib.sha256(f"{self._table.format}\n{self._rows}\n".encode())
        for digest in self._columns:
            whole.update(digest.digest())
        return whole.hexdigest()


class _ColumnDigest:
    """Which values are null, how long texts are, and the values: one stream of bytes for each."""

    def __init__(self, nullable: bool) -> None:
        self._nullable = nullable
        self._nulls, self._lengths, self._values = (hashlib.sha256() for _ in range(3))

    def add(self, column: pa.ChunkedArray) -> None:
        if self._nullable:
            self._nulls.update(np.asarray(column.is_null().to_numpy(), dtype=np.uint8).tobytes())
        if pa.types.is_string(column.type):
            filled = pc.fill_null(column, "")
            self._lengths.update(_bytes(pc.binary_length(filled)))
            self._values.update("".join(filled.to_pylist()).encode())
        else:
            self._values.update(_bytes(pc.fill_null(column, 0)))

    def digest(self) -> bytes:
        parts = (self._nulls, self._lengths, self._values)
        return b"".join(part.digest() for part in parts)


def _bytes(integers: pa.ChunkedArray) -> bytes:
    return np.asarray(integers.to_numpy(), dtype="<i8").tobytes()
