"""Digests over the values of a table, whatever file, row groups or encoding it lies in.

Knows Arrow columns of text and of whole numbers; knows nothing of what they mean. Rows come a
batch at a time, so that a table of any size has a digest without being held.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import JsonValue

from cisray.errors import StorageError
from cisray.store.manifest import canonical_json
from cisray_schemas.table import Table

BATCH_ROWS = 65_536


class RowDigest:
    """SHA-256 over rows in their order; where they were cut into batches makes no difference."""

    def __init__(self, table: Table) -> None:
        """Begin with no rows of the fixed columns of a table."""
        self._table = table
        self._rows = 0
        # Each column is three streams (which values are there, lengths, contents): joined into one
        # stream, they would depend on the batches.
        self._streams = {name: [hashlib.sha256() for _ in range(3)] for name in table.schema.names}

    def add(self, rows: pa.Table) -> None:
        """Take in the next rows, with the columns of the table."""
        self._rows += rows.num_rows
        for field in self._table.schema:
            for chunk in rows[field.name].cast(field.type).chunks:
                for stream, part in zip(self._streams[field.name], _streams_of(chunk), strict=True):
                    stream.update(part)

    def hexdigest(self) -> str:
        """Give the digest of the rows so far, hexadecimal."""
        columns: dict[str, JsonValue] = {
            name: [stream.hexdigest() for stream in streams]
            for name, streams in self._streams.items()
        }
        content: JsonValue = {"format": self._table.format, "rows": self._rows, "columns": columns}
        return hashlib.sha256(canonical_json(content)).hexdigest()


def digest_of_file(path: Path, table: Table) -> str:
    """Take the digest of a Parquet file of a table, a batch of rows at a time.

    Raises StorageError when it cannot be read or has other columns.
    """
    digest = RowDigest(table)
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        if file.schema_arrow.names != table.schema.names:
            raise pa.ArrowInvalid(
                f"its columns are {file.schema_arrow.names}, a table of {table.name} has "
                f"{table.schema.names}"
            )
        for batch in file.iter_batches(BATCH_ROWS):
            digest.add(pa.Table.from_batches([batch]))
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError(
            f"{path} cannot be read ({error}). Bring the file back from a copy, or start again "
            f"with --restart."
        ) from error
    return digest.hexdigest()


def _streams_of(chunk: pa.Array) -> Iterator[bytes | memoryview]:
    """Give which values are there, their lengths, and the values; nulls count as empty or 0."""
    yield np.asarray(chunk.is_valid(), dtype=np.uint8).tobytes()
    if pa.types.is_string(chunk.type):
        filled = pc.fill_null(chunk, "")
        yield np.asarray(pc.binary_length(filled), dtype="<i8").tobytes()
        yield _text_of(filled)
    else:
        yield b""
        yield np.asarray(pc.fill_null(chunk, 0), dtype="<i8").tobytes()


def _text_of(texts: pa.StringArray) -> bytes | memoryview:
    """Give the characters of all texts, one after the other, without copying them."""
    _, offsets, characters = texts.buffers()
    if len(texts) == 0 or characters is None:
        return b""
    bounds = np.frombuffer(offsets, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return memoryview(characters)[int(bounds[0]) : int(bounds[-1])]
