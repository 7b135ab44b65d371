"""Scores beside alleles: those of a run, one per track, or of somebody else's table.

Knows runs as Polars reads them, and keys of variants; knows no labels and no statistics. Every
allele that is asked for comes back, in its place, with values or with the reason for none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cisray.errors import AssemblyMismatch, EvaluationError, StatisticError, near_matches
from cisray.evaluation.tables import KEY, read_table, scan_table, with_keys
from cisray.locus import alias_key
from cisray.store.scan import Run
from cisray.store.selection import TrackQuery

Floats = NDArray[np.float32]

SCORED = "scored"
TURNED = "scored with swapped alleles"
NOT_IN_RUN = "not in run"
SWAPPED = "alleles swapped"
NOT_IN_TABLE = "not in table"
NO_VALUE = "no value"
NOT_FINITE = "value not finite"
# What becomes of them when the alleles change places. A test holds this to the registry in
# cisray.scoring.statistics, which needs torch. JS takes its pseudocount from the reference, and has
# no such rule.
SIGNED = ("SAD", "SADR", "logSAD", "SAX")
UNSIGNED = ("D1", "D2")
_ROW = "__row"
_SHOWN = 5


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """Scores of V alleles and T features, float32; NaN in the rows of those that have none.

    `status` says of each allele `scored`, `scored with swapped alleles`, or why it has no scores.
    `assays` has one word for each feature, empty where there is none.
    """

    name: str
    features: tuple[str, ...]
    assays: tuple[str, ...]
    descriptions: tuple[str, ...]
    values_VT: Floats
    status: tuple[str, ...]

    @property
    def used_V(self) -> NDArray[np.bool_]:
        """Tell which alleles have scores."""
        return np.array([told in (SCORED, TURNED) for told in self.status], dtype=np.bool_)

    def counts(self) -> dict[str, int]:
        """Count the alleles by what became of them, the most frequent first."""
        table = pl.Series("status", self.status, dtype=pl.String).value_counts()
        return dict(table.sort("count", "status", descending=[True, False]).iter_rows())


class ScoreSource(Protocol):
    """Whatever has scores of alleles, under a name."""

    @property
    def name(self) -> str:
        """How tables and figures call it."""

    def join(self, alleles: pl.DataFrame) -> Joined:
        """Find the scores of alleles; `alleles` has chrom, pos (1-based), ref and alt."""


@dataclass(frozen=True, slots=True, eq=False)
class RunScores:
    """One statistic of a run of variants, a feature for each of the tracks that are asked for."""

    name: str
    run: Run
    statistic: str = "SAD"
    tracks: TrackQuery | None = None

    def __post_init__(self) -> None:
        """Refuse runs without such a statistic, and runs at sites.

        Raises StatisticError, WrongRun for a run along the genome, TrackError for tracks that the
        run does not have.
        """
        keys = self.run.variants.collect_schema().names()
        if "site" in keys:
            raise EvaluationError(
                f"{self.run.path} was scored at sites: a variant has a row for each of them, and "
                f"none for itself. Score the variants without --at."
            )
        known = self.run.statistics or []
        if self.statistic not in known:
            raise StatisticError(
                f"{self.run.path} has no statistic {self.statistic!r}."
                f"{near_matches(self.statistic, known)} It has {', '.join(known)}."
            )
        if self.tracks is not None:
            self.run.tracks.select(self.tracks)

    def join(self, alleles: pl.DataFrame) -> Joined:
        """Find the scores of alleles, spelled as scored or as the input of the run had them.

        A single-base allele that the run has with reference and alternative exchanged takes its
        scores with the sign turned, if the statistic has one. Of a variant that the run has twice
        the first row counts: both were scored alike. Raises what `Run.join_variants` raises.
        """
        asked = alleles.select(KEY).with_row_index(_ROW)
        found = self._found(asked)
        missing = found.filter(
            pl.col("status") == NOT_IN_RUN,
            pl.col("ref").str.len_bytes() == 1,
            pl.col("alt").str.len_bytes() == 1,
        )
        if missing.height:
            found = found.update(self._turned(missing), on=_ROW)
        tracks = self.run.tracks if self.tracks is None else self.run.tracks.select(self.tracks)
        table = tracks.table
        values = found.select(f"{self.statistic}_{column}" for column in tracks.columns)
        return _checked(
            self.name,
            tuple(tracks.columns),
            (tuple(table["assay"].to_pylist()), tuple(table["description"].to_pylist())),
            values,
            found["status"],
        )

    def _found(self, asked: pl.DataFrame) -> pl.DataFrame:
        joined = self.run.join_variants(asked, tracks=self.tracks, stats=self.statistic)
        columns = pl.selectors.float()
        return (
            joined.select(_ROW, *KEY, "status", columns)
            .unique(_ROW, keep="first", maintain_order=True)
            .collect()
        )

    def _turned(self, missing: pl.DataFrame) -> pl.DataFrame:
        """Look up alleles with reference and alternative exchanged; of others give no row."""
        swapped = missing.select(_ROW, "chrom", "pos", ref="alt", alt="ref")
        found = self._found(swapped).filter(pl.col("status") == SCORED)
        values = pl.selectors.float()
        if self.statistic in (*SIGNED, *UNSIGNED):
            turned = -values if self.statistic in SIGNED else values
            return found.select(_ROW, turned, status=pl.lit(TURNED))
        return found.select(_ROW, status=pl.lit(SWAPPED))


@dataclass(frozen=True, slots=True, eq=False)
class TableScores:
    """Scores of a table with one row per variant and one or more columns of numbers."""

    name: str
    frame: pl.DataFrame
    columns: tuple[str, ...]

    @classmethod
    def read(cls, name: str, path: Path, columns: Sequence[str] = ()) -> "TableScores":
        """Read a table keyed by chrom, pos, ref and alt, or by `variant`.

        Without `columns` every column of numbers that is no key is a feature. Raises
        EvaluationError for missing columns, for a table without numbers, and for a variant that
        it has twice with different values.
        """
        frame = read_table(scan_table(path, {"chrom": pl.String}), path)
        keyed = with_keys(frame, path)
        numbers = [n for n in keyed.columns if n not in KEY and keyed[n].dtype.is_numeric()]
        chosen = tuple(columns) or tuple(numbers)
        missing = [name for name in chosen if name not in numbers]
        if missing or not chosen:
            raise EvaluationError(
                f"{path} has no column of numbers {', '.join(missing)}".rstrip()
                + f"; those it has are {', '.join(numbers) or 'none'}."
            )
        return cls(name, _one_row_each(keyed.select(*KEY, *chosen), path), chosen)

    def join(self, alleles: pl.DataFrame) -> Joined:
        """Find the scores of alleles, whatever a chromosome is called.

        Exchanged alleles are told from missing ones and left out: whether such a score has a sign
        is not known.
        """
        asked = _keyed(alleles.select(KEY)).with_row_index(_ROW)
        held = _keyed(self.frame).with_columns(there=pl.lit(True))
        found = asked.join(held, on=KEY, how="left", maintain_order="left")
        others = held.select("chrom", "pos", ref="alt", alt="ref", swapped="there")
        found = found.join(others, on=KEY, how="left", maintain_order="left")
        status = (
            pl.when(pl.col("there").is_null() & pl.col("swapped").is_not_null())
            .then(pl.lit(SWAPPED))
            .when(pl.col("there").is_null())
            .then(pl.lit(NOT_IN_TABLE))
            .when(pl.any_horizontal(pl.col(self.columns).is_null()))
            .then(pl.lit(NO_VALUE))
            .otherwise(pl.lit(SCORED))
        )
        told = found.select(status.alias("status")).to_series()
        nothing = ("",) * len(self.columns)
        values = found.select(pl.col(self.columns).cast(pl.Float32))
        return _checked(self.name, self.columns, (nothing, self.columns), values, told)


def require_found(joined: Joined, alleles: pl.DataFrame, least: float) -> None:
    """Raise AssemblyMismatch where fewer than a share `least` of the alleles has scores.

    What is on another assembly meets positions that are not there, or other reference bases.
    """
    used = int(joined.used_V.sum())
    if not len(joined.status) or used >= least * len(joined.status):
        return
    row = int(np.flatnonzero(~joined.used_V)[0])
    chrom, pos, ref, alt = alleles.select(KEY).row(row)
    counts = ", ".join(
        f"{told} {count:,}" for told, count in list(joined.counts().items())[:_SHOWN]
    )
    raise AssemblyMismatch(
        f"only {used:,} of {len(joined.status):,} alleles have scores in {joined.name} ({counts}); "
        f"the first without is {chrom}:{pos} {ref}>{alt}. Labels and scores look like those of "
        f"different assemblies: check that, or lower --min-scored (now {least:g})."
    )


def _checked(
    name: str,
    features: tuple[str, ...],
    about: tuple[tuple[str, ...], tuple[str, ...]],
    values: pl.DataFrame,
    status: pl.Series,
) -> Joined:
    """Take rows out whose values are not finite, and say so."""
    values_VT = values.to_numpy().astype(np.float32)
    has = status.is_in([SCORED, TURNED]).to_numpy()
    finite = np.isfinite(values_VT).all(axis=1)
    told = np.array(status.to_list(), dtype=object)
    told[has & ~finite] = NOT_FINITE
    values_VT[~(has & finite)] = np.nan
    return Joined(name, features, *about, values_VT, tuple(told.tolist()))


def _keyed(frame: pl.DataFrame) -> pl.DataFrame:
    """Fold the names of chromosomes, and alleles to upper case."""
    names = frame["chrom"].cast(pl.String)
    folded = {name: alias_key(name) for name in names.unique().to_list()}
    return frame.with_columns(
        names.replace_strict(folded, return_dtype=pl.String).alias("chrom"),
        pl.col("pos").cast(pl.Int64),
        pl.col("ref", "alt").cast(pl.String).str.to_uppercase(),
    )


def _one_row_each(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    rows = frame.unique(maintain_order=True)
    twice = rows.filter(_keyed(rows).select(KEY).is_duplicated())
    if twice.height:
        chrom, pos, ref, alt = twice.select(KEY).row(0)
        raise EvaluationError(
            f"{path} has {chrom}:{pos} {ref}>{alt} twice, with different values: leave one row."
        )
    return rows
