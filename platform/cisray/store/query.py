"""How the rows of a query are found in data files: their key columns, and which lie in a region.

Knows Polars and the columns of data files; knows nothing of runs or of where files lie. Bins are
known by their place; effects by the variant, wherever its reference allele reaches.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from cisray_schemas.table import Table

# 0-based half-open; None reaches to the end of the chromosome.
Bounds = tuple[int, int | None]
Names = Mapping[str, list[str]]
Scan = Callable[[list[str]], pl.LazyFrame]


class RowQuery(Protocol):
    """Rows of one kind: their key columns, and how files of one block are scanned for them."""

    @property
    def keys(self) -> dict[str, pl.DataType]:
        """The key columns of a frame, with their types."""

    def scan(self, names: Names, bounds: Bounds | None, scan: Scan) -> pl.LazyFrame:
        """Scan files, by chromosome and in plan order, for rows within `bounds` of each.

        `scan` gives the frame of files that lie one after the other. The frame that comes back has
        the key columns and the values, and perhaps others.
        """


@dataclass(frozen=True, slots=True)
class BinQuery:
    """Bins along the genome. A file holds one chromosome, which stands in no column of it."""

    chromosomes: list[str]
    bin_bp: int

    @property
    def keys(self) -> dict[str, pl.DataType]:
        """Place of a bin, `start` and `end` 0-based half-open."""
        return {"chrom": pl.Enum(self.chromosomes), "start": pl.Int32(), "end": pl.Int32()}

    def scan(self, names: Names, bounds: Bounds | None, scan: Scan) -> pl.LazyFrame:
        """Scan for bins that share a base with the bounds."""
        parts = []
        for chrom, files in names.items():
            frame = scan(files)
            if bounds is not None:
                frame = frame.filter(pl.col("start") > bounds[0] - self.bin_bp)
            if bounds is not None and bounds[1] is not None:
                frame = frame.filter(pl.col("start") < bounds[1])
            place = (
                pl.lit(chrom, dtype=self.keys["chrom"]).alias("chrom"),
                (pl.col("start") + self.bin_bp).alias("end"),
            )
            parts.append(frame.with_columns(*place))
        return parts[0] if len(parts) == 1 else pl.concat(parts)


@dataclass(frozen=True, slots=True)
class EffectQuery:
    """Effects of variants or substitutions, with all their keys in columns."""

    chromosomes: list[str]
    table: Table

    @property
    def keys(self) -> dict[str, pl.DataType]:
        """The fixed columns of the table, `pos` 1-based as in VCF."""
        columns = dict(pl.DataFrame(self.table.schema.empty_table()).schema)
        return columns | {"chrom": pl.Enum(self.chromosomes)}

    def scan(self, names: Names, bounds: Bounds | None, scan: Scan) -> pl.LazyFrame:
        """Scan for variants whose reference allele shares a base with the bounds."""
        frame = scan([name for group in names.values() for name in group])
        if bounds is not None:
            first = pl.col("pos").cast(pl.Int64) - 1
            frame = frame.filter(first + pl.col("ref").str.len_bytes() > bounds[0])
        if bounds is not None and bounds[1] is not None:
            frame = frame.filter(pl.col("pos") <= bounds[1])
        return frame.with_columns(pl.col("chrom").cast(self.keys["chrom"]))
