"""What of a run a report shows, and how much of it at most.

Knows options and bounds; knows no kind of run. A report of a run of any size is a few MB: what is
left out is always counted, and what was asked for is shown or refused, never thinned.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from pydantic import Field, field_validator

from cisray.errors import ConfigError
from cisray.store.scan import Run
from cisray.tracks import TrackSet
from cisray_jobs.config import JobConfig, RunLocation, split_names

MOST_TRACKS = 6  # that are chosen for the reader
MOST_CHOSEN_TRACKS = 24
# Read at most for distributions, unless tracks are named: about 1 GB of a run at 10 bits.
READ_VALUES = 400_000_000
MOST_SHOWN_VALUES = 300_000  # in the figures of a page, of some 8 bytes each


class ReportOptions(JobConfig):
    """Which part of a run is shown. Without any, each kind of run has a rule of its own.

    `since` are places of runs that it links to, where they were moved.
    """

    region: tuple[str, ...] = ()
    tracks: tuple[str, ...] = ()
    stats: tuple[str, ...] = ()
    genes: Path | None = None
    top: int = Field(default=100, ge=1, le=1000)
    since: tuple[RunLocation, ...] = ()
    overwrite: bool = False

    @field_validator("stats", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        return split_names(value) if isinstance(value, str) else value

    def given(self) -> set[str]:
        """Name the options that differ from what they are without being given."""
        fields = type(self).model_fields
        return {name for name in fields if getattr(self, name) != fields[name].default}

    def refuse(self, names: Iterable[str], kinds: str) -> None:
        """Raise ConfigError for an option that was given and means nothing for kinds of run."""
        for name in sorted(self.given().intersection(names)):
            raise ConfigError(f"--{name} means nothing for the report of {kinds}.")

    def without(self, names: Iterable[str]) -> "ReportOptions":
        """Give the same, but for some options that are as if they had not been given."""
        fields = type(self).model_fields
        return self.model_copy(update={name: fields[name].default for name in names})


@dataclass(frozen=True, slots=True)
class ShownTracks:
    """The tracks that a report shows, and in words how they were chosen."""

    tracks: TrackSet
    told: str

    @property
    def query(self) -> str:
        """The tracks as one query."""
        return ",".join(self.tracks.columns)

    @property
    def labels(self) -> dict[str, str]:
        """What each track is called, by its column; no two are called alike."""
        table = pl.DataFrame(self.tracks.table)
        return {
            column: f"{column} {description}"
            for column, description in table.select("column", "description").iter_rows()
        }


def choose_tracks(run: Run, wanted: Sequence[str], statistics: int = 1) -> ShownTracks:
    """Choose the tracks that are asked for, or of each assay in turn the first, second and so on.

    The latter are up to six, fewer where a run has so many rows that reading six, with as many
    `statistics` each, would take minutes, but always one. Raises TrackError, and ConfigError for
    more than 24 that are asked for.
    """
    every = run.tracks
    if wanted:
        chosen = every.select(wanted)
        if len(chosen) > MOST_CHOSEN_TRACKS:
            raise ConfigError(
                f"--tracks chooses {len(chosen):,} tracks, and a report shows up to "
                f"{MOST_CHOSEN_TRACKS}: choose fewer, or write several reports."
            )
        return ShownTracks(chosen, f"{len(chosen):,} of {len(every):,} tracks, as asked for.")
    most = max(1, min(MOST_TRACKS, READ_VALUES // max(1, run.plan.rows * statistics)))
    if len(every) <= most:
        return ShownTracks(every, f"All {len(every):,} tracks of the run.")
    chosen = every.select([int(track) for track in _in_turn(every)[:most]])
    return ShownTracks(
        chosen,
        f"{len(chosen):,} of {len(every):,} tracks: the first of each assay, then the second, and "
        f"so on. Others by --tracks.",
    )


def _in_turn(tracks: TrackSet) -> list[int]:
    """List tracks: the first of every assay in the order of the head, then the second of each."""
    ordered = (
        pl.DataFrame(tracks.table)
        .select("track", turn=pl.int_range(pl.len()).over("assay"))
        .sort("turn", "track")
    )
    return ordered["track"].to_list()


def refuse_too_many(values: int, what: str) -> None:
    """Raise ConfigError where figures would hold more values than a page carries."""
    if values > MOST_SHOWN_VALUES:
        raise ConfigError(
            f"{what} are {values:,} values, and the figures of a report hold up to "
            f"{MOST_SHOWN_VALUES:,}: choose fewer with --region and --tracks."
        )
