"""A sealed run as Delta tables: its files copied as they are, and a log that names them.

Knows runs, the actions of a Delta log and deltalake, which only this export needs. No value is
encoded anew. A table is one block of tracks, committed once.
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction

from cisray.errors import StorageError
from cisray.store.export.runs import provenance_of
from cisray.store.files import digest_copy
from cisray.store.kinds import kind_of
from cisray.store.queries.parts import require_own_rows
from cisray.store.run import block_schemas
from cisray.store.scan import Run

TRACKS = "tracks"  # the table of what tracks mean, beside those of blocks


def write_delta(run: Run, folder: Path) -> int:
    """Write a table into `folder` for each block of tracks, and one of the tracks; count the rows.

    Tables of bins are partitioned by `chrom`, which stands in no column of their files. Raises
    WrongRun for a run with links, whose rows lie in the files of others, and StorageError for a
    file that is not as the run recorded it.
    """
    require_own_rows(run)
    kind = kind_of(run.manifest)
    for block, schema in block_schemas(run.manifest, run.tracks, run.blocks).items():
        table = folder / block
        table.mkdir()
        partition = ["chrom"] if "chrom" not in schema.names else []
        actions = [
            _copied(run, file, table, kind.pages.statistics, partition)
            for file in run.files.filter(pl.col("block") == block).iter_rows(named=True)
        ]
        chrom = [pa.field("chrom", pa.string(), nullable=False)] if partition else []
        _create(
            run,
            table,
            pa.schema([*chrom, *schema]),
            actions,
            partition=partition,
            configuration={"delta.dataSkippingStatsColumns": ",".join(kind.pages.statistics)},
        )
    _write_tracks(run, folder / TRACKS)
    return run.plan.rows


def _copied(
    run: Run, file: Mapping[str, Any], table: Path, told: tuple[str, ...], partition: list[str]
) -> AddAction:
    """Copy a data file, and state it for the log."""
    source = run.layout.file(file["path"])
    # The values of a partition stand in the log; Polars takes them from the names of folders.
    folder = table / PurePosixPath(file["path"]).parent.name if partition else table
    folder.mkdir(exist_ok=True)
    copy = folder / f"{file['shard']:06d}.parquet"
    found = digest_copy(source, copy)
    if found != file["sha256"]:
        raise StorageError(
            f"{source} is damaged: its sha256 is {found}, the run recorded {file['sha256']}. Bring "
            f"it back from a copy, or score again into another --out."
        )
    return _added(table, copy, {key: file[key] for key in partition}, told)


def _added(
    table: Path, path: Path, partition: Mapping[str, str], told: tuple[str, ...]
) -> AddAction:
    return AddAction(
        path=path.relative_to(table).as_posix(),
        size=path.stat().st_size,
        partition_values=dict(partition),
        modification_time=int(time.time() * 1000),
        data_change=True,
        stats=json.dumps(_statistics(path, told)),
    )


def _statistics(path: Path, columns: tuple[str, ...]) -> dict[str, Any]:
    """State rows, and the least and largest keys, by which readers pass over files."""
    footer = pq.read_metadata(path)
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    least, most = {}, {}
    for place, name in enumerate(footer.schema.names):
        if name in columns:
            found = [group.column(place).statistics for group in groups]
            least[name] = min(one.min for one in found)
            most[name] = max(one.max for one in found)
    return {
        "numRecords": footer.num_rows,
        "minValues": least,
        "maxValues": most,
        "nullCount": dict.fromkeys(least, 0),
    }


def _create(
    run: Run,
    table: Path,
    schema: pa.Schema,
    actions: Sequence[AddAction],
    *,
    partition: Sequence[str] = (),
    configuration: Mapping[str, str] | None = None,
) -> None:
    manifest, plain = run.manifest, schema.remove_metadata()
    by = list(partition) or None
    try:
        created = DeltaTable.create(
            table,
            plain,
            partition_by=by,
            name=f"{manifest.run_id}/{table.name}",
            description=f"{manifest.table} of {manifest.run_id}; table {TRACKS} explains columns",
            configuration={**(configuration or {}), **provenance_of(manifest)},
            raise_if_key_not_exists=False,
        )
        if actions:
            created.create_write_transaction([*actions], "append", plain, partition_by=by)
    except DeltaError as error:
        raise StorageError(
            f"the log of the table {table.name} cannot be written: {error}. Mend the cause, and "
            f"run the same command again."
        ) from error


def _write_tracks(run: Run, table: Path) -> None:
    table.mkdir()
    path = table / f"{TRACKS}.parquet"
    digest_copy(run.layout.file(run.layout.tracks), path)
    _create(run, table, pq.read_schema(path), [_added(table, path, {}, ())])
