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
