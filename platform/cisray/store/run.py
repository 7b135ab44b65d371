"""A run directory while it is written: begin, pending, write, seal.

Knows the protocol; knows nothing of models or of who calls it where. A shard's files are written
whole under names of their attempt, and become part of the run through one commit record, which is
created only if there is none: whoever is killed, at whatever point, leaves either a finished
shard or nothing that counts.
"""

import hashlib
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

import pyarrow as pa
from pydantic import JsonValue

from cisray.errors import ResultsError
from cisray.store.directory import (
    Blocks,
    check_free,
    clear,
    create,
    data_metadata,
    has_run,
    read_manifest,
    read_plan,
    read_tracks,
    require_complete,
    require_same,
)
from cisray.store.encode import encode_data
from cisray.store.failure import FailureKind, ShardFailureRecord
from cisray.store.folder import DriverLock
from cisray.store.kinds import kind_of
from cisray.store.layout import RunLayout, value_columns
from cisray.store.locate import locate
from cisray.store.manifest import RunManifest, canonical_json
from cisray.store.plan import Plan
from cisray.store.receipt import Receipt, WrittenFile, read_committed, read_receipts
from cisray.store.rows import Owed, Piece, checked_rows
from cisray.store.seal import RunSummary, is_sealed, seal_run
from cisray.tracks import TrackSet

# Encoding releases the interpreter lock; more threads than this only add memory.
ENCODE_THREADS = 4


class ShardSink:
    """The way into a run directory: one driver begins and seals, any number of workers write.

    A driver comes from `begin`, holds the lock until `close`, and is a context manager. A worker
    comes from `attach` and only writes. `schemas` lays out the data files of each block: the keys,
    then the value columns that a piece must have.
    """

    def __init__(
        self,
        layout: RunLayout,
        manifest: RunManifest,
        *,
        plan: Plan,
        tracks: TrackSet,
        blocks: Blocks,
        lock: DriverLock | None,
    ) -> None:
        """Take parts that agree; use `begin` or `attach`."""
        self.layout = layout
        self.manifest = manifest
        self.plan = plan
        self.tracks = tracks
        self.blocks = {name: list(members) for name, members in blocks.items()}
        self.schemas = block_schemas(manifest, tracks, blocks)
        self._kind = kind_of(manifest)
        self._lock = lock

    @classmethod
    def begin(
        cls,
        path: str | Path,
        manifest: RunManifest,
        *,
        plan: Plan,
        tracks: TrackSet,
        blocks: Blocks,
        restart: bool = False,
    ) -> Self:
        """Start a run in `path`, or go on with the one there if its identity is the same.

        `restart` discards a run that is there first. The lock is held until `close`.

        Raises RunConflict for a folder that holds something else, another run, or a run that
        another process is writing; StorageError when the folder cannot be written; ValueError
        when the parts do not agree with the manifest.
        """
        _check_parts(manifest, plan, tracks, blocks)
        layout = RunLayout(locate(path))
        check_free(layout)
        lock = layout.folder.lock()
        try:
            check_free(layout)
            if restart and has_run(layout):
                clear(layout)
            if has_run(layout):
                there = read_manifest(layout)
                require_same(layout, there, manifest)
                _require_blocks(layout, manifest, blocks)
                manifest = there
                layout = layout.of(manifest.begun)
                if is_sealed(layout):
                    require_complete(layout)
                else:
                    layout.folder.admit(layout.begun)
            else:
                manifest = manifest.model_copy(update={"begun": uuid4().hex})
                layout = layout.of(manifest.begun)
                create(layout, manifest, plan, tracks, blocks)
            # From here on the plan is the run's own, wherever the given one came from.
            plan = read_plan(layout, manifest)
        except BaseException:
            lock.release()
            raise
        return cls(layout, manifest, plan=plan, tracks=tracks, blocks=blocks, lock=lock)

    @classmethod
    def attach(cls, path: str | Path) -> Self:
        """Open a run that a driver has begun, to write shards of it.

        Raises RunNotFound where there is none, StorageError where its parts are damaged.
        """
        layout = RunLayout(locate(path))
        manifest = read_manifest(layout)
        layout = layout.of(manifest.begun)
        tracks, blocks = read_tracks(layout, manifest)
        plan = read_plan(layout, manifest)
        return cls(layout, manifest, plan=plan, tracks=tracks, blocks=blocks, lock=None)

    def pending(self) -> list[int]:
        """List the shards that owe rows and are not committed with all their files in place.

        None of a sealed run, which `begin` has found complete.
        """
        if is_sealed(self.layout):
            return []
        committed = {receipt.shard for receipt in self.receipts()}
        return [shard for shard in self.plan.spans if shard not in committed]

    def receipts(self) -> list[Receipt]:
        """List the receipts of the shards that are committed, in the order of the plan.

        Those of a compacted run tell how it was scored; their files are no longer there.
        """
        return read_receipts(self.layout, self.plan.spans, sealed=is_sealed(self.layout))

    def write(
        self,
        shard: int,
        pieces: Iterable[Piece],
        *,
        attempt_info: Mapping[str, JsonValue] | None = None,
    ) -> Receipt:
        """Check, round, encode and publish the rows of a shard: one piece per block.

        Whoever commits first wins; the receipt returned is that of the files that count. Nothing
        of the shard stays behind when this raises.

        Raises ResultsError for rows other than the plan owes or values that are not finite,
        StorageError when they cannot be written.
        """
        started = time.monotonic()
        if shard not in self.plan.spans:
            raise ResultsError(f"shard {shard} owes no rows in the plan of {self.layout.root}")
        attempt = uuid4().hex[:8]
        files: list[WrittenFile] = []
        try:
            self._store_blocks(shard, pieces, attempt, files)
            receipt = Receipt(
                shard=shard,
                begun=self.manifest.begun,
                attempt=attempt,
                wall_s=round(time.monotonic() - started, 3),
                files=tuple(sorted(files, key=lambda file: file.block)),
                info=dict(attempt_info or {}),
            )
            winner = self._commit(receipt)
        except BaseException:
            # An interrupt can fall between the commit and here; what is committed stays.
            held = self._committed(shard)
            if held is None or held.attempt != attempt:
                self._discard(files)
            raise
        if winner.attempt != attempt:
            self._discard(files)
        self.layout.folder.remove(self.layout.failure(shard))
        return winner

    def record_failure(
        self, shard: int, reason: str, attempts: int, *, kind: FailureKind = "work"
    ) -> None:
        """Keep why a shard was given up, until it is committed after all."""
        record = ShardFailureRecord(shard=shard, reason=reason, attempts=attempts, kind=kind)
        self._publish(self.layout.failure(shard), record.model_dump_json().encode())

    def seal(self) -> RunSummary:
        """Finish the run: check that every owed row is there, and let readers in.

        Sealing a sealed run changes nothing. Raises RunIncomplete for missing shards or rows,
        StorageError for files that are not as recorded.
        """
        if self._lock is None:
            raise ValueError("only the driver that began a run can seal it")
        self._lock.check()
        return seal_run(self.layout, self.manifest, self.plan, self.schemas)

    def close(self) -> None:
        """Let another driver in."""
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        """Return the sink itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the lock."""
        self.close()

    def _committed(self, shard: int) -> Receipt | None:
        return read_committed(self.layout, shard)

    def _store_blocks(
        self, shard: int, pieces: Iterable[Piece], attempt: str, files: list[WrittenFile]
    ) -> None:
        """Store one piece after the other; `files` grows as they are published, for cleaning up."""
        keys = self.plan.keys(shard)
        seen: set[str] = set()

        def store(piece: Piece) -> None:
            owed = Owed(self.plan, shard, keys, self.schemas[piece.block])
            self._store(piece, owed, attempt, files)

        def known(piece: Piece) -> Piece:
            if piece.block not in self.schemas or piece.block in seen:
                raise ResultsError(f"shard {shard} has block {piece.block!r} twice or out of plan")
            seen.add(piece.block)
            return piece

        if len(self.schemas) == 1:
            for piece in pieces:
                store(known(piece))
        else:
            with ThreadPoolExecutor(min(ENCODE_THREADS, len(self.schemas))) as pool:
                for done in [pool.submit(store, known(piece)) for piece in pieces]:
                    done.result()
        missing = self.schemas.keys() - seen
        if missing:
            raise ResultsError(f"shard {shard} lacks the blocks {sorted(missing)}")

    def _store(self, piece: Piece, owed: Owed, attempt: str, files: list[WrittenFile]) -> None:
        span = self.plan.spans[owed.shard]
        table = checked_rows(piece, owed, self.manifest.mantissa_bits)
        notes = data_metadata(self.manifest, piece.block, span)
        data = memoryview(encode_data(table, self._kind.pages, notes))
        file = WrittenFile(
            table=self._kind.data.name,
            block=piece.block,
            chrom=span.chrom,
            start=span.start,
            end=span.end,
            n_rows=table.num_rows,
            n_cols=table.num_columns - owed.keys.num_columns,
            bytes=data.nbytes,
            path=self._kind.data_path(piece.block, span, attempt),
            sha256=hashlib.sha256(data).hexdigest(),
        )
        files.append(file)
        self.layout.folder.publish_new(file.path, data, begun=self.layout.begun)

    def _commit(self, receipt: Receipt) -> Receipt:
        """Create the commit record, or return the one that was there first."""
        name, text = self.layout.commit(receipt.shard), receipt.model_dump_json().encode()
        while not self._publish(name, text, exclusive=True):
            there = self.layout.folder.read(name)
            first = self._committed(receipt.shard)
            if first is not None:
                return first
            # The record that is there is damaged, or describes files that are gone: it proves
            # nothing. Someone else may be mending it as well.
            if there is not None and self._replace(name, there, text):
                break
        return receipt

    def _replace(self, name: str, old: bytes, text: bytes) -> bool:
        return self.layout.folder.replace(name, old, text, begun=self.layout.begun)

    def _publish(self, name: str, text: bytes, *, exclusive: bool = False) -> bool:
        folder = self.layout.folder
        return folder.publish(name, text, exclusive=exclusive, begun=self.layout.begun)

    def _discard(self, files: Iterable[WrittenFile]) -> None:
        self.layout.folder.remove(*(file.path for file in files))


def block_schemas(manifest: RunManifest, tracks: TrackSet, blocks: Blocks) -> dict[str, pa.Schema]:
    """Lay out the data files of each block: keys, and the values of every statistic and track."""
    kind = kind_of(manifest)
    column_of = dict(zip(tracks.indices.tolist(), tracks.columns, strict=True))
    schemas = {}
    for block, members in blocks.items():
        names = [column_of[track] for track in members]
        columns = value_columns(kind.statistics(manifest), names)
        partial = set(value_columns(kind.partial(manifest), names))
        schemas[block] = kind.data.with_values(columns, nullable=partial)
    return schemas


def _check_parts(manifest: RunManifest, plan: Plan, tracks: TrackSet, blocks: Blocks) -> None:
    stated = (manifest.plan_sha256, manifest.tracks_sha256, manifest.num_shards)
    given = (plan.sha256, tracks.sha256, plan.num_shards)
    if stated != given:
        raise ValueError(f"the manifest states {stated}, plan and tracks have {given}")
    planned, owed = plan.parts[0][0].format, kind_of(manifest).tables[0].format
    if planned != owed:
        raise ValueError(f"the manifest is of a run planned in {owed}, the plan is {planned}")
    plan.check(manifest)
    members = [track for block in blocks.values() for track in block]
    if sorted(members) != tracks.indices.tolist():
        raise ValueError("blocks must hold every track of the run once, and no other")
    canonical_json(manifest.identity)


def _require_blocks(layout: RunLayout, manifest: RunManifest, blocks: Blocks) -> None:
    """Check the stored tracks of a run that is resumed, and that its files are cut alike."""
    _, stored = read_tracks(layout, manifest)
    if stored != {name: list(members) for name, members in blocks.items()}:
        raise ValueError(
            f"{layout.root} has its tracks in the blocks {list(stored)}, this run in {list(blocks)}"
        )
