"""Tables that people hand to evaluations: read whole, their columns asked for by name.

Knows Parquet and separated text, and how variants are spelled in one column; knows no evaluation.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from cisray.errors import EvaluationError, near_matches

KEY = ("chrom", "pos", "ref", "alt")
# chr1_13550_G_A_b38 of GTEx, chr1_13550_G_A of the eQTL Catalogue, 1:13550:G:A.
_SPELLED = (
    r"^(?<chrom>\S+)[:_-](?<pos>\d{1,18})[:_-](?<ref>[A-Za-z]+)[:_>-](?<alt>[A-Za-z]+)(?:_b\d+)?$"
)
_SHOWN = 20
_SEPARATORS: Mapping[str, str] = {".csv": ","}
_COMPRESSED = {".gz", ".bgz", ".zst"}


def scan_table(path: Path, types: Mapping[str, type[pl.DataType]] | None = None) -> pl.LazyFrame:
    """Open a table: Parquet, or text with a header, separated by commas (.csv) or else by tabs.

    Text may be compressed by gzip, bgzip or zstd. Chromosomes are text even where all are numbers;
    `types` says more. Raises EvaluationError for a file that cannot be read.
    """
    if not path.is_file():
        raise EvaluationError(f"{path} is no file: give a table, Parquet or text with a header.")
    endings = [ending for ending in path.suffixes if ending not in _COMPRESSED]
    last = endings[-1] if endings else ""
    try:
        if last == ".parquet":
            frame = pl.scan_parquet(path)
        else:
            separator = _SEPARATORS.get(last, "\t")
            # Only of columns that are there: as many others as there are columns rename those in
            # some versions of Polars.
            names = pl.scan_csv(path, separator=separator, infer_schema=False).collect_schema()
            frame = pl.scan_csv(
                path,
                separator=separator,
                null_values=["NA", "nan", ""],
                schema_overrides={n: kind for n, kind in (types or {}).items() if n in names},
                infer_schema_length=10_000,
            )
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error) from error
    return frame


def read_table(frame: pl.LazyFrame, path: Path) -> pl.DataFrame:
    """Read what is asked of a table. Raises EvaluationError for text that does not fit."""
    try:
        return frame.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error) from error


def require_columns(frame: pl.LazyFrame | pl.DataFrame, names: Sequence[str], path: Path) -> None:
    """Raise EvaluationError that names every column which a table lacks."""
    has = frame.collect_schema().names()
    missing = [name for name in names if name not in has]
    if missing:
        near = "".join(near_matches(name, has) for name in missing)
        shown = ", ".join(has[:_SHOWN])
        raise EvaluationError(
            f"{path} lacks the columns {', '.join(missing)}.{near} It has {shown}."
        )


def with_keys(frame: pl.DataFrame, path: Path, variant: str = "variant") -> pl.DataFrame:
    """Give a table the columns chrom, pos (1-based), ref and alt, alleles in upper case.

    They are there already, or a column spells the variant, as chr1_13550_G_A_b38, chr1_13550_G_A or
    1:13550:G:A do. Raises EvaluationError for a table with neither, and for the first row that
    cannot be read.
    """
    if variant not in frame.columns:
        require_columns(frame, KEY, path)
        keyed = frame
    else:
        parts = pl.col(variant).cast(pl.String).str.extract_groups(_SPELLED)
        keyed = frame.drop([name for name in KEY if name in frame.columns and name != variant])
        keyed = keyed.with_columns(parts.alias("__parts")).unnest("__parts")
    keyed = keyed.with_columns(
        pl.col("chrom").cast(pl.String),
        pl.col("pos").cast(pl.Int64, strict=False),
        pl.col("ref", "alt").cast(pl.String).str.to_uppercase(),
    )
    bad = keyed.select(pl.any_horizontal(pl.col(KEY).is_null())).to_series().arg_true()
    if len(bad):
        row = int(bad[0])
        told = frame[variant][row] if variant in frame.columns else keyed.select(KEY).row(row)
        raise EvaluationError(
            f"{path}: row {row + 1:,} after the header names no variant ({told!r}): write chrom, "
            f"pos, ref and alt, or {variant} as chr1_13550_G_A. {len(bad):,} rows are like that."
        )
    return keyed


def _unreadable(path: Path, error: Exception) -> EvaluationError:
    told = " ".join(str(error).split())[:300]
    return EvaluationError(f"{path} cannot be read as a table: {told}.")
