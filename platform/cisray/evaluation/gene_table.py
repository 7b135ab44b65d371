"""Somebody else's predictions of genes: a table of one row per gene and a column per track.

Knows tables and names of tracks; knows nothing of runs or bins.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from cisray.errors import EvaluationError
from cisray.evaluation.observed import Values
from cisray.evaluation.tables import read_table, require_columns, scan_table
from cisray.evaluation.track_pairs import TrackPairs

GENE = "gene"
NOT_IN_TABLE, NO_VALUE = "not in table", "no value"
_SHOWN = 5


@dataclass(frozen=True, slots=True, eq=False)
class GenePredictions:
    """Predictions under a name: `frame` has gene, and a Float64 column per track."""

    name: str
    frame: pl.DataFrame

    @classmethod
    def read(cls, name: str, path: Path, pairs: TrackPairs) -> "GenePredictions":
        """Read a table whose columns are called as tracks are: column, identifier or description.

        Raises EvaluationError for a table without the column `gene`, without one of the tracks,
        and for a gene that it has twice.
        """
        frame = read_table(scan_table(path, {GENE: pl.String}), path)
        require_columns(frame, [GENE], path)
        named = pl.DataFrame(pairs.tracks.table)
        chosen, missing = [], []
        for column, identifier, description in named.select(
            "column", "identifier", "description"
        ).iter_rows():
            there = [n for n in (column, identifier, description) if n in frame.columns]
            if there:
                chosen.append(pl.col(there[0]).cast(pl.Float64, strict=False).alias(column))
            else:
                missing.append(f"{column} ({description})")
        if missing:
            more = f" and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else ""
            raise EvaluationError(
                f"{path} has no column for the tracks {', '.join(missing[:_SHOWN])}{more}: columns "
                f"are called as the run's (t0042), or by identifier or description. Choose the "
                f"tracks that it has by --tracks."
            )
        held = frame.select(pl.col(GENE).cast(pl.String), *chosen)
        if held[GENE].is_duplicated().any():
            twice = held.filter(pl.col(GENE).is_duplicated())[GENE][0]
            raise EvaluationError(f"{path} has the gene {twice} more than once: leave one row.")
        return cls(name, held)

    def reasons(self, genes: pl.Series) -> dict[str, str]:
        """Tell why genes have no predictions; of those that have them, nothing."""
        asked = pl.DataFrame({GENE: genes}).join(
            self.frame.with_columns(__there=True), on=GENE, how="left", maintain_order="left"
        )
        values = pl.exclude(GENE, "__there")
        bad = ~pl.all_horizontal(values.is_finite().fill_null(value=False))
        told = asked.select(
            GENE,
            reason=pl.when(pl.col("__there").is_null())
            .then(pl.lit(NOT_IN_TABLE))
            .when(bad)
            .then(pl.lit(NO_VALUE)),
        ).drop_nulls("reason")
        return {gene: f"{self.name}: {reason}" for gene, reason in told.iter_rows()}

    def sums(self, genes: list[str]) -> Values:
        """Give the predictions of genes, float64 (genes, T)."""
        asked = pl.DataFrame({GENE: genes}, schema={GENE: pl.String})
        found = asked.join(self.frame, on=GENE, how="left", maintain_order="left")
        return found.drop(GENE).to_numpy().astype(np.float64)
