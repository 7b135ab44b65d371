"""The table of calibrations: how the scores of a background are distributed, one row per track.

Each track has two rows, of the values with their sign and of their sizes. `quantiles` are those
at `LADDER`, in its order: the 279 of Basenji's scores, in steps of 0.001 below 0.1 and from 0.9
on, and of 0.01 between. How they are taken stands in docs/calibration.md.
"""

import pyarrow as pa

from cisray_schemas.table import Table, column

LADDER = tuple(
    thousandth / 1000 for thousandth in (*range(1, 100), *range(100, 900, 10), *range(900, 1000))
)
SIGNED, ABSOLUTE = "signed", "absolute"

CALIBRATIONS = Table(
    name="calibrations",
    version=1,
    sort_by=("form", "track"),
    schema=pa.schema(
        [
            column("statistic", pa.string(), "statistic of the scores, such as SAD"),
            column("form", pa.string(), "signed for values as they are, absolute for their sizes"),
            column("track", pa.int32(), "position on the T axis of the head", base="0-based"),
            column("column", pa.string(), "name of the track's value column, such as t0042"),
            column("identifier", pa.string(), "accession of the experiment"),
            column("description", pa.string(), "text of the targets table"),
            column("n", pa.int64(), "values of the background"),
            column("mean", pa.float64(), "their mean"),
            column(
                "sd", pa.float64(), "their standard deviation; null of one value", nullable=True
            ),
            column("least", pa.float64(), "the smallest value"),
            column("largest", pa.float64(), "the largest value"),
            column(
                "quantiles",
                pa.list_(pa.field("item", pa.float64(), nullable=False), len(LADDER)),
                "values at 279 quantiles, from 0.001 to 0.999",
            ),
        ]
    ),
)
