"""The genome tracks table: predictions along the genome, one row per bin, one column per track.

A file holds one chromosome and one block of tracks; both stand in its path (`block=`, `chrom=`)
and in its metadata, not in a column.
"""

import pyarrow as pa

from cisray_schemas.table import Table, column

GENOME_TRACKS = Table(
    name="genome_tracks",
    version=1,
    sort_by=("start",),
    value_pattern="t{track:04d}",
    schema=pa.schema(
        [column("start", pa.int32(), "first base of the bin", unit="bp", base="0-based")]
    ),
)


def genome_tracks_schema(columns: list[str]) -> pa.Schema:
    """Lay out a data file: the bin's start, then one float32 column per track.

    >>> genome_tracks_schema(["t0007"]).names
    ['start', 't0007']
    """
    values = [pa.field(name, pa.float32(), nullable=False) for name in columns]
    return pa.schema([*GENOME_TRACKS.schema, *values])
