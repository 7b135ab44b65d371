"""The tracks table: what each output of a head measures, one row per track, in head order."""

import pyarrow as pa

from cisray_schemas.table import Table, column

TRACKS = Table(
    name="tracks",
    version=1,
    sort_by=("track",),
    schema=pa.schema(
        [
            column("track", pa.int32(), "position on the T axis of the head", base="0-based"),
            column("column", pa.string(), "name of the value column in data files, such as t0042"),
            column("assay", pa.string(), "DNASE, ATAC, CHIP, CAGE, or empty when unknown"),
            column("identifier", pa.string(), "accession of the experiment, such as ENCFF833POA"),
            column(
                "description", pa.string(), "text of the targets table, such as CAGE:liver, adult"
            ),
            column("clip", pa.float32(), "cap applied to the training target", nullable=True),
            column("scale", pa.float32(), "factor applied to the training target", nullable=True),
            column(
                "sum_stat",
                pa.string(),
                "how bases were pooled to a bin: sum or mean",
                nullable=True,
            ),
        ]
    ),
)
