"""Reading a dataset: any example of any head and set, alone, from a memory map.

Knows the directory and the Arrow files in it; knows nothing of torch, of genomes or of how the
dataset was made. Files are opened when first asked for, in each process anew: what is pickled are
paths and numbers.
"""

from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cisray.dataset.manifest import (
    BUILDING,
    MANIFEST,
    TRACKS_FILE,
    DatasetManifest,
    HeadEntry,
    read_manifest,
)
from cisray.errors import DatasetError, near_matches
from cisray.genome.interval import Interval
from cisray.genome.windows import WindowSpec
from cisray.tracks import TrackSet
from cisray_schemas.training_examples import example_schema

_INPUT_COLUMNS = ("chrom", "start", "end", "codes")


class ExampleSet:
    """The examples of one head and set, in the order of `sequences.bed`. May be pickled."""

    def __init__(self, root: Path, head: str, split: str, manifest: DatasetManifest) -> None:
        """Take the files of the set from the dataset's manifest; nothing is opened yet."""
        entry = manifest.heads[head]
        shards = entry.splits[split].shards
        self.head, self.split = head, split
        self.spec, self.margin_bp = manifest.spec, manifest.margin_bp
        self._tracks = entry.tracks
        self._paths = [root / shard.path for shard in shards]
        self._ends = list(accumulate(shard.examples for shard in shards))
        self._readers: dict[tuple[int, str], Any] = {}

    def __len__(self) -> int:
        """Count the examples."""
        return self._ends[-1] if self._ends else 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files behind."""
        return {**self.__dict__, "_readers": {}}

    def codes_L(self, index: int, shift_bp: int = 0) -> NDArray[np.uint8]:
        """Give the input of an example as codes: A 0, C 1, G 2, T 3, anything else 4.

        With a shift they start so many bases later on the chromosome, or earlier where it is
        negative. The array is not writable. Raises DatasetError for a shift beyond the margin,
        IndexError for an example that there is not.
        """
        if abs(shift_bp) > self.margin_bp:
            raise DatasetError(
                f"a shift of {shift_bp} bp goes beyond the {self.margin_bp} bp that are stored on "
                f"each side of the inputs of {self.head}: shift less, or build the dataset with a "
                f"larger --margin-bp."
            )
        first = self.margin_bp + shift_bp
        value = self._batch(index, "inputs").column("codes")[0]
        codes = np.frombuffer(value.as_buffer(), dtype=np.uint8)
        return codes[first : first + self.spec.input_bp]

    def target_NT(self, index: int) -> NDArray[np.float32]:
        """Give the targets of an example, float32 (bins, tracks). Raises IndexError."""
        values = self._batch(index, "targets").column("target").flatten()
        stored_NT = values.to_numpy(zero_copy_only=True).reshape(-1, self._tracks)
        target_NT: NDArray[np.float32] = stored_NT.astype(np.float32)
        return target_NT

    def interval(self, index: int) -> Interval:
        """Give the bases of the input, without the margin. Raises IndexError."""
        batch = self._batch(index, "inputs")
        chrom, start, end = (batch.column(name)[0].as_py() for name in ("chrom", "start", "end"))
        return Interval(chrom, start, end)

    def _batch(self, index: int, part: str) -> pa.RecordBatch:
        if not 0 <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}, {self.head} {self.split}")
        shard = bisect_right(self._ends, index)
        before = self._ends[shard - 1] if shard else 0
        reader = self._readers.get((shard, part))
        if reader is None:
            reader = self._readers[shard, part] = self._opened(shard, part)
        try:
            return reader.get_batch(index - before)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(shard, str(error)) from error

    def _opened(self, shard: int, part: str) -> Any:
        """Open a file for its inputs or for its targets: what is not asked for is not unpacked."""
        need = example_schema(self.spec.target_bins, self._tracks)
        names = _INPUT_COLUMNS if part == "inputs" else ("target",)
        options = pa.ipc.IpcReadOptions(
            included_fields=[need.get_field_index(name) for name in names]
        )
        try:
            source = pa.memory_map(str(self._paths[shard]))
            found = pa.ipc.open_file(source, options=options)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(shard, str(error)) from error
        count = self._ends[shard] - (self._ends[shard - 1] if shard else 0)
        wanted = pa.schema([need.field(name) for name in names])
        if not found.schema.equals(wanted) or found.num_record_batches != count:
            raise self._damaged(
                shard,
                f"it holds {found.num_record_batches:,} examples of {found.schema.names}, not "
                f"{count:,} of {wanted.names} with {self.spec.target_bins} bins and "
                f"{self._tracks} tracks",
            )
        return found

    def _damaged(self, shard: int, reason: str) -> DatasetError:
        return DatasetError(
            f"{self._paths[shard]} is missing, damaged or of another dataset: {reason}. Bring it "
            f"back from a copy, or build the dataset again."
        )


class Dataset:
    """A finished dataset directory."""

    def __init__(self, root: Path, manifest: DatasetManifest) -> None:
        """Take a directory and what it says of itself; `open` reads that."""
        self.root = root
        self.manifest = manifest

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open a dataset that is finished, and see that its files are there with their sizes.

        Raises DatasetError for a directory that is none, or is not finished, or lacks a file.
        """
        root = Path(path).expanduser().absolute()
        manifest = read_manifest(root)
        if manifest is None:
            raise _no_dataset(root)
        for entry in manifest.heads.values():
            _check_files(root, entry)
        return cls(root, manifest)

    @property
    def spec(self) -> WindowSpec:
        """The geometry of every example."""
        return self.manifest.spec

    @property
    def margin_bp(self) -> int:
        """Bases that are stored beside the input on each side, for shifts."""
        return self.manifest.margin_bp

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads that there are examples of."""
        return tuple(self.manifest.heads)

    def tracks(self, head: str) -> TrackSet:
        """Give the T axis of a head. Raises DatasetError."""
        entry = self._entry(head)
        path = self.root / head / TRACKS_FILE
        try:
            tracks = TrackSet(head, pq.read_table(path))
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(
                f"cannot read {path}: {error}. Bring it back from a copy."
            ) from error
        if tracks.sha256 != entry.tracks_sha256:
            raise DatasetError(
                f"{path} is not the table that the dataset was made with: its digest is "
                f"{tracks.sha256}, {MANIFEST} has {entry.tracks_sha256}. Bring it back from a copy."
            )
        return tracks

    def splits(self, head: str) -> tuple[str, ...]:
        """Name the sets of a head. Raises DatasetError for a head that there is not."""
        return tuple(self._entry(head).splits)

    def examples(self, head: str, split: str) -> ExampleSet:
        """Give the examples of one head and set. Raises DatasetError for what there is not."""
        splits = self.splits(head)
        if split not in splits:
            raise DatasetError(
                f"{self.root} has no set {split!r} of head {head}; it has {', '.join(splits)}."
                f"{near_matches(split, splits)}"
            )
        return ExampleSet(self.root, head, split, self.manifest)

    def _entry(self, head: str) -> HeadEntry:
        if head not in self.manifest.heads:
            raise DatasetError(
                f"{self.root} has no head {head!r}; it has {', '.join(self.heads)}."
                f"{near_matches(head, self.heads)}"
            )
        return self.manifest.heads[head]


def _check_files(root: Path, entry: HeadEntry) -> None:
    for shard in (shard for split in entry.splits.values() for shard in split.shards):
        path = root / shard.path
        try:
            size = path.stat().st_size
        except OSError as error:
            raise DatasetError(
                f"{path} cannot be read: {error.strerror}. Bring it back from a copy, or build the "
                f"dataset again."
            ) from error
        if size != shard.bytes:
            raise DatasetError(
                f"{path} has {size:,} bytes, {MANIFEST} says {shard.bytes:,}: it was cut short or "
                f"replaced. Bring it back from a copy, or build the dataset again."
            )


def _no_dataset(root: Path) -> DatasetError:
    if (root / BUILDING).is_dir():
        return DatasetError(
            f"{root} is a dataset that is not finished: run the command that builds it again, and "
            f"it goes on where it stopped."
        )
    return DatasetError(
        f"{root} is no dataset, it has no {MANIFEST}: make one with `cisray dataset build` or "
        f"`cisray dataset import`."
    )
