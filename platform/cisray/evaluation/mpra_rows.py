"""From the rows of an assay and the scores of its alleles to elements that can be judged.

Knows the frame of `mpra_table` and joined scores; knows no statistics. A row counts where every
source has scores of it, so that all are judged by the same rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from cisray.errors import EvaluationError
from cisray.evaluation.metrics import Doubles
from cisray.evaluation.mpra import ElementData, Features, Ints, Judged, Mask
from cisray.evaluation.mpra_elements import track_groups
from cisray.evaluation.scores import (
    Joined,
    RunScores,
    ScoreSource,
    TableScores,
    require_found,
)
from cisray.tracks import TrackSet

TRAIN, TEST = "train", "test"
NO_PART = "neither train nor test"


@dataclass(frozen=True, slots=True, eq=False)
class AssayScores:
    """All rows of the table with `left_out` complete, and the scores of those that were asked for.

    The values of `models` and `external` are those of the rows `asked_V` of the frame. `tracks` are
    those of each model's features.
    """

    frame: pl.DataFrame
    asked_V: Ints
    models: tuple[Joined, ...]
    tracks: tuple[TrackSet, ...]
    external: tuple[Joined, ...]

    def counts(self) -> dict[str, int]:
        """Count the rows that are left out, by reason, the most frequent first."""
        left = self.frame.filter(pl.col("left_out") != "")["left_out"].value_counts()
        return dict(left.sort("count", "left_out", descending=[True, False]).iter_rows())

    @property
    def used(self) -> int:
        """How many rows count."""
        return int((self.frame["left_out"] == "").sum())


def score_assay(
    assay: pl.DataFrame,
    models: Sequence[RunScores],
    external: Sequence[TableScores],
    *,
    least: float,
    parted: bool = False,
) -> AssayScores:
    """Find the scores of every row that counts; leave out those that a source does not have.

    With `parted` a row must be of the training part or of the test part. Raises AssemblyMismatch
    where a source has scores of fewer than a share `least` of the rows, EvaluationError for two
    sources of one name and where no row counts.
    """
    sources: list[ScoreSource] = [*models, *external]
    _distinct([source.name for source in sources])
    if parted:
        assay = _require_part(assay)
    asked_V = np.flatnonzero((assay["left_out"] == "").to_numpy())
    if not len(asked_V):
        raise EvaluationError("no row of the assay counts: see which are left out, and why.")
    asked = assay[asked_V]
    found = [source.join(asked) for source in sources]
    for joined in found:
        require_found(joined, asked, least)
    reasons = [""] * len(asked_V)
    for joined in reversed(found):
        for at in np.flatnonzero(~joined.used_V).tolist():
            reasons[at] = f"{joined.name}: {joined.status[at]}"
    told = assay["left_out"].to_numpy().astype(object)
    told[asked_V] = reasons
    frame = assay.with_columns(pl.Series("left_out", told.tolist(), dtype=pl.String))
    sets = tuple(_tracks_of(source) for source in models)
    count = len(models)
    return AssayScores(frame, asked_V, tuple(found[:count]), sets, tuple(found[count:]))


def elements_of(
    scores: AssayScores, matching: Mapping[str, list[str]] | None
) -> Iterator[tuple[ElementData, Ints]]:
    """Give every element with a row that counts, and which rows of the frame are its variants."""
    counts_V = (scores.frame["left_out"] == "").to_numpy()
    names_V = scores.frame["element"].to_numpy()
    asked_names_V = names_V[scores.asked_V]
    for name in dict.fromkeys(names_V[counts_V].tolist()):
        at_V = np.flatnonzero((asked_names_V == name) & counts_V[scores.asked_V])
        row_V = scores.asked_V[at_V]
        rows = scores.frame[row_V]
        yield (
            ElementData(
                name=name,
                pos_V=rows["pos"].to_numpy(),
                effect_V=rows["effect"].to_numpy(),
                features={
                    joined.name: Features(
                        joined.values_VT[at_V].astype(np.float64),
                        track_groups(tracks, name, matching),
                    )
                    for joined, tracks in zip(scores.models, scores.tracks, strict=True)
                },
                external={
                    _column_name(joined, place): joined.values_VT[at_V, place].astype(np.float64)
                    for joined in scores.external
                    for place in range(len(joined.features))
                },
                train_V=_train(rows),
            ),
            row_V,
        )


def variants_table(scores: AssayScores, judged: Sequence[tuple[Judged, Ints]]) -> pl.DataFrame:
    """Set block, splits and predictions beside every row of the table; null where there is none."""
    height = scores.frame.height
    columns: dict[str, Doubles] = {}
    splits: dict[str, list[bool | None]] = {}
    blocks: list[int | None] = [None] * height
    for element, row_V in judged:
        for row, block in zip(row_V.tolist(), element.block_V.tolist(), strict=True):
            blocks[row] = block
        for split, train_V in element.train.items():
            column = splits.setdefault(f"train, {split}", [None] * height)
            for row, train in zip(row_V.tolist(), train_V.tolist(), strict=True):
                column[row] = train
        for name, values_V in element.predictions.items():
            columns.setdefault(name, np.full(height, np.nan))[row_V] = values_V
    return scores.frame.with_columns(
        pl.Series("block", blocks, dtype=pl.Int64),
        *(pl.Series(name, values, dtype=pl.Boolean) for name, values in splits.items()),
        *(pl.Series(name, values).fill_nan(None) for name, values in columns.items()),
    )


def _column_name(joined: Joined, place: int) -> str:
    """Name an external score; a table with several has one for each column."""
    if len(joined.features) == 1:
        return joined.name
    return f"{joined.name} {joined.features[place]}"


def _tracks_of(source: RunScores) -> TrackSet:
    tracks = source.run.tracks
    return tracks if source.tracks is None else tracks.select(source.tracks)


def _train(rows: pl.DataFrame) -> Mask | None:
    if rows["part"].null_count():
        return None
    train_V: Mask = (rows["part"] == TRAIN).to_numpy().astype(np.bool_)
    return train_V


def _require_part(assay: pl.DataFrame) -> pl.DataFrame:
    known = pl.col("part").is_in([TRAIN, TEST]).fill_null(value=False)
    without = (pl.col("left_out") == "") & ~known
    return assay.with_columns(left_out=pl.when(without).then(pl.lit(NO_PART)).otherwise("left_out"))


def _distinct(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        told = f"two scores are called {twice[0]}" if twice else "no scores are given"
        raise EvaluationError(f"{told}: name them as NAME=PATH, with --run or --external.")
