"""Writing a dataset: shards that appear whole, each with a record, and `dataset.json` at the end.

Knows the directory and Arrow; knows nothing of where examples come from. While heads are being
built the folder `_building` holds the plan, the records of finished shards, and what is on its way.
Whoever dies leaves finished shards, which the next beginning with the same plan keeps; the bytes of
a shard depend on its examples alone, so that a build that was resumed equals one that was not.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from cisray.dataset.build_plan import (
    PLAN,
    HeadContent,
    Layout,
    PlannedShard,
    differences,
    discard,
    has_all,
    plan_of,
    plan_there,
)
from cisray.dataset.manifest import (
    BUILDING,
    DROPPED_FILE,
    MANIFEST,
    SEQUENCES_FILE,
    TRACKS_FILE,
    DatasetManifest,
    HeadEntry,
    ShardFile,
    SplitEntry,
    read_manifest,
)
from cisray.errors import DatasetError, RunConflict, TargetsError
from cisray.genome.interval import Interval
from cisray.genome.windows import WindowSpec
from cisray.store import files
from cisray.store.lock import RunLock
from cisray.tracks import TrackSet
from cisray_schemas.training_examples import example_schema

COMPRESSION = "zstd"
_STAGING = "staging-"
_NAMED_TRACKS = 5


@dataclass(frozen=True, slots=True)
class Example:
    """One example: its input window, the codes of that with the margin, float16 targets."""

    interval: Interval
    codes_S: NDArray[np.uint8]
    target_NT: NDArray[np.float16]


class _Record(BaseModel):
    """The proof that a shard is whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    begun: str
    file: ShardFile
    nonzero: tuple[int, ...]


class ShardWriter:
    """What a worker needs to write shards of a build that has begun."""

    def __init__(self, root: Path, plan: Mapping[str, Any]) -> None:
        """Take a directory and its plan; `attach` reads that."""
        self.root = root
        self.begun: str = plan["begun"]
        identity = plan["identity"]
        self.spec = WindowSpec(identity["input_bp"], identity["bin_bp"], identity["target_bins"])
        self.margin_bp: int = identity["margin_bp"]
        self.shards = [PlannedShard.model_validate(shard) for shard in plan["shards"]]
        self._tracks: dict[str, int] = plan["tracks"]

    @classmethod
    def attach(cls, root: Path) -> Self:
        """Read the plan of a build that has begun. Raises RunConflict where there is none."""
        try:
            return cls(root, json.loads((root / BUILDING / PLAN).read_bytes()))
        except FileNotFoundError:
            raise RunConflict(
                f"no dataset is being built in {root}: it was finished or removed."
            ) from None

    def write(self, number: int, examples: Iterable[Example]) -> ShardFile:
        """Write all examples of a shard, in their order, then its record; replaces what is there.

        Raises DatasetError for examples that are not those of the plan, StorageError, and what
        the examples raise.
        """
        shard = self.shards[number]
        final, staging = self.root / shard.path, self._staging
        nonzero = np.zeros(self._tracks[shard.head], dtype=np.bool_)
        batches = self._batches(shard, examples, nonzero)
        files.publish_written(partial(self._fill, shard, batches), final, staging=staging)
        with final.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        told = ShardFile(
            path=shard.path,
            examples=shard.end - shard.first,
            bytes=final.stat().st_size,
            sha256=digest,
        )
        record = _Record(
            begun=self.begun, file=told, nonzero=tuple(np.flatnonzero(nonzero).tolist())
        )
        place = self._record_of(number)
        files.publish(record.model_dump_json().encode(), place, staging=staging, exclusive=False)
        return told

    def done(self, number: int) -> "_Record | None":
        """Read the record of a shard whose file is there with its size, else None."""
        try:
            record = _Record.model_validate_json(self._record_of(number).read_bytes())
            size = (self.root / record.file.path).stat().st_size
        except (FileNotFoundError, ValidationError):
            return None
        return record if (record.begun, size) == (self.begun, record.file.bytes) else None

    @property
    def _staging(self) -> Path:
        # Named after the beginning: a worker of one that was discarded finds its folder gone.
        return self.root / BUILDING / f"{_STAGING}{self.begun}"

    def _record_of(self, number: int) -> Path:
        name = self.shards[number].path.replace("/", "-").removesuffix(".arrow")
        return self.root / BUILDING / f"{name}.json"

    def _schema(self, head: str) -> pa.Schema:
        return example_schema(self.spec.target_bins, self._tracks[head])

    def _fill(
        self, shard: PlannedShard, batches: Iterable[pa.RecordBatch], stream: BinaryIO
    ) -> None:
        options = pa.ipc.IpcWriteOptions(compression=COMPRESSION)
        with pa.ipc.new_file(stream, self._schema(shard.head), options=options) as file:
            for batch in batches:
                file.write_batch(batch)

    def _batches(
        self, shard: PlannedShard, examples: Iterable[Example], nonzero: NDArray[np.bool_]
    ) -> Iterator[pa.RecordBatch]:
        schema, count = self._schema(shard.head), 0
        for example in examples:
            self._check(shard, example)
            nonzero |= example.target_NT.any(axis=0)
            count += 1
            yield _batch(schema, example)
        if count != shard.end - shard.first:
            raise DatasetError(
                f"{shard.path} is to hold {shard.end - shard.first:,} examples, and {count:,} came."
            )

    def _check(self, shard: PlannedShard, example: Example) -> None:
        shapes = (example.interval.width, example.codes_S.size, example.target_NT.shape)
        stored_bp = self.spec.input_bp + 2 * self.margin_bp
        shape_NT = (self.spec.target_bins, self._tracks[shard.head])
        if shapes != (self.spec.input_bp, stored_bp, shape_NT):
            raise DatasetError(
                f"an example for {shard.path} at {example.interval} has {shapes[1]:,} bases and "
                f"targets {shapes[2]}; the dataset has {stored_bp:,} and {shape_NT}."
            )
        if not np.isfinite(example.target_NT).all():
            raise TargetsError(
                f"an example for {shard.path} at {example.interval} has targets that are not "
                f"finite: they are not a number, or too large for float16 (65,504)."
            )


class DatasetWriter(ShardWriter):
    """The driver of a build: begins it, knows what is left to do, and finishes it."""

    def __init__(
        self, root: Path, plan: Mapping[str, Any], heads: Mapping[str, HeadContent]
    ) -> None:
        """Take what `begin` wrote."""
        super().__init__(root, plan)
        self._heads = heads

    @classmethod
    def begin(
        cls,
        root: Path,
        heads: Mapping[str, HeadContent],
        layout: Layout,
        *,
        restart: bool = False,
    ) -> "DatasetWriter | None":
        """Begin a build, or go on with one of the same plan; None if these heads are finished.

        A finished dataset of the same geometry is given the heads that it lacks. The caller holds
        the lock. Raises RunConflict if the directory has other heads of these names, or a build of
        another plan; `restart` discards those.
        """
        finished = read_manifest(root)
        if restart:
            finished = discard(root, finished, heads)
        if finished is not None and has_all(root, finished, heads, layout):
            return None
        building = root / BUILDING
        plan = plan_of(heads, layout)
        there = plan_there(building)
        if there is not None and there["identity"] != plan["identity"]:
            raise RunConflict(
                f"{root} holds an unfinished build with other {differences(there, plan)}. Give "
                f"the same options and files to go on, add --restart to discard it, or choose "
                f"another --out."
            )
        writer = cls(root, there or plan, heads)
        writer._clear_staging()
        if there is None:
            writer._write_heads()
            text = json.dumps(plan).encode()
            files.publish(text, building / PLAN, staging=writer._staging, exclusive=False)
        return writer

    def pending(self) -> list[int]:
        """Number the shards that are still to be written."""
        return [number for number in range(len(self.shards)) if self.done(number) is None]

    def seal(self, *, allow_empty_tracks: bool = False) -> DatasetManifest:
        """Write `dataset.json` and remove what was needed for building only.

        Raises DatasetError if a shard is missing, TargetsError for tracks that are zero in every
        example unless they are allowed.
        """
        entries = {head: self._entry(head) for head in self._heads}
        if not allow_empty_tracks:
            for head, entry in entries.items():
                _refuse_all_zero(head, entry, self._heads[head].tracks)
        earlier = read_manifest(self.root)
        manifest = DatasetManifest(
            input_bp=self.spec.input_bp,
            bin_bp=self.spec.bin_bp,
            target_bins=self.spec.target_bins,
            margin_bp=self.margin_bp,
            heads={**(earlier.heads if earlier else {}), **entries},
        )
        final = self.root / MANIFEST
        files.publish(manifest.to_json(), final, staging=self._staging, exclusive=False)
        files.remove_tree(self.root / BUILDING)
        return manifest

    def _clear_staging(self) -> None:
        building = self.root / BUILDING
        with files.writing_to(building):
            for left in building.glob(f"{_STAGING}*"):
                files.remove_tree(left)
            files.make_folder(self._staging)

    def _write_heads(self) -> None:
        """Write what describes each head; files of a build that died before its plan go."""
        for head, content in self._heads.items():
            folder = self.root / head
            files.remove_tree(folder)
            for name, table in (
                (TRACKS_FILE, content.tracks.table),
                (DROPPED_FILE, content.sequences.dropped),
            ):
                write = partial(pq.write_table, table)
                files.publish_written(write, folder / name, staging=self._staging)
            bed = content.sequences.to_bed().encode()
            files.publish(bed, folder / SEQUENCES_FILE, staging=self._staging, exclusive=False)

    def _entry(self, head: str) -> HeadEntry:
        content = self._heads[head]
        nonzero: set[int] = set()
        splits: dict[str, list[ShardFile]] = {}
        for number, shard in enumerate(self.shards):
            if shard.head != head:
                continue
            record = self.done(number)
            if record is None:
                raise DatasetError(
                    f"{self.root / shard.path} is not written: the dataset is not finished."
                )
            nonzero.update(record.nonzero)
            splits.setdefault(shard.split, []).append(record.file)
        return HeadEntry(
            genome=dict(content.genome),
            tracks=len(content.tracks),
            tracks_sha256=content.tracks.sha256,
            settings=dict(content.settings),
            sequences_sha256=content.sequences.sha256,
            sequences=content.sequences.total,
            examples=len(content.sequences.kept),
            dropped=content.sequences.dropped_by_reason,
            all_zero=tuple(t for t in range(len(content.tracks)) if t not in nonzero),
            splits={
                split: SplitEntry(examples=sum(f.examples for f in parts), shards=tuple(parts))
                for split, parts in splits.items()
            },
            files={
                f"{head}/{name}": _digest_of(self.root / head / name)
                for name in (TRACKS_FILE, SEQUENCES_FILE, DROPPED_FILE)
            },
        )


def lock(root: Path) -> RunLock:
    """Become the one process that writes a dataset. Raises RunConflict while another does."""
    with files.writing_to(root):
        files.make_folder(root)
    return RunLock(root / "_lock")


def _batch(schema: pa.Schema, example: Example) -> pa.RecordBatch:
    flat = np.ascontiguousarray(example.target_NT).reshape(-1)
    target = pa.FixedSizeListArray.from_arrays(pa.array(flat), type=schema.field("target").type)
    place = example.interval
    columns = [
        pa.array([place.chrom], pa.string()),
        pa.array([place.start], pa.int64()),
        pa.array([place.end], pa.int64()),
        pa.array([example.codes_S.tobytes()], pa.binary()),
        target,
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _refuse_all_zero(head: str, entry: HeadEntry, tracks: TrackSet) -> None:
    if entry.all_zero:
        names = [tracks.table["identifier"][track].as_py() for track in entry.all_zero]
        more = f" and {len(names) - _NAMED_TRACKS:,} more" if len(names) > _NAMED_TRACKS else ""
        raise TargetsError(
            f"{len(names):,} of {entry.tracks:,} tracks of head {head} are zero in every example: "
            f"{', '.join(names[:_NAMED_TRACKS])}{more}. Is it the file of another assembly or "
            f"region? What is built is kept: run the same command with --allow-empty-tracks to "
            f"accept it."
        )


def _digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
