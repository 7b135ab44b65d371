"""Tracks of runs beside the tracks that are measured: which column belongs to which.

Knows tables of tracks; knows no values. Identifiers say which experiment a track is of; a head
whose tracks have no names is paired by index, which says as much if the table is that of the head.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from cisray.errors import EvaluationError, TrackError
from cisray.tracks import TrackSet, column_name

BY_IDENTIFIER, BY_INDEX = "identifier", "index, as the run's tracks have no names"
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class TrackPairs:
    """T tracks of a run, by index on its head, and the rows of what is measured that are theirs.

    `unmeasured` counts the tracks that were chosen and are not measured.
    """

    tracks: TrackSet
    rows: tuple[int, ...]
    paired_by: str
    unmeasured: int

    @property
    def indices(self) -> list[int]:
        """Indices on the head."""
        indices: list[int] = self.tracks.indices.tolist()
        return indices

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, such as t4828."""
        return self.tracks.columns

    def table(self, measured: TrackSet) -> pl.DataFrame:
        """Describe the tracks, and what each is held against."""
        named = ("track", "column", "assay", "identifier", "description")
        theirs = measured.table.take(list(self.rows))
        return (
            pl.DataFrame(self.tracks.table)
            .select(named)
            .with_columns(
                measured_identifier=pl.Series(theirs["identifier"].to_pylist(), dtype=pl.String),
                measured_description=pl.Series(theirs["description"].to_pylist(), dtype=pl.String),
            )
        )


def pair_tracks(chosen: TrackSet, measured: TrackSet) -> TrackPairs:
    """Find the measured row of each chosen track. Raises EvaluationError where there is none.

    An identifier that is measured twice is refused: which one is meant cannot be told.
    """
    unnamed = all(
        name == f"{chosen.head}_{index}"
        for name, index in zip(_identifiers(chosen), chosen.indices.tolist(), strict=True)
    )
    keys: Sequence[Any] = chosen.indices.tolist() if unnamed else _identifiers(chosen)
    theirs: Sequence[Any] = measured.indices.tolist() if unnamed else _identifiers(measured)
    rows = {key: row for row, key in enumerate(theirs)}
    found = [
        (index, rows[key])
        for index, key in zip(chosen.indices.tolist(), keys, strict=True)
        if key in rows
    ]
    twice = [key for key in keys if list(theirs).count(key) > 1] if len(rows) < len(theirs) else []
    if twice:
        raise EvaluationError(
            f"the measured tracks have the identifier {twice[0]} more than once: leave one row."
        )
    if not found:
        raise EvaluationError(
            f"none of the {len(chosen):,} chosen tracks is measured: they are "
            f"{_some(_identifiers(chosen))}, and those that are {_some(_identifiers(measured))}. "
            f"Tracks belong together by their identifiers."
        )
    tracks = chosen.select([index for index, _ in found])
    by = BY_INDEX if unnamed else BY_IDENTIFIER
    return TrackPairs(tracks, tuple(row for _, row in found), by, len(chosen) - len(found))


def require_same_tracks(pairs: TrackPairs, others: Mapping[str, TrackSet]) -> None:
    """Refuse runs whose tracks are others. Raises TrackError that names the first difference."""
    rows = pairs.tracks.table.select(["track", "assay", "identifier", "description"]).to_pylist()
    for name, tracks in others.items():
        theirs = tracks.select(pairs.indices).table.to_pylist()
        for mine, other in zip(rows, theirs, strict=True):
            if any(other[key] != value for key, value in mine.items()):
                raise TrackError(
                    f"track {column_name(mine['track'])} is {mine['description']!r} "
                    f"({mine['identifier']}) in the first run and {other['description']!r} "
                    f"({other['identifier']}) in {name}: evaluate them one by one."
                )


def _identifiers(tracks: TrackSet) -> list[str]:
    names: list[str] = tracks.table["identifier"].to_pylist()
    return names


def _some(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
