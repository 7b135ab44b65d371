"""Bins of one track and one chromosome, cut at the chromosome's end.

Knows frames and lengths; knows no file format.
"""

import re
from collections.abc import Iterator, Mapping

import polars as pl

from cisray.errors import CoordinateError
from cisray.store.export.columns import GenomeTracks

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9.+-]+")


def file_stem(run: GenomeTracks, column: str) -> str:
    """Name the file of a track by its column and identifier, such as `t4828.CNhs12336`.

    Identifiers come from other people's tables: what may trouble a file system becomes `_`.
    """
    row = run.tracks.columns.index(column)
    identifier = run.tracks.table["identifier"][row].as_py()
    return f"{column}.{_NOT_IN_NAMES.sub('_', identifier)}"


def chromosome_bins(run: GenomeTracks, column: str) -> Iterator[tuple[str, pl.DataFrame]]:
    """Give each chromosome that has rows, with `start`, `end` and `value` of one track.

    Chromosomes come in the order of `LC_ALL=C sort -k1,1 -k2,2n`, which programs of UCSC ask for,
    one at a time: 24 MB for the longest human one. The last bin ends with the chromosome. Raises
    CoordinateError where bins lie beyond it.
    """
    for chrom in sorted(run.chromosomes, key=str.encode):
        frame = run.bins(chrom, column)
        bins = frame.select("start", "end", pl.col(column).alias("value")).collect()
        if bins.height:
            yield chrom, _cut(bins, chrom, run.lengths)


def _cut(bins: pl.DataFrame, chrom: str, lengths: Mapping[str, int]) -> pl.DataFrame:
    length = lengths.get(chrom)
    last = int(bins["start"].to_numpy().max())
    if length is None or last >= length:
        known = "is not in the FASTA" if length is None else f"has {length:,} bases in the FASTA"
        raise CoordinateError(
            f"{chrom} {known}, but the run has a bin that starts at {last:,} (0-based): give the "
            f"FASTA that was scored with --fasta."
        )
    return bins.with_columns(pl.col("end").clip(upper_bound=length))
