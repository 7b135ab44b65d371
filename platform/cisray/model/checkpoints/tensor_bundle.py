"""TensorFlow checkpoints (tensor bundles, version 2) read without TensorFlow.

Knows the index and the data shards, and where a checkpoint hides in a folder or a SavedModel.
Knows nothing of Enformer. Format: tensorflow/core/protobuf/tensor_bundle.proto.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import google_crc32c
import numpy as np

from cisray.errors import CheckpointError, near_matches
from cisray.model.checkpoints.leveldb_table import TableError, read_table
from cisray.wire import WireError, fields, unmask

_BFLOAT16 = 14
# Numbers of tensorflow/core/framework/types.proto; bfloat16 is widened to float32, exactly.
_DTYPES: Mapping[int, str] = {
    1: "<f4", 2: "<f8", 3: "<i4", 4: "|u1", 6: "|i1", 9: "<i8", 10: "|b1",
    _BFLOAT16: "<u2", 19: "<f2",
}  # fmt: skip
_DATA_FILE = re.compile(r"(.+)\.data-\d{5}-of-\d{5}")
_CHECKPOINT_PATH = re.compile(r'^model_checkpoint_path:\s*"(.*)"\s*$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a bundle: BundleEntryProto, with its place in a data shard in bytes."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    masked_crc: int
    partitioned: bool


@dataclass(frozen=True, slots=True)
class TensorBundle:
    """An opened checkpoint: its index in memory, its data shards mapped when they are read."""

    prefix: Path
    index: Path
    shards: int
    entries: Mapping[str, Entry]

    @classmethod
    def open(cls, source: Path | str, *, index: Path | str | None = None) -> Self:
        """Open a checkpoint given its prefix, its `.index`, its folder, or a SavedModel folder.

        `index` names an index that lies elsewhere than the data shards. Every block of the index
        is verified. Raises CheckpointError if there is no checkpoint, or its index is damaged.
        """
        prefix = find_prefix(source)
        if prefix is None:
            if index is None:
                raise CheckpointError(
                    f"There is no TensorFlow checkpoint at {source}: looked for {source}.index, "
                    f"and in a folder for checkpoint, one *.index, or variables/variables.index."
                )
            prefix = Path(source)
        index_file = _beside(prefix, ".index") if index is None else Path(index)
        try:
            table = read_table(index_file.read_bytes())
            shards = _header(table.pop(b""))
            entries = {key.decode(): _entry(value) for key, value in table.items()}
        except OSError as error:
            raise CheckpointError(f"{index_file} cannot be read: {error}.") from error
        except KeyError as error:
            raise CheckpointError(f"{index_file} has no header: not a checkpoint.") from error
        except (TableError, WireError, UnicodeDecodeError) as error:
            raise CheckpointError(
                f"{index_file} is not an undamaged index of a TensorFlow checkpoint: {error}. "
                f"Download or copy it again."
            ) from error
        return cls(prefix, index_file, shards, entries)

    def keys(self) -> tuple[str, ...]:
        """List the keys of all tensors, in the order of the index."""
        return tuple(self.entries)

    def shape(self, key: str) -> tuple[int, ...]:
        """Give the shape of a tensor. Raises CheckpointError for an unknown key."""
        return self._entry(key).shape

    def shard_file(self, shard: int) -> Path:
        """Name the file of a data shard."""
        return _beside(self.prefix, f".data-{shard:05d}-of-{self.shards:05d}")

    def read(self, key: str, *, verify: bool = True) -> np.ndarray[Any, np.dtype[Any]]:
        """Read a tensor into an array of its own; bfloat16 comes as float32, exactly.

        With `verify`, its bytes are checked against the stored CRC-32C. Raises CheckpointError
        for an unknown key, a type that is not numeric, a missing or short shard, or damage.
        """
        entry = self._entry(key)
        place = f"tensor {key} of {self.index}"
        if entry.partitioned or entry.dtype not in _DTYPES:
            what = "partitioned" if entry.partitioned else f"of TensorFlow's type {entry.dtype}"
            raise CheckpointError(f"The {place} is {what}, which cisray does not read.")
        dtype = np.dtype(_DTYPES[entry.dtype])
        wanted = math.prod(entry.shape) * dtype.itemsize
        if wanted != entry.size:
            raise CheckpointError(
                f"The {place} has the shape {list(entry.shape)}, which takes {wanted} bytes, but "
                f"the index gives it {entry.size}. Download or copy the checkpoint again."
            )
        raw = self._bytes(entry, place)
        found, stored = google_crc32c.value(raw), unmask(entry.masked_crc)
        if verify and found != stored:
            raise CheckpointError(
                f"The {place} is damaged: its bytes in {self.shard_file(entry.shard)} have the "
                f"CRC-32C {found:#010x}, {stored:#010x} was stored. Download or copy it again."
            )
        values = np.frombuffer(raw, dtype=dtype).reshape(entry.shape)
        if entry.dtype == _BFLOAT16:
            values = (values.astype(np.uint32) << 16).view(np.float32)
        return np.array(values)

    def _entry(self, key: str) -> Entry:
        if key not in self.entries:
            hint = near_matches(key, self.entries)
            raise CheckpointError(f"{self.index} has no tensor {key}.{hint}")
        return self.entries[key]

    def _bytes(self, entry: Entry, place: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
        file = self.shard_file(entry.shard)
        end = entry.offset + entry.size
        try:
            present = file.stat().st_size
            if end > present:
                raise CheckpointError(
                    f"{file} is truncated: it has {present:,} bytes, and the {place} ends at byte "
                    f"{end:,}. Download or copy it again."
                )
            if entry.size == 0:
                return np.empty(0, dtype=np.uint8)
            mapped = np.memmap(file, np.uint8, "r", offset=entry.offset, shape=(entry.size,))
        except OSError as error:
            raise CheckpointError(
                f"{file}, which holds the {place}, cannot be read: {error}."
            ) from error
        return mapped


def find_prefix(source: Path | str) -> Path | None:
    """Find the prefix of the checkpoint that a path means, or None if it means none.

    A path may be the prefix, its `.index` or a data shard, a folder with TensorFlow's
    `checkpoint` file, with a single index, or a SavedModel (also given by its `saved_model.pb`).
    Raises CheckpointError if a folder holds several checkpoints and does not say which is meant.
    """
    path = Path(source)
    if path.is_dir():
        return _prefix_in_folder(path)
    if path.name == "saved_model.pb":
        return _prefix_in_folder(path.parent)
    data = _DATA_FILE.fullmatch(path.name)
    if data:
        path = path.with_name(data.group(1))
    elif path.suffix == ".index":
        path = path.with_suffix("")
    return path if _beside(path, ".index").is_file() else None


def _prefix_in_folder(folder: Path) -> Path | None:
    pointer = folder / "checkpoint"
    if pointer.is_file():
        match = _CHECKPOINT_PATH.search(pointer.read_text(encoding="utf-8", errors="replace"))
        if match is None:
            raise CheckpointError(f"{pointer} has no line model_checkpoint_path: not TensorFlow's.")
        # An absolute path is where it was trained; what was copied lies beside the pointer.
        recorded = Path(match.group(1))
        for prefix in (folder / recorded, folder / recorded.name):
            if _beside(prefix, ".index").is_file():
                return prefix
        raise CheckpointError(
            f"{pointer} names the checkpoint {recorded}, but {folder / recorded.name}.index does "
            f"not exist. Copy the whole folder, or give the prefix of the checkpoint you mean."
        )
    saved = folder / "variables" / "variables"
    if _beside(saved, ".index").is_file():
        return saved
    found = sorted(folder.glob("*.index"))
    if len(found) > 1:
        raise CheckpointError(
            f"{folder} holds the indices {', '.join(file.name for file in found[:5])} "
            f"and no file checkpoint that picks one; give the prefix of the one you mean."
        )
    return found[0].with_suffix("") if found else None


def _beside(prefix: Path, ending: str) -> Path:
    return prefix.with_name(prefix.name + ending)


def _header(message: bytes) -> int:
    """Read BundleHeaderProto: the number of shards; refuse big-endian data."""
    values = dict(_integers(message))
    if values.get(2, 0) != 0:
        raise TableError("the data are big-endian, which cisray does not read")
    if values.get(1, 0) < 1:
        raise TableError("the header counts no data shards")
    return values[1]


def _entry(message: bytes) -> Entry:
    """Read BundleEntryProto; absent fields are zero, as protocol buffers have it."""
    values = dict(_integers(message))
    shape: tuple[int, ...] = ()
    partitioned = False
    for number, value in fields(message):
        if number == 2 and isinstance(value, bytes):
            shape = tuple(dict(_integers(dim)).get(1, 0) for n, dim in fields(value)
                          if n == 2 and isinstance(dim, bytes))  # fmt: skip
        partitioned = partitioned or number == 7
    return Entry(
        dtype=values.get(1, 0),
        shape=shape,
        shard=values.get(3, 0),
        offset=values.get(4, 0),
        size=values.get(5, 0),
        masked_crc=values.get(6, 0),
        partitioned=partitioned,
    )


def _integers(message: bytes) -> Iterator[tuple[int, int]]:
    return ((number, value) for number, value in fields(message) if isinstance(value, int))
