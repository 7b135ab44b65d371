"""Two sealed runs compared: what they are made from, which rows they have, what stands in them.

Knows runs and their keys; how far numbers are apart is `differences`' business. A piece of a
chromosome is read at a time, some columns of it; of keys, those of one chromosome are held.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cisray.errors import WrongRun
from cisray.locus import format_locus
from cisray.store.differences import GroupDifference, Tally, cut_at
from cisray.store.keyed_plan import variant_name
from cisray.store.layout import value_columns
from cisray.store.manifest import identity_differences
from cisray.store.scan import Run, TrackQuery
from cisray.tracks import TrackSet

ROWS_AT_ONCE = 1 << 15
VALUES_AT_ONCE = 1 << 21
MOST_PLACES = 5
# What a row is known by, beside its chromosome, whatever its input was; the position first.
_OF_BINS = ("start",)
_OF_VARIANTS = ("pos", "ref", "alt", "site_start", "site_end")


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """A field of the identity that is not the same in both runs, as JSON."""

    field: str
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Compared:
    """Which rows, or columns, are only in one run, and how many are in both; some by name."""

    common: int
    only_a: int
    only_b: int
    first_only_a: tuple[str, ...]
    first_only_b: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Tell that neither run has something of its own."""
        return not (self.only_a or self.only_b)


@dataclass(frozen=True, slots=True)
class RunDifference:
    """Everything in which two runs differ."""

    a: str
    b: str
    identity: tuple[FieldDifference, ...]
    rows: Compared
    columns: Compared
    tolerance: float
    groups: tuple[GroupDifference, ...]

    @property
    def same_values(self) -> bool:
        """Tell that rows, columns and values are the same, whatever they were made from."""
        differing = any(group.differing for group in self.groups)
        return self.rows.is_same and self.columns.is_same and not differing

    @property
    def is_equal(self) -> bool:
        """Tell that nothing differs."""
        return self.same_values and not self.identity


def compare_runs(
    a: Run, b: Run, *, tracks: TrackQuery | None = None, tolerance: float = 0.0
) -> RunDifference:
    """Compare two runs of one kind; rows by what they are of, not by their place in an input.

    Equal variants (duplicates, overlapping regions) are matched in the order of their run. Columns
    are matched by name; `tracks` chooses among those of both runs. Values count as equal within
    `tolerance` of the larger of both.

    Raises WrongRun for runs of different kinds, TrackError for a selection without tracks, and
    StorageError as `Run.scan` does.
    """
    if a.manifest.table != b.manifest.table:
        raise WrongRun(
            f"{a.path} holds rows of {a.manifest.table} and {b.path} of {b.manifest.table}: only "
            f"runs of one kind can be compared."
        )
    if a.statistics is None and a.manifest.bin_bp != b.manifest.bin_bp:
        raise WrongRun(
            f"{a.path} has bins of {a.manifest.bin_bp} bp and {b.path} of {b.manifest.bin_bp} bp: "
            f"their rows are not of the same bases."
        )
    chosen = [run.tracks if tracks is None else run.tracks.select(tracks) for run in (a, b)]
    columns = (
        value_columns(run.statistics, of.columns) for run, of in zip((a, b), chosen, strict=True)
    )
    groups = _groups(a, b, *chosen)
    tallies = [Tally(group.name, group.columns, tolerance) for group in groups]
    rows = _Rows()
    for chrom in dict.fromkeys([*a.chromosomes, *b.chromosomes]):
        for piece in _pieces(a, b, chrom):
            rows.add(piece)
            for group, tally in zip(groups, tallies, strict=True):
                _add(a, b, piece, group, tally)
    fields = identity_differences(a.manifest, b.manifest)
    return RunDifference(
        a=str(a.path),
        b=str(b.path),
        identity=tuple(FieldDifference(*field) for field in fields),
        rows=rows.result(),
        columns=_compared(*columns),
        tolerance=tolerance,
        groups=tuple(tally.result() for tally in tallies),
    )


@dataclass(frozen=True, slots=True)
class _Group:
    """Columns that are told of together: a statistic of all common tracks, or those of an assay."""

    name: str
    statistic: str | None
    tracks: list[int]
    columns: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """A stretch of a chromosome: keys of both runs, and the places of rows that both have."""

    chrom: str
    low: int
    high: int
    bin_bp: int
    keys_a: pl.DataFrame
    keys_b: pl.DataFrame
    at_a: NDArray[np.int64]
    at_b: NDArray[np.int64]

    def name_a(self, row: int) -> str:
        """Name a row that both have, by its number among these."""
        return _named(self.chrom, self.keys_a, int(self.at_a[row]), self.bin_bp)

    def only(self, keys: pl.DataFrame, common: NDArray[np.int64]) -> tuple[int, list[str]]:
        """Count the rows that a run has for itself, and name some."""
        alone = np.setdiff1d(np.arange(keys.height), common)
        named = [_named(self.chrom, keys, int(row), self.bin_bp) for row in alone[:MOST_PLACES]]
        return alone.size, named


class _Rows:
    """Counts rows piece by piece."""

    def __init__(self) -> None:
        self._common = self._only_a = self._only_b = 0
        self._first_a: list[str] = []
        self._first_b: list[str] = []

    def add(self, piece: _Piece) -> None:
        only_a, first_a = piece.only(piece.keys_a, piece.at_a)
        only_b, first_b = piece.only(piece.keys_b, piece.at_b)
        self._common += piece.at_a.size
        self._only_a, self._only_b = self._only_a + only_a, self._only_b + only_b
        self._first_a, self._first_b = self._first_a + first_a, self._first_b + first_b

    def result(self) -> Compared:
        first_a, first_b = (tuple(names[:MOST_PLACES]) for names in (self._first_a, self._first_b))
        return Compared(self._common, self._only_a, self._only_b, first_a, first_b)


def _compared(in_a: Sequence[str], in_b: Sequence[str]) -> Compared:
    set_a, set_b = set(in_a), set(in_b)
    only_a = [name for name in in_a if name not in set_b]
    only_b = [name for name in in_b if name not in set_a]
    shown = (tuple(names[:MOST_PLACES]) for names in (only_a, only_b))
    return Compared(len(set_a & set_b), len(only_a), len(only_b), *shown)


def _groups(a: Run, b: Run, tracks_a: TrackSet, tracks_b: TrackSet) -> list[_Group]:
    """Group the columns that both runs have."""
    assays, there = tracks_a.table["assay"].to_pylist(), set(tracks_b.columns)
    common = [
        (int(track), column, assay or "tracks")
        for track, column, assay in zip(tracks_a.indices, tracks_a.columns, assays, strict=True)
        if column in there
    ]
    if not common:
        return []
    if a.statistics is not None:
        indices, names, _ = (list(part) for part in zip(*common, strict=True))
        shared = [name for name in a.statistics if name in (b.statistics or ())]
        return [_Group(name, name, indices, value_columns([name], names)) for name in shared]
    groups: dict[str, _Group] = {}
    for track, column, assay in common:
        group = groups.setdefault(assay, _Group(assay, None, [], []))
        group.tracks.append(track)
        group.columns.append(column)
    return list(groups.values())


def _pieces(a: Run, b: Run, chrom: str) -> Iterator[_Piece]:
    """Read the keys of a chromosome, cut them into pieces, and match those of each."""
    names = [name for name in (*_OF_BINS, *_OF_VARIANTS) if name in _key_names(a)]
    keys_a, keys_b = (_keys(run, chrom, names) for run in (a, b))
    at = names[0]
    positions = pl.concat([keys_a[at], keys_b[at]]).sort().to_numpy().astype(np.int64)
    for low, high in cut_at(positions, ROWS_AT_ONCE):
        part_a, part_b = (
            keys.filter(pl.col(at) >= low, pl.col(at) < high) for keys in (keys_a, keys_b)
        )
        ranked = [_ranked(part, names, side) for part, side in ((part_a, "a"), (part_b, "b"))]
        both = ranked[0].join(ranked[1], on=[*names, "rank"], how="inner").sort("a")
        at_a, at_b = (both[side].to_numpy().astype(np.int64) for side in ("a", "b"))
        yield _Piece(chrom, low, high, a.manifest.bin_bp, part_a, part_b, at_a, at_b)


def _key_names(run: Run) -> list[str]:
    return run.scan(tracks=int(run.tracks.indices[0])).collect_schema().names()


def _keys(run: Run, chrom: str, names: Sequence[str]) -> pl.DataFrame:
    frame = run.scan(tracks=int(run.tracks.indices[0]))
    if chrom not in run.chromosomes:
        return frame.select(names).clear().collect()
    return run.scan(tracks=int(run.tracks.indices[0]), region=chrom).select(names).collect()


def _ranked(keys: pl.DataFrame, names: Sequence[str], side: str) -> pl.DataFrame:
    """Number rows, in a column of that name, and equal ones among themselves."""
    rank = pl.int_range(pl.len()).over(names).alias("rank")
    return keys.with_row_index(side).with_columns(rank)


def _values(run: Run, piece: _Piece, group: _Group, part: slice) -> NDArray[np.float32]:
    """Read some columns of a piece's rows, (rows, columns); NaN where there is no value."""
    at = piece.keys_a.columns[0]
    # One base more on either side than asked for, so that it does not matter where counting begins.
    region = (piece.chrom, max(0, piece.low - 1), piece.high)
    frame = run.scan(tracks=group.tracks[part], region=region, stats=group.statistic)
    inside = frame.filter(pl.col(at) >= piece.low, pl.col(at) < piece.high)
    return inside.select(group.columns[part]).collect().to_numpy().astype(np.float32)


def _add(a: Run, b: Run, piece: _Piece, group: _Group, tally: Tally) -> None:
    """Read the columns of a piece in parts, from both runs."""
    if not piece.at_a.size:
        return
    step = max(1, VALUES_AT_ONCE // max(piece.keys_a.height, piece.keys_b.height))
    for first in range(0, len(group.columns), step):
        part = slice(first, first + step)
        a_NC = _values(a, piece, group, part)[piece.at_a]
        b_NC = _values(b, piece, group, part)[piece.at_b]
        tally.add(first, a_NC, b_NC, piece.name_a)


def _named(chrom: str, keys: pl.DataFrame, row: int, bin_bp: int) -> str:
    """Name a row as people look it up: a bin as a locus, a variant by its alleles."""
    told = keys.row(row, named=True)
    if "start" in told:
        return format_locus(chrom, told["start"], told["start"] + bin_bp)
    name = variant_name(chrom, told["pos"], told["ref"], told["alt"])
    if "site_start" not in told:
        return name
    return f"{name} at {format_locus(chrom, told['site_start'], told['site_end'])}"
