"""What a dataset directory says of itself: `dataset.json`, written last.

Knows JSON and the names of files; knows nothing of examples. A directory without that file is no
dataset yet.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from cisray.errors import DatasetError
from cisray.genome.windows import WindowSpec

MANIFEST = "dataset.json"
BUILDING = "_building"
TRACKS_FILE = "tracks.parquet"
SEQUENCES_FILE = "sequences.bed"
DROPPED_FILE = "dropped.parquet"


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShardFile(_Told):
    """One file of examples, by its path below the dataset."""

    path: str
    examples: int
    bytes: int
    sha256: str


class SplitEntry(_Told):
    """The examples of one set of one head."""

    examples: int
    shards: tuple[ShardFile, ...]


class HeadEntry(_Told):
    """One head: where its sequences and targets come from, and what became of them.

    `sequences` counts the rows of the input: `examples` and `dropped` add up to it. `all_zero`
    names the tracks, by index, that are zero in every example.
    """

    genome: dict[str, JsonValue]
    tracks: int
    tracks_sha256: str
    settings: dict[str, JsonValue]
    sequences_sha256: str
    sequences: int
    examples: int
    dropped: dict[str, int]
    all_zero: tuple[int, ...]
    splits: dict[str, SplitEntry]
    files: dict[str, str]


class DatasetManifest(_Told):
    """The whole dataset. There is no time in it: the same input gives the same bytes."""

    format: Literal["cisray.dataset/1"] = "cisray.dataset/1"
    input_bp: int
    bin_bp: int
    target_bins: int
    margin_bp: int
    heads: dict[str, HeadEntry]

    @property
    def spec(self) -> WindowSpec:
        """The geometry of every example."""
        return WindowSpec(self.input_bp, self.bin_bp, self.target_bins)

    def to_json(self) -> bytes:
        """Write it as text for people."""
        return (self.model_dump_json(indent=1) + "\n").encode()


def shard_path(head: str, split: str, index: int) -> str:
    """Name a file of examples below the dataset.

    >>> shard_path("human", "train", 7)
    'human/train-00007.arrow'
    """
    return f"{head}/{split}-{index:05d}.arrow"


def read_manifest(root: Path) -> DatasetManifest | None:
    """Read what a directory says of itself; None where it says nothing yet.

    Raises DatasetError for a file that is damaged or of another version.
    """
    path = root / MANIFEST
    try:
        return DatasetManifest.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}. Mend that first.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DatasetError(
            f"{path} is damaged, or of another version of cisray: {where}: {first['msg']}. Build "
            f"the dataset again, or bring the file back from a copy."
        ) from error
