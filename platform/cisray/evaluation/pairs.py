"""Tables of element-gene pairs: the layout of the ENCODE CRISPRi benchmark, and scores of pairs.

Knows columns, keys and which rows count; knows no model and no statistics. Every row of a benchmark
stays, and `left_out` says why one does not count, empty where it does. Coordinates are 0-based
half-open, as in BED.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from cisray.errors import EvaluationError
from cisray.evaluation.metrics import Doubles
from cisray.evaluation.tables import read_table, require_columns, scan_table
from cisray.locus import alias_key

COLUMNS = (
    "chrom", "chromStart", "chromEnd", "measuredGeneSymbol", "startTSS", "endTSS", "Regulated",
)  # fmt: skip
PAIR = ("chrom", "start", "end", "gene")
# How other tables call the parts of a key.
_ALIASES = {"chromStart": "start", "chromEnd": "end", "measuredGeneSymbol": "gene"}
# Columns of numbers in tables of scored pairs that are no scores.
_NO_SCORES = {"row", "main_tss", "distance_bp", "mutagenesis_change"}
H3K27AC = "H3K27ac.RPM"
ABC = ("ABC.Score", "ABCScore", "ABC_score", "ABC")
NO_LABEL = "no label"
NO_PLACE = "no coordinates or gene"
OTHER_CELL = "other cell type"
OTHER_CHROMOSOME = "gene on another chromosome"
NOT_IN_TABLE = "not in table"
NO_VALUE = "no value"
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def read_pairs(path: Path, cell_type: str | None = None) -> pl.DataFrame:
    """Read a benchmark whole: row, chrom, start, end, gene, tss, regulated, left_out, and more.

    `row` counts from 1 after the header; `tss` is the middle base of the stated TSS. `h3k27ac` and
    `abc` are there if the table has such columns. Where it has ValidConnection, only true ones
    count. Raises EvaluationError for missing columns, and for a cell type that no row has.
    """
    scanned = scan_table(path, dict.fromkeys((*COLUMNS, "chrTSS", "CellType"), pl.String))
    needed = COLUMNS if cell_type is None else (*COLUMNS, "CellType")
    require_columns(scanned, needed, path)
    table = read_table(scanned, path).with_columns(pl.col(COLUMNS).cast(pl.String))
    if cell_type is not None and cell_type not in table["CellType"]:
        known = ", ".join(table["CellType"].drop_nulls().unique().sort())
        raise EvaluationError(f"{path} has no pair of the cell type {cell_type!r}; it has {known}.")
    first, last = (pl.col(name).cast(pl.Int64, strict=False) for name in ("startTSS", "endTSS"))
    frame = table.select(
        row=pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
        chrom="chrom",
        start=pl.col("chromStart").cast(pl.Int64, strict=False),
        end=pl.col("chromEnd").cast(pl.Int64, strict=False),
        gene="measuredGeneSymbol",
        tss=first + (last - first - 1) // 2,
        regulated=pl.col("Regulated")
        .str.to_lowercase()
        .replace_strict(_TRUTH, default=None, return_dtype=pl.Boolean),
        **_measured(table),
    )
    reason = _reason(table, cell_type)
    return frame.with_columns(table.with_columns(left_out=reason)["left_out"]).with_columns(
        left_out=pl.when(pl.col("left_out").is_not_null())
        .then("left_out")
        .when(_nowhere())
        .then(pl.lit(NO_PLACE))
        .when(pl.col("regulated").is_null())
        .then(pl.lit(NO_LABEL))
        .otherwise(pl.lit(""))
    )


def _measured(table: pl.DataFrame) -> dict[str, pl.Expr]:
    """Take the columns that baselines are made of, as far as they are there."""
    abc = next((name for name in ABC if name in table.columns), None)
    named = {"h3k27ac": H3K27AC if H3K27AC in table.columns else None, "abc": abc}
    return {
        name: pl.col(column).cast(pl.Float64, strict=False)
        for name, column in named.items()
        if column is not None
    }


def _nowhere() -> pl.Expr:
    known = ("chrom", "start", "end", "gene", "tss")
    bad = (pl.col("start") < 0) | (pl.col("end") <= pl.col("start")) | (pl.col("tss") < 0)
    return pl.any_horizontal(pl.col(known).is_null()) | bad.fill_null(value=True)


def _reason(table: pl.DataFrame, cell_type: str | None) -> pl.Expr:
    """Say why a row does not count by what the table has beside its keys; null where it does."""
    told = [pl.lit(None, pl.String)]
    if cell_type is not None:
        other = (pl.col("CellType") != cell_type).fill_null(value=True)
        told.append(pl.when(other).then(pl.lit(OTHER_CELL)))
    if "ValidConnection" in table.columns:
        valid = pl.col("ValidConnection").cast(pl.String).fill_null("not stated")
        text = pl.concat_str(pl.lit("connection not valid: "), valid)
        told.append(pl.when(valid.str.to_lowercase() != "true").then(text))
    if "chrTSS" in table.columns:
        apart = (pl.col("chrTSS") != pl.col("chrom")).fill_null(value=False)
        told.append(pl.when(apart).then(pl.lit(OTHER_CHROMOSOME)))
    return pl.coalesce(told)


@dataclass(frozen=True, slots=True, eq=False)
class PairTable:
    """Scores of pairs under a name: one or more columns of numbers."""

    name: str
    frame: pl.DataFrame
    columns: tuple[str, ...]

    @classmethod
    def read(cls, name: str, path: Path) -> "PairTable":
        """Read a table keyed by chrom, start, end and gene (or the benchmark's names of these).

        Every other column of numbers is a score; higher ones mean regulation. Raises
        EvaluationError for missing columns, a table without numbers, and a pair that it has twice
        with different values.
        """
        scanned = scan_table(path, {"chrom": pl.String})
        table = read_table(scanned, path)
        table = table.rename(
            {old: new for old, new in _ALIASES.items() if old in table and new not in table}
        )
        require_columns(table, PAIR, path)
        others = [c for c in table.columns if c not in PAIR and c not in _NO_SCORES]
        scores = [c for c in others if table[c].dtype.is_numeric() and table[c].count()]
        if not scores:
            raise EvaluationError(f"{path} has no column of numbers beside {', '.join(PAIR)}.")
        return cls.of(name, table.select(*PAIR, *scores), str(path))

    @classmethod
    def of(cls, name: str, frame: pl.DataFrame, source: str) -> "PairTable":
        """Take a frame of PAIR and columns of numbers. Raises EvaluationError as `read` does."""
        keyed = _keyed(frame).unique(maintain_order=True)
        twice = keyed.filter(keyed.select(PAIR).is_duplicated())
        if twice.height:
            chrom, start, end, gene = twice.select(PAIR).row(0)
            raise EvaluationError(
                f"{source} has {chrom}:{start}-{end} (0-based) and {gene} twice, with different "
                f"values: leave one row."
            )
        return cls(name, keyed, tuple(c for c in frame.columns if c not in PAIR))

    def join(self, pairs: pl.DataFrame) -> tuple[dict[str, Doubles], list[str]]:
        """Find the scores of pairs: values by name, and for each pair why it has none, or "".

        A table with several columns has a score for each, its name before it.
        """
        held = self.frame.with_columns(there=pl.lit(value=True))
        found = _keyed(pairs.select(PAIR)).join(held, on=PAIR, how="left", maintain_order="left")
        values = {
            self.name if len(self.columns) == 1 else f"{self.name} {column}": found[column]
            .cast(pl.Float64)
            .fill_null(np.nan)
            .to_numpy()
            for column in self.columns
        }
        finite = np.logical_and.reduce([np.isfinite(v) for v in values.values()])
        there = found["there"].to_list()
        reasons = [
            "" if good else NO_VALUE if held_it else NOT_IN_TABLE
            for good, held_it in zip(finite.tolist(), there, strict=True)
        ]
        return values, reasons


def _keyed(frame: pl.DataFrame) -> pl.DataFrame:
    names: Sequence[str] = frame["chrom"].cast(pl.String).unique().drop_nulls().to_list()
    folded = {name: alias_key(name) for name in names}
    return frame.with_columns(
        pl.col("chrom").cast(pl.String).replace_strict(folded, default=None).alias("chrom"),
        pl.col("start", "end").cast(pl.Int64),
        pl.col("gene").cast(pl.String),
    )
