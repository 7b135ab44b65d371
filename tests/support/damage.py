"""Files of a run altered on the disk, with or without the records that tell of them.

Knows the layout of a run as it is told in docs/architecture.md, and how a data file is encoded.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cisray.store.encode import encode_data
from cisray.store.kinds import kind_of
from cisray.store.scan import open_run


def file_of(run: Path, shard: int, block: str = "cage") -> Path:
    row = next(
        row
        for row in pq.read_table(run / "_manifest.parquet").to_pylist()
        if (row["shard"], row["block"]) == (shard, block)
    )
    return run / row["path"]


def record_of(run: Path, shard: int) -> Path:
    """The commit record of a shard."""
    (found,) = (run / "_commits").glob(f"{shard:06d}.*.json")
    return found


def enter(run: Path, shard: int, block: str = "cage", **changes: object) -> None:
    """Let record and list of files say of a file what is there: its size, its digest."""
    path = file_of(run, shard, block)
    data = path.read_bytes()
    facts = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), **changes}
    record = record_of(run, shard)
    told = json.loads(record.read_text())
    for file in told["files"]:
        if file["block"] == block:
            file.update(facts)
    record.write_text(json.dumps(told))
    table = pq.read_table(run / "_manifest.parquet")
    rows = table.to_pylist()
    for row in rows:
        if (row["shard"], row["block"]) == (shard, block):
            row.update(facts)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), run / "_manifest.parquet")
    (run / "summary.json").unlink(missing_ok=True)  # it has the old number of bytes


def rewrite(
    run: Path, shard: int, change: Callable[[pa.Table], pa.Table], block: str = "cage", **facts: int
) -> Path:
    """Write other rows under a file's name and footer, and let all records agree with them."""
    path = file_of(run, shard, block)
    with pq.ParquetFile(path) as opened:
        notes = opened.metadata.metadata
        table = opened.read()
    owed = table.schema
    pages = kind_of(open_run(run).manifest).pages
    changed = change(table).cast(owed)
    path.write_bytes(
        encode_data(changed, pages, {k.decode(): v.decode() for k, v in notes.items()})
    )
    enter(run, shard, block, **facts)
    return path


def with_value(value: float, row: int) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        last = table.num_columns - 1
        values = table.column(last).to_numpy().copy()
        absent = table.column(last).is_null().to_numpy().copy()
        values[row], absent[row] = value, False
        return table.set_column(last, table.schema.field(last), pa.array(values, mask=absent))

    return change
