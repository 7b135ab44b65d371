"""A sealed run of many small files rewritten into few of the recommended size, value for value.

Knows the list of files, the plan and the keys of data files; knows nothing of what values mean. The
new files are written beside the old ones and read again: only when every key is the plan's and
every bit of every value that of the old files is the list of files replaced, at once, which is what
readers go by. Then the old files go. Whoever is killed, at whatever point, leaves a run that is
sealed, complete and readable, and perhaps files that the list does not name: the next compaction
removes them first.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cisray.errors import StorageError
from cisray.store.directory import data_metadata, read_files, require_complete
from cisray.store.encode import encode_pieces
from cisray.store.kinds import kind_of
from cisray.store.layout import RunLayout
from cisray.store.locate import locate
from cisray.store.place import RunPlace
from cisray.store.plan import ShardSpan
from cisray.store.receipt import WrittenFile, read_receipts, write_history
from cisray.store.run import block_schemas
from cisray.store.scan import Run, open_layout, open_run
from cisray.store.seal import publish_files, remove_orphans
from cisray.store.sizes import estimate_bytes
from cisray_schemas.runs import RUN_FILES

# A file is encoded in memory before it is published: so many values are 1 GiB, and half of that or
# less once they are encoded.
MAX_FILE_VALUES = 1 << 28

OnMerged = Callable[[int, int, int], None]


@dataclass(frozen=True, slots=True)
class CompactionPlan:
    """What a compaction will do. `shards` and `rows` are those of files that are merged.

    Bytes after it are estimated. `leftovers` are data files that the run does not name.
    """

    path: RunPlace
    files: int
    files_after: int
    bytes: int
    bytes_after: int
    shards: int
    rows: int
    leftovers: int


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did: data files and their bytes before and after it.

    `removed` counts leftovers of a compaction that was interrupted.
    """

    path: RunPlace
    files_before: int
    files: int
    bytes_before: int
    bytes: int
    shards: int
    rows: int
    removed: int


@dataclass(frozen=True, slots=True)
class _Merge:
    """Neighbouring files of each block that become one: their rows in the list of files."""

    span: ShardSpan
    shards: tuple[int, ...]
    old: Mapping[str, Sequence[Mapping[str, Any]]]


class _Written(NamedTuple):
    """A new file, and whose rows it holds."""

    file: WrittenFile
    attempt: str
    shards: tuple[int, ...]


def plan_compaction(path: str | Path, *, file_rows: int | None = None) -> CompactionPlan:
    """Say what `compact_run` would do. Writes nothing. Raises RunNotFound and StorageError."""
    run = open_run(path)
    merges = _merges(run, file_rows)
    merged = [file["bytes"] for merge in merges for old in merge.old.values() for file in old]
    there = run.layout.folder.below(run.layout.data)
    size = int(run.files["bytes"].sum())
    return CompactionPlan(
        path=run.path,
        files=run.files.height,
        files_after=run.files.height - len(merged) + len(merges) * len(run.blocks),
        bytes=size,
        bytes_after=size - sum(merged) + _bytes_after(run, merges),
        shards=sum(len(merge.shards) for merge in merges),
        rows=sum(merge.span.rows for merge in merges),
        leftovers=len(there.keys() - set(run.files["path"])),
    )


def compact_run(
    path: str | Path, *, file_rows: int | None = None, on_merged: OnMerged = lambda *_: None
) -> Compacted:
    """Rewrite the files of a sealed run that are smaller than recommended; no value changes.

    Neighbouring shards of a chromosome share a file of up to `file_rows` rows, those that the kind
    of run recommends unless given. Can be killed anywhere and called again. `on_merged` is told how
    many shards are rewritten, of how many, and the rows of the last ones.

    Raises RunNotFound for a run that is not sealed, RunConflict while another process writes it,
    and StorageError for a file that is not as recorded, or a disk without room for all of the new
    files beside the old ones: then nothing has changed.
    """
    layout = RunLayout(locate(path))
    # Before the lock, which would make a folder where there is none.
    open_layout(layout)
    lock = layout.folder.lock()
    try:
        run = open_layout(layout)
        require_complete(run.layout)
        files = before = read_files(run.layout)
        removed = remove_orphans(run.layout, before)
        merges = _merges(run, file_rows)
        if merges:
            _require_room(run, merges)
            files = _listed(before, _rewrite(run, merges, on_merged))
            _replace(run, files)
        if run.layout.has(run.layout.history):
            run.layout.folder.remove_tree(run.layout.commits)
        run.layout.folder.sweep()
    finally:
        lock.release()
    return Compacted(
        path=run.path,
        files_before=before.num_rows,
        files=files.num_rows,
        bytes_before=pc.sum(before["bytes"]).as_py() or 0,
        bytes=pc.sum(files["bytes"]).as_py() or 0,
        shards=sum(len(merge.shards) for merge in merges),
        rows=sum(merge.span.rows for merge in merges),
        removed=removed,
    )


def _merges(run: Run, file_rows: int | None) -> list[_Merge]:
    """Group the files of each block, in the order of the plan, all blocks alike."""
    most = kind_of(run.manifest).pages.file_rows if file_rows is None else file_rows
    widest = max(run.files["n_cols"].to_list(), default=1)
    most = min(most, MAX_FILE_VALUES // widest)
    of_block = [run.files.filter(pl.col("block") == block).to_dicts() for block in run.blocks]
    cuts = {tuple((file["shard"], file["last_shard"]) for file in files) for files in of_block}
    if len(cuts) > 1:
        raise StorageError(
            f"{run.layout.tell(run.layout.files)} is damaged: it cuts blocks of tracks into shards "
            f"in different ways. Bring it back from a copy, or score again into another --out."
        )
    groups: list[list[tuple[dict[str, Any], ...]]] = []
    chrom, rows = None, 0
    for files in zip(*of_block, strict=True):
        first = files[0]
        rows += first["n_rows"]
        if first["chrom"] != chrom or rows > most:
            groups.append([])
            chrom, rows = first["chrom"], first["n_rows"]
        groups[-1].append(files)
    return [_merge(run, group) for group in groups if len(group) > 1]


def _merge(run: Run, group: Sequence[tuple[dict[str, Any], ...]]) -> _Merge:
    firsts = [files[0] for files in group]
    span = ShardSpan(
        shard=firsts[0]["shard"],
        chrom=firsts[0]["chrom"],
        start=min(file["start"] for file in firsts),
        end=max(file["end"] for file in firsts),
        rows=sum(file["n_rows"] for file in firsts),
    )
    between = range(span.shard, firsts[-1]["last_shard"] + 1)
    shards = tuple(shard for shard in between if shard in run.plan.spans)
    return _Merge(span, shards, {files[0]["block"]: files for files in zip(*group, strict=True)})


def _bytes_after(run: Run, merges: Sequence[_Merge]) -> int:
    rows = [merge.span.rows for merge in merges]
    return estimate_bytes(run.manifest, run.plan, run.blocks, rows)


def _require_room(run: Run, merges: Sequence[_Merge]) -> None:
    needed, free = _bytes_after(run, merges), run.layout.folder.free_bytes()
    if free is not None and needed > free:
        raise StorageError(
            f"compacting {run.path} needs room for all of its new files beside the old ones, about "
            f"{needed:,} bytes, and {free:,} are free there. Make room and run the same command "
            f"again; nothing has changed."
        )


def _rewrite(run: Run, merges: Sequence[_Merge], on_merged: OnMerged) -> list[_Written]:
    """Write the files of all merges and compare them with the old ones; keep all, or none."""
    folder, attempt = run.layout.folder, uuid4().hex[:8]
    schemas = block_schemas(run.manifest, run.tracks, run.blocks)
    total, done = sum(len(merge.shards) for merge in merges), 0
    written: list[_Written] = []
    try:
        for merge in merges:
            keys = pa.concat_tables([run.plan.keys(shard) for shard in merge.shards])
            for block, schema in schemas.items():
                old = merge.old[block]
                data = memoryview(_encoded(run, merge, block, schema))
                file = _described(run, merge, block, data, attempt)
                written.append(_Written(file, attempt, merge.shards))
                folder.publish_new(file.path, data, begun=None)
                _compare(run.layout, file, old, schema, keys)
            done += len(merge.shards)
            on_merged(done, total, merge.span.rows)
    except BaseException:
        folder.remove(*(new.file.path for new in written))
        folder.sweep()
        raise
    return written


def _encoded(run: Run, merge: _Merge, block: str, schema: pa.Schema) -> pa.Buffer:
    pages = kind_of(run.manifest).pages
    notes = data_metadata(run.manifest, block, merge.span)
    pieces = _rows(run.layout, merge.old[block], schema)
    return encode_pieces(pieces, schema, merge.span.rows, pages, notes)


def _described(run: Run, merge: _Merge, block: str, data: memoryview, attempt: str) -> WrittenFile:
    kind, span = kind_of(run.manifest), merge.span
    return WrittenFile(
        table=kind.data.name,
        block=block,
        chrom=span.chrom,
        start=span.start,
        end=span.end,
        n_rows=span.rows,
        n_cols=merge.old[block][0]["n_cols"],
        bytes=data.nbytes,
        path=kind.data_path(block, span, attempt),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _rows(
    layout: RunLayout, files: Iterable[Mapping[str, Any]], schema: pa.Schema
) -> Iterator[pa.Table]:
    """Read files one after the other, row group by row group, each as it was recorded."""
    for file in files:
        name = layout.tell(file["path"])
        try:
            data = b"".join(layout.folder.chunks(file["path"]))
            found = hashlib.sha256(data).hexdigest()
            if found != file["sha256"]:
                raise pa.ArrowInvalid(f"its sha256 is {found}, the run recorded {file['sha256']}")
            opened = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
            there = opened.schema_arrow
            if (there.names, there.types) != (schema.names, schema.types):
                raise pa.ArrowInvalid(f"its columns are {there.names[:9]} ...")
            for group in range(opened.num_row_groups):
                yield opened.read_row_group(group).cast(schema)
        except (OSError, pa.ArrowInvalid) as error:
            raise StorageError(
                f"{name} is damaged: {error}. Nothing has changed: bring it back from a copy, or "
                f"score again into another --out."
            ) from error


def _compare(
    layout: RunLayout,
    file: WrittenFile,
    old: Iterable[Mapping[str, Any]],
    schema: pa.Schema,
    keys: pa.Table,
) -> None:
    """Read a new file and hold it against the old ones, bit by bit, and against the plan's keys.

    Raises StorageError where they differ.
    """
    new, at = _Portions(_rows(layout, [file.model_dump()], schema)), 0
    for piece in _rows(layout, old, schema):
        found, owed = new.take(piece.num_rows), keys.slice(at, piece.num_rows)
        at += piece.num_rows
        same = _as_bits(found).equals(_as_bits(piece))
        if not (same and found.select(keys.column_names).cast(keys.schema).equals(owed)):
            raise StorageError(_differs(layout, file))
    if at != keys.num_rows or new.take(1).num_rows:
        raise StorageError(_differs(layout, file))


def _differs(layout: RunLayout, file: WrittenFile) -> str:
    return (
        f"{layout.tell(file.path)}, just written, holds other rows than the files that it was made "
        f"from, or than the plan. The run stays as it was. Check the disk and the memory of this "
        f"machine, and verify the run."
    )


class _Portions:
    """Rows that come in tables, given out in portions of other sizes."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables = tables
        self._held: list[pa.Table] = []

    def take(self, count: int) -> pa.Table:
        """Give the next rows, fewer where there are no more."""
        while sum(table.num_rows for table in self._held) < count:
            table = next(self._tables, None)
            if table is None:
                break
            self._held.append(table)
        held = pa.concat_tables(self._held) if self._held else pa.table({})
        self._held = [held.slice(count)]
        return held.slice(0, count)


def _as_bits(table: pa.Table) -> pa.Table:
    """Put integers of the same bits for floats: 0.0 and -0.0 are equal, and NaN is not."""
    columns = [
        column.combine_chunks().view(pa.int32()) if pa.types.is_float32(column.type) else column
        for column in table.columns
    ]
    return pa.Table.from_arrays(columns, names=table.column_names)


def _listed(before: pa.Table, written: Iterable[_Written]) -> pa.Table:
    """Put new files into the list of files for those whose rows they hold."""
    rows = [
        {
            **new.file.model_dump(),
            "attempt": new.attempt,
            "shard": new.shards[0],
            "last_shard": new.shards[-1],
        }
        for new in written
    ]
    merged = {
        (row["block"], shard)
        for row, new in zip(rows, written, strict=True)
        for shard in new.shards
    }
    rows += [row for row in before.to_pylist() if (row["block"], row["shard"]) not in merged]
    rows.sort(key=lambda row: (row["table"], row["block"], row["shard"]))
    return pa.Table.from_pylist(rows, schema=RUN_FILES.schema)


def _replace(run: Run, files: pa.Table) -> None:
    """Let readers in to the new files, and remove the old ones."""
    layout = run.layout
    if not layout.has(layout.history):
        receipts = read_receipts(layout, run.plan.spans, sealed=True)
        text = write_history(receipts)
        layout.folder.publish(layout.history, text, exclusive=False, begun=None)
    publish_files(layout, run.manifest, files)
    remove_orphans(layout, files)
