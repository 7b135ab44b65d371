"""The proof that a shard is done: what was written, where, and how large it is.

Knows JSON and file sizes; knows nothing of Parquet. A receipt on the disk is a commit record: it
appears once per shard, and what it does not name is not part of the run.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from cisray.errors import StorageError
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

    def is_intact(self, root: Path) -> bool:
        """Tell whether every file is there with the recorded size."""
        return all(size_of(root / file.path) == file.bytes for file in self.files)


def read_committed(layout: RunLayout, shard: int) -> Receipt | None:
    """Read the record of a shard of this run whose files are all in place, else None.

    A record that is missing, damaged or of another beginning of the run proves nothing.
    Raises StorageError when it cannot be read.
    """
    path = layout.commit(shard)
    try:
        receipt = Receipt.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}. Mend that first.") from error
    counts = receipt.begun == layout.begun and receipt.is_intact(layout.root)
    return receipt if counts else None


def size_of(path: Path) -> int | None:
    """Size of a file in bytes, or None when it is not there."""
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(f"cannot look at {path}: {error.strerror}. Mend that first.") from error
