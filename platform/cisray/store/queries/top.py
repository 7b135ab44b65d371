"""The strongest variants of a run, for each track or for groups of tracks, in one pass.

Knows how rows are ranked; knows nothing of files. A run is read once, part by part, and of every
ranking no more than its k rows are held. Rounded values tie: of equal ones that row wins which
comes first in the order of the run, which is that of chromosome, pos, ref and alt.

A ranking takes rows with one value and one track each (`Ranking.add`): whatever tells the strongest
track of a group beforehand, such as a table of summaries, can feed it as well.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from cisray.errors import ConfigError
from cisray.store.group_summary import strongest_of_groups
from cisray.store.keyed_plan import as_keyed
from cisray.store.queries.parts import Part, in_pieces, parts_with_links, query_of
from cisray.tracks import column_name

if TYPE_CHECKING:
    from cisray.store.scan import Run
    from cisray.store.selection import Region, TrackQuery

Sign = Literal["abs", "positive", "negative"]
Values = NDArray[np.float32]
_ROW = "__cisray_row"
_SCORES: Mapping[Sign, Callable[[Values], Values]] = {
    "abs": np.abs,
    "positive": np.positive,
    "negative": np.negative,
}


class Ranking:
    """The k best of the rows that were added so far: their values, tracks and numbers."""

    def __init__(self, k: int, sign: Sign) -> None:
        """Begin without rows; of one `sign` alone, rows with a value of 0 do not count."""
        self._k, self._score = k, _SCORES[sign]
        # Of scores, which are not negative where they count; NaN is above nothing.
        self._least = np.float32(-1 if sign == "abs" else 0)
        self.values = np.empty(0, np.float32)
        self.tracks = np.empty(0, np.int32)
        self.rows = np.empty(0, np.int64)

    def add(self, values_N: Values, tracks_N: NDArray[np.int32], first: int) -> None:
        """Take further rows, numbered from `first`, in ascending order from call to call."""
        score_N = self._score(values_N)
        is_full = len(self.rows) == self._k
        # A later row must be better than the last one; an equal one has lost the tie.
        floor = self._score(self.values[-1:])[0] if is_full else self._least
        better = np.flatnonzero(score_N > floor)
        if len(better) > self._k:
            kth = np.partition(score_N[better], -self._k)[-self._k]
            better = better[score_N[better] >= kth]
        values = np.concatenate([self.values, values_N[better]])
        order = np.argsort(-self._score(values), kind="stable")[: self._k]
        self.values = values[order]
        self.tracks = np.concatenate([self.tracks, tracks_N[better]])[order]
        self.rows = np.concatenate([self.rows, better + first])[order]


def top_variants(
    run: "Run",
    k: int,
    *,
    by: str = "SAD",
    tracks: "TrackQuery | Mapping[str, TrackQuery] | None" = None,
    sign: Sign = "abs",
    region: "Region | None" = None,
) -> pl.DataFrame:
    """Rank variants by a statistic, as `Run.top` says."""
    as_keyed(run.plan)
    if k < 1 or sign not in _SCORES:
        raise ConfigError(
            f"k is how many variants are wanted, at least 1, and sign one of {', '.join(_SCORES)}; "
            f"got k={k}, sign={sign!r}."
        )
    groups = _groups(run, tracks)
    rankings = {group: Ranking(k, sign) for group in groups}
    known: set[str] = set()
    if sign == "abs" and region is None:
        for group, values_N, tracks_N in strongest_of_groups(run, groups, by):
            rankings[group].add(values_N, tracks_N, 0)
            known.add(group)
    members = [
        (name, track) for name, held in groups.items() if name not in known for track in held
    ]
    first = 0
    for part in parts_with_links(run) if members else ():
        height = 0
        columns = _columns(part, members, by, region)
        for group, of_group in groupby(columns, key=lambda column: column[0]):
            pairs = ((track, values_N) for _, track, values_N in of_group)
            values_N, tracks_N = strongest(pairs, sign)
            rankings[group].add(values_N, tracks_N, first)
            height = len(values_N)
        first += height
    return _tabulate(run, rankings, by, region)


def strongest(
    columns: Iterator[tuple[int, Values]], sign: Sign
) -> tuple[Values, NDArray[np.int32]]:
    """Find the strongest track of every row, the first of equals: its values (N,), and which.

    A row without any value (NaN) has NaN.
    """
    score = _SCORES[sign]
    track, values_N = next(columns)
    best_N, tracks_N = values_N.copy(), np.full(len(values_N), track, np.int32)
    for track, values_N in columns:
        is_better = (score(values_N) > score(best_N)) | np.isnan(best_N)
        best_N[is_better] = values_N[is_better]
        tracks_N[is_better] = track
    return best_N, tracks_N


def _groups(
    run: "Run", tracks: "TrackQuery | Mapping[str, TrackQuery] | None"
) -> dict[str, list[int]]:
    """Name the tracks of each ranking: those of a group, or a track alone under its column."""
    if isinstance(tracks, Mapping):
        if not tracks:
            raise ConfigError("no group of tracks is given; None ranks every track by itself.")
        return {name: run.tracks.select(one).indices.tolist() for name, one in tracks.items()}
    chosen = run.tracks if tracks is None else run.tracks.select(tracks)
    return {column_name(track): [track] for track in chosen.indices.tolist()}


def _columns(
    part: Part, members: Sequence[tuple[str, int]], by: str, region: "Region | None"
) -> Iterator[tuple[str, int, Values]]:
    """Read the values of a part, track by track in the order of the groups."""
    for _, piece in in_pieces(members):
        held = query_of(sorted({track for _, track in piece}))
        frame = part.scan(tracks=held, region=region, stats=by).select(cs.float()).collect()
        for group, track in piece:
            yield group, track, frame[f"{by}_{column_name(track)}"].to_numpy()


def _tabulate(
    run: "Run", rankings: Mapping[str, Ranking], by: str, region: "Region | None"
) -> pl.DataFrame:
    """Lay the rankings out below one another, with the keys of their rows."""
    ranked = pl.concat(
        pl.DataFrame(
            {
                "group": pl.Series([group] * len(ranking.rows), dtype=pl.String),
                "rank": np.arange(1, len(ranking.rows) + 1, dtype=np.int32),
                "track": pl.Series(map(column_name, ranking.tracks.tolist()), dtype=pl.String),
                by: ranking.values,
                _ROW: ranking.rows,
            }
        )
        for group, ranking in rankings.items()
    )
    any_track = int(run.tracks.indices[0])
    keys = run.scan(tracks=any_track, region=region, stats=by).drop(
        f"{by}_{column_name(any_track)}"
    )
    chosen = (
        keys.with_row_index(_ROW)
        .with_columns(pl.col(_ROW).cast(pl.Int64))
        .filter(pl.col(_ROW).is_in(ranked[_ROW].unique().implode()))
        .collect()
    )
    return ranked.join(chosen, on=_ROW, how="left", maintain_order="left").drop(_ROW)
