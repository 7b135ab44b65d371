"""The end of a run: rows counted against the plan, leftovers removed, readers let in.

Knows the protocol and the keys of data files; knows nothing of values. The staging folder is
renamed before anything is removed: from then on no writer that outlived its driver can publish, so
that what is counted is what stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from cisray.errors import RunIncomplete, StorageError
from cisray.store.directory import read_files, run_metadata
from cisray.store.encode import encode_small
from cisray.store.failure import read_failures
from cisray.store.folder import StoredFile, each
from cisray.store.layout import RunLayout
from cisray.store.manifest import RunManifest
from cisray.store.place import RunPlace
from cisray.store.plan import Plan
from cisray.store.receipt import Receipt, WrittenFile, read_all_committed
from cisray.store.summary import RunTimes
from cisray_schemas.runs import RUN_FILES

NAMED_SHARDS = 20


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a sealed run consists of. `rows` are bins or variants: every block has the same ones."""

    path: RunPlace
    shards: int
    files: int
    rows: int
    bytes: int


def seal_run(
    layout: RunLayout, manifest: RunManifest, plan: Plan, schemas: Mapping[str, pa.Schema]
) -> RunSummary:
    """Seal a run, or describe one that is sealed. `schemas` are those of each block's files.

    Can be killed anywhere and called again. Raises RunIncomplete for missing shards or rows, and
    StorageError for files that are not as recorded; the run then stays open for writing.
    """
    folder = layout.folder
    if is_sealed(layout):
        folder.sweep()
        return _summary(layout, plan, read_files(layout))
    plan.check(manifest)
    receipts = _committed(layout, plan)

    def check(receipt: Receipt) -> None:
        _check_files(layout, receipt, plan.keys(receipt.shard), schemas)

    for _ in each(folder, check, receipts):
        pass
    files = list_files(receipts)
    folder.shut_out()
    remove_orphans(layout, files)
    # Of a sealed run that is being discarded, when its --restart was killed.
    folder.remove(layout.history)
    folder.remove_tree(layout.summaries)
    publish_files(layout, manifest, files)
    times = RunTimes.of(manifest, receipts).model_dump_json(indent=2).encode() + b"\n"
    folder.publish(layout.summary, times, exclusive=False, begun=None)
    folder.remove_tree(layout.failures)
    folder.publish(layout.success, layout.begun.encode(), exclusive=False, begun=None)
    folder.sweep()
    return _summary(layout, plan, files)


def is_sealed(layout: RunLayout) -> bool:
    """Tell whether this beginning of the run is sealed."""
    return layout.folder.read(layout.success) == layout.begun.encode()


def list_files(receipts: list[Receipt]) -> pa.Table:
    """Tabulate the files of shards, by block and then in the order of the plan."""
    rows = [
        {
            **file.model_dump(),
            "attempt": receipt.attempt,
            "shard": receipt.shard,
            "last_shard": receipt.shard,
        }
        for receipt in receipts
        for file in receipt.files
    ]
    rows.sort(key=lambda row: (row["table"], row["block"], row["shard"]))
    return pa.Table.from_pylist(rows, schema=RUN_FILES.schema)


def publish_files(layout: RunLayout, manifest: RunManifest, files: pa.Table) -> None:
    """Write the list of data files, or replace it: readers of a sealed run open what it names."""
    data = memoryview(encode_small(files, run_metadata(manifest, RUN_FILES)))
    layout.folder.publish(layout.files, data, exclusive=False, begun=None)


def remove_orphans(layout: RunLayout, files: pa.Table) -> int:
    """Delete data files that are not in the list, and records of other beginnings; count the files.

    Those are of killed and of beaten attempts, of writers of a run that was discarded, and of
    compactions.
    """
    folder = layout.folder
    data = folder.below(layout.data).keys() - set(files["path"].to_pylist())
    orphans = [name for name in data if name.endswith(".parquet")]
    strange = [name for name in folder.below(layout.commits) if not layout.owns(name)]
    folder.remove(*orphans, *strange)
    return len(orphans)


def _committed(layout: RunLayout, plan: Plan) -> list[Receipt]:
    receipts = read_all_committed(layout, plan.spans)
    committed = {receipt.shard for receipt in receipts}
    missing = [shard for shard in plan.spans if shard not in committed]
    if missing:
        raise RunIncomplete(_name_missing(layout, missing, len(plan.spans)))
    for receipt in receipts:
        span = plan.spans[receipt.shard]
        found = {(f.chrom, f.start, f.end, f.n_rows) for f in receipt.files}
        if found != {(span.chrom, span.start, span.end, span.rows)}:
            raise RunIncomplete(
                f"shard {span.shard} of {layout.root} owes {span.rows} rows of {span.chrom} from "
                f"{span.start} to {span.end} (0-based), its record tells of {sorted(found)}. "
                f"Remove {layout.tell(layout.commit(span.shard))} and run the same command again."
            )
    return receipts


def _name_missing(layout: RunLayout, missing: list[int], total: int) -> str:
    reasons = {record.shard: record.reason for record in read_failures(layout)}
    named = ", ".join(
        f"{shard} ({reasons[shard]})" if shard in reasons else str(shard)
        for shard in missing[:NAMED_SHARDS]
    )
    more = f" and {len(missing) - NAMED_SHARDS} more" if len(missing) > NAMED_SHARDS else ""
    return (
        f"{layout.root} is not sealed: {len(missing)} of {total} shards are missing: "
        f"{named}{more}. Run the same command again: it does the missing ones only."
    )


def _check_files(
    layout: RunLayout, receipt: Receipt, keys: pa.Table, schemas: Mapping[str, pa.Schema]
) -> None:
    blocks = sorted(file.block for file in receipt.files)
    if blocks != sorted(schemas):
        raise RunIncomplete(
            f"shard {receipt.shard} of {layout.root} has the blocks {blocks}, the run has "
            f"{sorted(schemas)}. Remove {layout.tell(layout.commit(receipt.shard))} and run the "
            f"same command again."
        )
    for file in receipt.files:
        _check_file(layout.file(file.path), file, keys, schemas[file.block])


def _check_file(stored: StoredFile, file: WrittenFile, keys: pa.Table, schema: pa.Schema) -> None:
    """Compare a file's columns and keys with what its shard owes. Values are not read."""
    try:
        with (
            stored.open() as stream,
            pq.ParquetFile(stream, page_checksum_verification=True) as opened,
        ):
            names, footer = opened.schema_arrow.names, opened.metadata
            if names == schema.names:
                found = opened.read(keys.column_names).cast(keys.schema)
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError(
            f"{stored} is damaged ({error}). Remove it and run the same command again: its shard "
            f"is scored anew."
        ) from error
    if names != schema.names or footer.num_rows != file.n_rows:
        raise StorageError(
            f"{stored} holds {footer.num_rows} rows of {footer.num_columns} columns, its record "
            f"{file.n_rows} of {len(schema.names)}. Remove it and run the same command again: its "
            f"shard is scored anew."
        )
    if not found.equals(keys):
        raise RunIncomplete(
            f"{stored} holds other rows than those that its shard owes. Remove it and run the same "
            f"command again: its shard is scored anew."
        )


def _summary(layout: RunLayout, plan: Plan, files: pa.Table) -> RunSummary:
    return RunSummary(
        path=layout.root,
        shards=len(plan.spans),
        files=files.num_rows,
        rows=plan.rows,
        bytes=sum(files["bytes"].to_pylist()),
    )
