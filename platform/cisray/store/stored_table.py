"""A Parquet file of a table that may be longer than memory: its rows counted, its digest taken.

Knows Parquet; knows nothing of what the rows mean.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from cisray.errors import StorageError
from cisray.store.digest import RowDigest
from cisray.store.folder import StoredFile
from cisray_schemas.table import Table

BATCH_ROWS = 1 << 16


def count_rows(file: StoredFile, table: Table) -> int:
    """Count the rows of a file by its footer.

    Raises StorageError when it cannot be read or has other columns than the table.
    """
    with _opened(file, table) as opened:
        return int(opened.metadata.num_rows)


def digest_rows(file: StoredFile, table: Table) -> str:
    """Take the digest of a file's rows, a batch at a time; raise StorageError as `count_rows`."""
    digest = RowDigest(table)
    with _opened(file, table) as opened:
        for batch in opened.iter_batches(BATCH_ROWS):
            digest.add(pa.Table.from_batches([batch]).cast(table.schema))
    return digest.hexdigest()


@contextmanager
def _opened(file: StoredFile, table: Table) -> Iterator[pq.ParquetFile]:
    try:
        with (
            file.open() as stream,
            pq.ParquetFile(stream, page_checksum_verification=True) as opened,
        ):
            if opened.schema_arrow.names != table.schema.names:
                raise pa.ArrowInvalid(
                    f"its columns are {opened.schema_arrow.names}, a table of {table.name} has "
                    f"{table.schema.names}"
                )
            yield opened
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError(
            f"{file} cannot be read: {error}. Bring the file back from a copy, or start again "
            f"with --restart."
        ) from error
