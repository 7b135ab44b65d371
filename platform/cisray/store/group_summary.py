"""What is known beforehand of the strongest tracks of a run's rows: the table and its record.

Knows which groups of tracks were summarised, and where; `summarise` writes it. The record names the
file, its size and its digest, and replaces the one before in one step: a file that no record names
counts for nothing, nor does the record of another beginning of the run.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cisray.errors import ConfigError, StorageError
from cisray.store.layout import RunLayout
from cisray_schemas.summaries import GROUP_SUMMARY

if TYPE_CHECKING:
    from cisray.store.scan import Run

Values = NDArray[np.float32]
Tracks = NDArray[np.int32]
_AGAIN = "Make it again with cisray runs summarise."


class GroupSummary(BaseModel):
    """A table of summaries: which statistics of which groups of tracks, in which file.

    `groups` are indices of tracks in the head, ascending; `path` is below the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str = Field(default=GROUP_SUMMARY.format, pattern=f"^{GROUP_SUMMARY.format}$")
    begun: str
    statistics: tuple[str, ...]
    groups: Mapping[str, tuple[int, ...]]
    rows: int
    path: str
    bytes: int
    sha256: str

    def scan(self, layout: RunLayout, chroms: pl.Enum) -> pl.LazyFrame:
        """Query the table. Raises StorageError when it is missing or not of the recorded size."""
        self._check_size(layout)
        return layout.file(self.path).scan().with_columns(pl.col("chrom").cast(chroms))

    def check(self, layout: RunLayout) -> None:
        """Read the table again. Raises StorageError when it is not as it was recorded."""
        self._check_size(layout)
        digest = hashlib.sha256()
        for chunk in layout.folder.chunks(self.path):
            digest.update(chunk)
        if digest.hexdigest() != self.sha256:
            raise StorageError(
                f"{layout.tell(self.path)} is damaged: its sha256 is {digest.hexdigest()}, its "
                f"record says {self.sha256}. {_AGAIN}"
            )

    def _check_size(self, layout: RunLayout) -> None:
        if layout.folder.sizes_of([self.path]) != {self.path: self.bytes}:
            raise StorageError(
                f"{layout.tell(self.path)} is missing or is not of the recorded {self.bytes:,} "
                f"bytes. {_AGAIN}"
            )


def value_column(statistic: str, group: str) -> str:
    """Name the column of a statistic's largest value in a group."""
    return f"{statistic}_{group}"


def track_column(statistic: str, group: str) -> str:
    """Name the column that says which track has that value."""
    return f"{value_column(statistic, group)}_track"


def read_summary(layout: RunLayout) -> GroupSummary | None:
    """Read the record of a run's summary; None where there is none. Raises StorageError."""
    text = layout.folder.read(layout.summary_record)
    if text is None:
        return None
    try:
        found = GroupSummary.model_validate_json(text)
    except ValidationError as error:
        raise StorageError(
            f"{layout.tell(layout.summary_record)} is damaged: {error.errors()[0]['msg']}. {_AGAIN}"
        ) from error
    return found if found.begun == layout.begun else None


def require_summary(layout: RunLayout, *, sealed: bool) -> GroupSummary:
    """Read the record of a sealed run's summary. Raises ConfigError where there is none."""
    kept = read_summary(layout) if sealed else None
    if kept is None:
        raise ConfigError(
            f"nothing is summarised of the run in {layout.root}: cisray runs summarise does that."
        )
    return kept


def strongest_of_groups(
    run: "Run", groups: Mapping[str, Sequence[int]], statistic: str
) -> Iterator[tuple[str, Values, Tracks]]:
    """Look up the strongest track of each row, by the size of a statistic, for groups of tracks.

    Gives, of each group that a summary of the run has just these tracks of, its name in `groups`,
    the values, NaN where there are none, and which tracks they are of, -1 for none; in the order of
    the run.
    """
    kept = read_summary(run.layout) if run.sealed else None
    if kept is None or statistic not in kept.statistics:
        return
    held = {tracks: name for name, tracks in kept.groups.items()}
    for group, tracks in groups.items():
        name = held.get(tuple(sorted(tracks)))
        if name is not None:
            value, track = value_column(statistic, name), track_column(statistic, name)
            frame = run.summary().select(value, pl.col(track).fill_null(-1)).collect()
            yield group, frame[value].to_numpy(), frame[track].to_numpy()
