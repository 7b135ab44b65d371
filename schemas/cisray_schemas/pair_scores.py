"""The table of scored element-gene pairs: one row per pair of a benchmark, in its order."""

import pyarrow as pa

from cisray_schemas.table import Table, column

PAIR_SCORES = Table(
    name="pair_scores",
    version=1,
    sort_by=("row",),
    schema=pa.schema(
        [
            column("row", pa.int64(), "row of the benchmark after its header", base="1-based"),
            column("chrom", pa.string(), "chromosome, as the benchmark spells it"),
            column("start", pa.int64(), "first base of the element", unit="bp", base="0-based"),
            column("end", pa.int64(), "base after its last", unit="bp", base="0-based"),
            column("gene", pa.string(), "gene whose expression was measured"),
            column(
                "main_tss",
                pa.int64(),
                "annotated TSS with the highest prediction; null where none can be used",
                unit="bp",
                base="0-based",
                nullable=True,
            ),
            column(
                "distance_bp",
                pa.int64(),
                "from the main TSS to the middle base of the element, without sign",
                unit="bp",
                nullable=True,
            ),
            column("reach", pa.string(), "whole, part or none of the bases that count"),
            column(
                "gradient",
                pa.float64(),
                "sum of |gradient x input|; 0 out of reach",
                nullable=True,
            ),
            column(
                "attention",
                pa.float64(),
                "sum of the attention of the bins at the TSS; 0 out of reach",
                nullable=True,
            ),
            column(
                "mutagenesis",
                pa.float64(),
                "size of the change of the prediction with the element replaced; 0 out of reach",
                nullable=True,
            ),
            column(
                "mutagenesis_change",
                pa.float64(),
                "prediction less the mean of predictions with the element replaced",
                nullable=True,
            ),
            column("reason", pa.string(), "why nothing is scored, empty where something is"),
        ]
    ),
)
