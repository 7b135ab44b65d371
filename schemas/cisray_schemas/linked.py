"""The table of links: alleles of a run that earlier runs have scored, and where.

One row per linked allele of the input, duplicates included, in the order of the plan that it is
kept beside. The columns of the plan are those of this run's input; the scores are those of the
named row of the other run, which is of the same allele.
"""

import pyarrow as pa

from cisray_schemas.table import Table, column
from cisray_schemas.variants import VARIANTS

LINKED = Table(
    name="linked",
    version=1,
    sort_by=VARIANTS.sort_by,
    schema=pa.schema(
        [
            *VARIANTS.schema,
            column("since_run", pa.string(), "id of the run that holds the scores"),
            column(
                "since_variant",
                pa.int64(),
                "number in that run's input of an entry with the same chrom, pos, ref and alt",
                base="0-based",
            ),
        ]
    ),
)
