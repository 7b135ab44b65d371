"""A Parquet file of a table that is written row by row as its rows are found, with its digest.

Knows Parquet and the columns of tables; knows nothing of what they mean. For tables that may be as
long as the input, of which a row group is held at a time.
"""

from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from cisray.store.digest import RowDigest
from cisray.store.files import writing_to
from cisray_schemas.table import Table

GROUP_ROWS = 1 << 16
GROUP_BYTES = 16 << 20


class TableWriter:
    """Writes rows in the order they come. A context manager; the file is whole once it is closed.

    `sha256` is by value: the same however the rows were cut into pieces.
    """

    def __init__(self, path: Path, table: Table) -> None:
        """Begin a file without rows, replacing what is there; raise `StorageError`."""
        self._path = path
        self._table = table
        self._digest = RowDigest(table)
        self._waiting: list[pa.Table] = []
        self._waiting_rows = self._waiting_bytes = 0
        with writing_to(path):
            self._writer = pq.ParquetWriter(path, table.schema, compression="zstd")

    @property
    def sha256(self) -> str:
        """SHA-256 over every value so far, hexadecimal."""
        return self._digest.hexdigest()

    def add(self, rows: pa.Table) -> None:
        """Take in more rows, of the table's schema; raise `StorageError`."""
        self._digest.add(rows)
        self._waiting.append(rows)
        self._waiting_rows += rows.num_rows
        self._waiting_bytes += rows.nbytes
        if self._waiting_rows >= GROUP_ROWS or self._waiting_bytes >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Finish the file; raise `StorageError`."""
        self._flush()
        with writing_to(self._path):
            self._writer.close()

    def _flush(self) -> None:
        if self._waiting_rows:
            rows = pa.concat_tables(self._waiting)
            with writing_to(self._path):
                self._writer.write_table(rows, row_group_size=rows.num_rows)
        self._waiting = []
        self._waiting_rows = self._waiting_bytes = 0

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish the file; after an error, only let go of it."""
        if error is None:
            self.close()
        else:
            # Closing a file that could not be written fails as well, and would hide why.
            with suppress(OSError):
                self._writer.close()
