"""Rows of one block of a run, by readers that know nothing of cisray: each as its manual says.

Imports nothing but the reader that it is asked for, so that an environment of old versions can run
it as a script:

    python read_parquet.py READER FOLDER COLUMNS [CHROM PLACE FIRST END]

prints rows as JSON. COLUMNS are separated by commas; the last four choose rows of a chromosome
where the column PLACE is in FIRST to before END.
"""

import json
import sys
from typing import Any, NamedTuple

Rows = list[tuple[Any, ...]]


class Where(NamedTuple):
    """Rows of a chromosome with a coordinate column in `first` to before `end`."""

    chrom: str
    place: str
    first: int
    end: int


def with_duckdb(folder: str, columns: list[str], where: Where | None) -> Rows:
    import duckdb

    # duckdb takes `*` and `[` in a folder's name for a pattern; nothing else would read a folder.
    source = f"read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"
    names = ", ".join(f'"{name}"' for name in columns)
    if where is None:
        return duckdb.connect().execute(f"SELECT {names} FROM {source}").fetchall()
    asked = f'chrom = ? AND "{where.place}" >= ? AND "{where.place}" < ?'
    query = f"SELECT {names} FROM {source} WHERE {asked}"
    return duckdb.connect().execute(query, [where.chrom, where.first, where.end]).fetchall()


def filters_of(where: Where | None) -> list[tuple[str, str, object]] | None:
    """The filter in the notation that pyarrow and pandas share."""
    if where is None:
        return None
    chrom, place, first, end = where
    return [("chrom", "==", chrom), (place, ">=", first), (place, "<", end)]


def with_pandas(folder: str, columns: list[str], where: Where | None) -> Rows:
    import pandas as pd

    frame = pd.read_parquet(folder, columns=columns, filters=filters_of(where))
    return list(zip(*(frame[name].tolist() for name in columns), strict=True))


def with_read_table(folder: str, columns: list[str], where: Where | None) -> Rows:
    import pyarrow.parquet as pq

    table = pq.read_table(folder, columns=columns, filters=filters_of(where))
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))


def with_dataset(folder: str, columns: list[str], where: Where | None) -> Rows:
    import pyarrow.dataset as ds

    asked = None
    if where is not None:
        place = ds.field(where.place)
        asked = (ds.field("chrom") == where.chrom) & (place >= where.first) & (place < where.end)
    table = ds.dataset(folder, partitioning="hive").to_table(columns=columns, filter=asked)
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))


def with_polars(folder: str, columns: list[str], where: Where | None) -> Rows:
    import polars as pl

    frame = pl.scan_parquet(folder, hive_partitioning=True)
    if where is not None:
        is_there = pl.col(where.place).is_between(where.first, where.end, closed="left")
        frame = frame.filter(pl.col("chrom") == where.chrom, is_there)
    return frame.select(columns).collect().rows()


READERS = {
    "duckdb": with_duckdb,
    "pandas": with_pandas,
    "pyarrow.parquet": with_read_table,
    "pyarrow.dataset": with_dataset,
    "polars": with_polars,
}


def main(reader: str, folder: str, columns: str, *where: str) -> None:
    place = None
    if where:
        chrom, column, first, end = where
        place = Where(chrom, column, int(first), int(end))
    json.dump(READERS[reader](folder, columns.split(","), place), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
