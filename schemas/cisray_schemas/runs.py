"""The tables that describe a run directory: its tracks by block, and the files it is made of."""

import pyarrow as pa

from cisray_schemas.table import Table, column
from cisray_schemas.tracks import TRACKS

RUN_TRACKS = Table(
    name="run_tracks",
    version=1,
    sort_by=("track",),
    schema=pa.schema(
        [
            *TRACKS.schema,
            column(
                "block", pa.string(), "block of columns, and folder block=..., that holds the track"
            ),
        ]
    ),
)

RUN_FILES = Table(
    name="run_files",
    version=3,
    sort_by=("table", "block", "shard"),
    schema=pa.schema(
        [
            column("table", pa.string(), "kind of rows in the file, such as genome_tracks"),
            column("block", pa.string(), "block of tracks in the file"),
            column("chrom", pa.string(), "chromosome of every row of the file"),
            column("start", pa.int64(), "first base of its rows", unit="bp", base="0-based"),
            column("end", pa.int64(), "base after the last of its rows", unit="bp", base="0-based"),
            column("n_rows", pa.int64(), "rows in the file"),
            column("n_cols", pa.int32(), "value columns in the file"),
            column("bytes", pa.int64(), "size of the file", unit="byte"),
            column("path", pa.string(), "path below the run directory, with /"),
            column("sha256", pa.string(), "SHA-256 of the file's bytes, hexadecimal"),
            column(
                "attempt",
                pa.string(),
                "attempt, at the shard or at a compaction, that wrote the file",
            ),
            column("shard", pa.int32(), "first shard whose rows it holds", base="0-based"),
            column(
                "last_shard",
                pa.int32(),
                "last shard whose rows it holds; in a compacted file there are others before it",
                base="0-based",
            ),
        ]
    ),
)
