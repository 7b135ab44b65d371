"""The plan of a run whose rows are known by keys: which variants it scores, in which shard.

Knows Parquet and the columns of plans; knows nothing of files of variants or of models. Millions of
rows are planned without being held: a plan is a Parquet file with one row group for each shard, of
which a reader holds one at a time.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cisray.errors import ResultsError
from cisray.store.plan import ShardSpan
from cisray_schemas.table import Table


class KeyedPlan:
    """Shards of rows, each with its keys; every shard lies on one chromosome.

    `entries` are all columns of the plan, `keys` those that stand in the run's data files as well.
    A span's `start` .. `end` hold the first base of every ref of the shard, 0-based half-open.
    """

    def __init__(self, path: Path, plan: Table, data: Table) -> None:
        """Open a plan that a `KeyedPlanWriter` wrote; raises OSError and pa.ArrowInvalid."""
        self.path = path
        self.plan = plan
        self.data = data
        self._file = pq.ParquetFile(path)
        if self._file.schema_arrow.names != plan.schema.names:
            raise pa.ArrowInvalid(
                f"its columns are {self._file.schema_arrow.names}, a plan of {plan.name} has "
                f"{plan.schema.names}"
            )
        self._spans = {shard: self._span(shard) for shard in range(self.num_shards)}

    @property
    def num_shards(self) -> int:
        """How many shards there are; none where nothing is to be scored."""
        return int(self._file.metadata.num_row_groups)

    @property
    def rows(self) -> int:
        """The rows that the whole run owes."""
        return int(self._file.metadata.num_rows)

    @property
    def spans(self) -> Mapping[int, ShardSpan]:
        """The shards, by number; each owes at least one row."""
        return MappingProxyType(self._spans)

    @property
    def sha256(self) -> str:
        """SHA-256 over every row of the plan and how it is cut, hexadecimal; reads all of it."""
        digest = hashlib.sha256(self.plan.format.encode())
        for shard in range(self.num_shards):
            _add(digest, self.entries(shard))
        return digest.hexdigest()

    def entries(self, shard: int) -> pa.Table:
        """Read all columns of a shard's rows, in their order."""
        return self._file.read_row_group(shard).cast(self.plan.schema)

    def keys(self, shard: int) -> pa.Table:
        """Read the columns of a shard's rows that stand in its data files."""
        return self._file.read_row_group(shard, self.data.schema.names).cast(self.data.schema)

    def _span(self, shard: int) -> ShardSpan:
        # The footer's statistics are enough: nothing is read.
        group = self._file.metadata.row_group(shard)
        chrom, pos = (
            group.column(self.plan.schema.get_field_index(name)).statistics
            for name in ("chrom", "pos")
        )
        return ShardSpan(shard, chrom.min, pos.min - 1, pos.max, group.num_rows)


class KeyedPlanWriter:
    """Writes a plan, a shard at a time. A context manager: `plan` is there once it is closed."""

    def __init__(self, path: Path, plan: Table, data: Table) -> None:
        """Begin a file; rows must come in the order of the tables' `sort_by` on each chromosome."""
        self._path, self._plan, self._data = path, plan, data
        self._writer = pq.ParquetWriter(path, plan.schema, compression="zstd")
        self._shards = 0

    def add_shard(self, rows: pa.Table) -> int:
        """Write the rows of one shard, in their order, and give its number.

        Raises ResultsError for a shard without rows or of several chromosomes.
        """
        if pc.count_distinct(rows["chrom"]).as_py() != 1:
            raise ResultsError(
                f"shard {self._shards} of a plan must have rows, all of one chromosome, and has "
                f"{rows.num_rows} of {pc.unique(rows['chrom']).to_pylist()[:5]}."
            )
        table = rows.select(self._plan.schema.names).cast(self._plan.schema)
        self._writer.write_table(table, row_group_size=table.num_rows)
        self._shards += 1
        return self._shards - 1

    def close(self) -> KeyedPlan:
        """Finish the file and open it as a plan."""
        self._writer.close()
        return KeyedPlan(self._path, self._plan, self._data)

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file, whole or not."""
        self._writer.close()


def _add(digest: Any, rows: pa.Table) -> None:
    """Take rows into a digest by their values, whatever they are encoded as."""
    digest.update(rows.num_rows.to_bytes(8, "little"))
    for name in rows.column_names:
        for part in _bytes_of(rows[name]):
            digest.update(part)


def _bytes_of(column: pa.ChunkedArray) -> Iterator[bytes]:
    if column.null_count:
        yield np.asarray(column.is_null().to_numpy(), dtype=np.uint8).tobytes()
    if pa.types.is_string(column.type):
        filled = pc.fill_null(column, "")
        yield np.asarray(pc.binary_length(filled).to_numpy(), dtype="<i8").tobytes()
        yield "".join(filled.to_pylist()).encode()
    else:
        yield np.asarray(pc.fill_null(column, 0).to_numpy(), dtype="<i8").tobytes()
