"""What users hand over beside a run: frames of variants and of intervals, checked before any work.

Knows Polars types and names of chromosomes; knows nothing of files.
"""

from collections.abc import Collection, Sequence

import polars as pl

from cisray.errors import FrameError, near_matches
from cisray.locus import match_chromosome

AnyFrame = pl.DataFrame | pl.LazyFrame


def collected(frame: AnyFrame, required: Sequence[str], what: str) -> pl.DataFrame:
    """Hold a frame in memory and check that it has the columns that a query reads.

    Raises FrameError for a column that is missing, and TypeError for what is no Polars frame.
    """
    if not isinstance(frame, AnyFrame):
        raise TypeError(
            f"{what} must be a polars frame, got {type(frame)}; polars.from_pandas and "
            f"polars.from_arrow make one."
        )
    held = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    for name in required:
        if name not in held.columns:
            raise FrameError(
                f"{what} lacks the column {name!r}.{near_matches(name, held.columns)} It has "
                f"{', '.join(held.columns[:20])}."
            )
    return held


def whole_numbers(frame: pl.DataFrame, name: str, what: str) -> pl.Series:
    """Take a column of coordinates. Raises FrameError for another type than whole numbers."""
    column = frame[name]
    if not column.dtype.is_integer():
        raise FrameError(
            f"the column {name!r} of {what} is {column.dtype}, and coordinates are whole numbers; "
            f"cast it with pl.col({name!r}).cast(pl.Int64)."
        )
    return column.cast(pl.Int64)


def texts(frame: pl.DataFrame, name: str, what: str) -> pl.Series:
    """Take a column of names or alleles; of numbers too, since `22` is read as one.

    Raises FrameError for another type.
    """
    column = frame[name]
    if column.dtype.is_integer() or column.dtype in (pl.String, pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    raise FrameError(f"the column {name!r} of {what} is {column.dtype}, and must be text.")


def as_run_spells(names: pl.Series, known: Collection[str]) -> pl.Series:
    """Translate names of chromosomes to those of a run; null where the run has no such one.

    Raises UnknownChromosome for a name that fits several of the run and is none of them.
    """
    distinct = names.drop_nulls().unique().to_list()
    spelled = {name: match_chromosome(name, known) for name in distinct}
    return names.replace_strict(spelled, default=None, return_dtype=pl.String)


def refuse_same_names(frame: pl.DataFrame, coming: Collection[str], what: str) -> None:
    """Raise FrameError for columns of a frame that a query would add as well."""
    twice = [name for name in frame.columns if name in coming]
    if twice:
        raise FrameError(
            f"{what} already has the columns {', '.join(twice[:10])}, which the result of the "
            f"query brings as well. Rename or drop them first."
        )
