"""The windows table: every tile a run plans, whether it is scored, and the rows it owes.

One row per tile, in the order of the shards. It is the plan that a run's rows are counted against.
"""

import pyarrow as pa

from cisray_schemas.table import Table, column

WINDOWS = Table(
    name="windows",
    version=1,
    sort_by=("shard", "start"),
    schema=pa.schema(
        [
            column("shard", pa.int32(), "the unit of work that scores this tile", base="0-based"),
            column("tile", pa.int32(), "number of the tile on its chromosome", base="0-based"),
            column("chrom", pa.string(), "chromosome, as the FASTA spells it"),
            column(
                "start", pa.int64(), "first base of the first target bin", unit="bp", base="0-based"
            ),
            column("end", pa.int64(), "base after the last target bin", unit="bp", base="0-based"),
            column(
                "input_start",
                pa.int64(),
                "first base the model reads; negative where the window overhangs",
                unit="bp",
                base="0-based",
            ),
            column(
                "input_end",
                pa.int64(),
                "base after the last one the model reads",
                unit="bp",
                base="0-based",
            ),
            column(
                "missing_bp", pa.int32(), "input bases beyond the ends of the chromosome", unit="bp"
            ),
            column("acgt_bp", pa.int32(), "input bases that are A, C, G or T", unit="bp"),
            column(
                "bins", pa.int32(), "rows the tile contributes: bins that start on the chromosome"
            ),
            column(
                "scored",
                pa.bool_(),
                "false where no input base is A, C, G or T: no rows are written",
            ),
        ]
    ),
)
