"""What the value columns of a run mean, and the frames that are exported.

Knows the names of columns and statistics; knows no file format.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import polars as pl

from cisray.errors import ConfigError, ResultsError, near_matches
from cisray.tracks import TrackSet

VALUE_BYTES = 4
SLICE_BYTES = 64_000_000  # values held at a time
_VALUE_COLUMN = re.compile(r"(?P<stat>[A-Za-z]\w*)_t(?P<track>\d{4,})", re.ASCII)
_MEANINGS = {
    "REF": ("sum over bins of the reference", "signal"),
    "ALT": ("sum over bins of the alternate", "signal"),
    "SAD": ("sum over bins of alternate - reference", "signal"),
    "SADR": ("log2(sum of alternate + 1) - log2(sum of reference + 1)", "log2 ratio"),
    "logSAD": ("sum over bins of log2(alternate + 1) - log2(reference + 1)", "log2 ratio"),
    "SAX": ("alternate - reference in the bin where it is largest", "signal"),
    "D1": ("sum over bins of |alternate - reference|", "signal"),
    "D2": ("root of the sum over bins of (alternate - reference) squared", "signal"),
    "JS": ("half of Jeffreys's divergence of the two shapes", "nats"),
}


@dataclass(frozen=True, slots=True)
class ValueColumn:
    """One value column: `SAD_t4828` is the statistic SAD of the track with index 4828."""

    name: str
    stat: str
    track: int


@dataclass(frozen=True, slots=True)
class Meaning:
    """A statistic in words, and the unit of its values."""

    text: str
    unit: str


def meaning_of(stat: str) -> Meaning:
    """Say what a statistic is: its formula where it is one of cisray's, else its name.

    `X_sd` is the spread of X, and `gradX` its first-order estimate.

    >>> meaning_of("SAD_sd")
    Meaning(text='spread (standard deviation) of SAD, sum over bins of alternate - reference', \
unit='signal')
    """
    if stat in _MEANINGS:
        return Meaning(*_MEANINGS[stat])
    for kind, plain in (
        ("spread (standard deviation)", stat.removesuffix("_sd")),
        ("first-order estimate", stat.removeprefix("grad")),
    ):
        if plain != stat:
            whole = meaning_of(plain)
            return Meaning(f"{kind} of {plain}, {whole.text}", whole.unit)
    return Meaning(f"statistic {stat}", "")


def value_columns(names: list[str]) -> list[ValueColumn]:
    """Pick the value columns out of the columns of scores, in their order."""
    matches = ((name, _VALUE_COLUMN.fullmatch(name)) for name in names)
    return [ValueColumn(name, m["stat"], int(m["track"])) for name, m in matches if m]


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of variants or of saturation: rows, and what is known about them. Made by `of`.

    `frame` has the key columns and a column per statistic and track, sorted by chromosome in the
    order of the FASTA, then pos, ref, alt and variant. `provenance` are the names and digests that
    every file carries, `labels` the identifier and description of each track by its index.
    """

    frame: pl.LazyFrame
    provenance: Mapping[str, str]
    names: tuple[str, ...]
    columns: tuple[ValueColumn, ...]
    labels: Mapping[int, tuple[str, str]]

    @classmethod
    def of(cls, frame: pl.LazyFrame, tracks: TrackSet, provenance: Mapping[str, str]) -> Self:
        """Find the value columns of a frame. Raises ResultsError where there are none."""
        names = frame.collect_schema().names()
        columns = value_columns(names)
        if not columns:
            raise ResultsError(
                f"the rows to export have no value columns such as SAD_t0042, only "
                f"{', '.join(names)}."
            )
        words = (tracks.table[name].to_pylist() for name in ("identifier", "description"))
        labels = dict(zip(tracks.indices.tolist(), zip(*words, strict=True), strict=True))
        return cls(frame, provenance, tuple(names), tuple(columns), labels)

    @property
    def stats(self) -> list[str]:
        """The statistics, in order of first appearance."""
        return list(dict.fromkeys(column.stat for column in self.columns))

    def describe(self, column: ValueColumn) -> str:
        """Say what a number of this column is: statistic, unit, track."""
        meaning = meaning_of(column.stat)
        unit = f" [{meaning.unit}]" if meaning.unit else ""
        identifier, description = self.labels[column.track]
        text = f"{column.stat}: {meaning.text}{unit}; track {column.track} {identifier}"
        return f"{text}: {description}"

    def by_track(self, stat: str) -> list[str]:
        """Name the columns of one statistic, in the order of the tracks.

        Raises ConfigError for a statistic that the rows do not have, ResultsError where it lacks
        some of the tracks.
        """
        name_of = {column.track: column.name for column in self.columns if column.stat == stat}
        if not name_of:
            raise ConfigError(
                f"there is no statistic {stat!r} to export.{near_matches(stat, self.stats)} There "
                f"are {', '.join(self.stats)}."
            )
        missing = [track for track in self.labels if track not in name_of]
        if missing:
            raise ResultsError(
                f"{stat} lacks {len(missing):,} of the {len(self.labels):,} tracks, such as track "
                f"{missing[0]}: choose tracks that it has with --tracks."
            )
        return [name_of[track] for track in self.labels]

    def count(self) -> int:
        """Count the rows. There may be none: of a locus, or where all of the input was rejected."""
        return int(self.frame.select(pl.len()).collect().item())

    def slices(self, multiple: int = 1) -> Iterator[pl.DataFrame]:
        """Read the rows in pieces of bounded memory, in order.

        All but the last have a number of rows that is divisible by `multiple`.
        """
        height = self.count()
        most = SLICE_BYTES // (VALUE_BYTES * len(self.names))
        rows = max(1, most // multiple) * multiple
        for first in range(0, height, rows):
            yield self.frame.slice(first, rows).collect()


@dataclass(frozen=True, slots=True)
class GenomeTracks:
    """Bins of a genome run, asked for by chromosome and column.

    `bins` gives a frame with `start`, `end` and the column; asking for one column at a time lets a
    run open the files of one block alone. `lengths` are those of the chromosomes in the FASTA, in
    its order: the run does not hold them, and its last bin may reach over the end.
    """

    chromosomes: tuple[str, ...]
    bins: Callable[[str, str], pl.LazyFrame]
    lengths: Mapping[str, int]
    tracks: TrackSet
    provenance: Mapping[str, str]
