"""The proof that a shard is done: what was written, where, and how large it is.

Knows JSON and file sizes; knows nothing of Parquet. A receipt on the disk is a commit record: it
appears once per shard, and what it does not name is not part of the run.
"""

from collections.abc import Iterable, Mapping
from functools import partial

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from cisray.errors import StorageError
from cisray.store.folder import each
from cisray.store.layout import RunLayout


class WrittenFile(BaseModel):
    """One data file. `path` is below the run; `start` .. `end` are 0-based half-open."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    block: str
    chrom: str
    start: int
    end: int
    n_rows: int
    n_cols: int
    bytes: int
    path: str
    sha256: str


class Receipt(BaseModel):
    """The files of one shard, by which attempt, and the seconds that writing them took.

    `begun` is that of the run's manifest: a record of a run that was discarded counts for nothing.

    `info` is whatever the writer wanted to keep beside it, such as its host and device.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shard: int
    begun: str
    attempt: str
    wall_s: float
    files: tuple[WrittenFile, ...]
    info: dict[str, JsonValue]

    @property
    def n_rows(self) -> int:
        """Rows of the shard: every block has the same ones."""
        return self.files[0].n_rows

    @property
    def n_bytes(self) -> int:
        """Size of all its files."""
        return sum(file.bytes for file in self.files)


def read_committed(layout: RunLayout, shard: int) -> Receipt | None:
    """Read the record of a shard of this run whose files are all in place, else None.

    A record that is missing, damaged or of another beginning of the run proves nothing.
    Raises StorageError when it cannot be read.
    """
    receipt = _read(layout, shard)
    if receipt is None:
        return None
    sizes = layout.folder.sizes_of(file.path for file in receipt.files)
    return receipt if _is_intact(receipt, sizes) else None


def read_all_committed(layout: RunLayout, shards: Iterable[int]) -> list[Receipt]:
    """Read the records of so many shards as `read_committed` does, in their order."""
    there = layout.folder.below(layout.commits)
    wanted = [shard for shard in shards if layout.commit(shard) in there]
    read = partial(_read, layout)
    receipts = [receipt for receipt in each(layout.folder, read, wanted) if receipt is not None]
    sizes = layout.folder.sizes_of(file.path for receipt in receipts for file in receipt.files)
    return [receipt for receipt in receipts if _is_intact(receipt, sizes)]


def read_receipts(layout: RunLayout, shards: Iterable[int], *, sealed: bool) -> list[Receipt]:
    """Read the receipts of so many shards that count, in their order.

    Of a sealed run that was compacted they tell of files that are no longer there. Raises
    StorageError.
    """
    history = layout.folder.read(layout.history) if sealed else None
    if history is None:
        return read_all_committed(layout, shards)
    try:
        told = [Receipt.model_validate_json(line) for line in history.splitlines()]
    except ValidationError as error:
        raise StorageError(
            f"{layout.tell(layout.history)} is damaged ({error.errors()[0]['msg']}). No value of "
            f"the run depends on it: bring it back from a copy, or remove it, and nothing tells "
            f"how the run was scored any more."
        ) from error
    of_shard = {receipt.shard: receipt for receipt in told if receipt.begun == layout.begun}
    return [of_shard[shard] for shard in shards if shard in of_shard]


def write_history(receipts: Iterable[Receipt]) -> bytes:
    """Put receipts into one file, a line each, for `read_receipts`."""
    return b"".join(receipt.model_dump_json().encode() + b"\n" for receipt in receipts)


def _read(layout: RunLayout, shard: int) -> Receipt | None:
    text = layout.folder.read(layout.commit(shard))
    if text is None:
        return None
    try:
        receipt = Receipt.model_validate_json(text)
    except ValidationError:
        return None
    return receipt if receipt.begun == layout.begun else None


def _is_intact(receipt: Receipt, sizes: Mapping[str, int]) -> bool:
    """Tell whether every file is there with the recorded size."""
    return all(sizes.get(file.path) == file.bytes for file in receipt.files)
