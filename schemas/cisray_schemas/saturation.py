"""The tables of a saturation run: every substitution that it plans, and its scores.

One row per substitution and region: a base that lies in two regions has rows for both. Rows lie in
the order of the FASTA's chromosomes, then by pos, ref, alt and variant.
"""

import pyarrow as pa

from cisray_schemas.table import Table, column

_KEYS = [
    column(
        "variant",
        pa.int64(),
        "number of the substitution: regions in the order given, positions ascending, alternates "
        "in the order A, C, G, T; bases that are not scored counted as one",
        base="0-based",
    ),
    column("region", pa.int32(), "number of the region in the input", base="0-based"),
    column("chrom", pa.string(), "chromosome, as the FASTA spells it"),
    column("pos", pa.int32(), "the base that is substituted", unit="bp", base="1-based"),
    column("ref", pa.string(), "base of the reference"),
    column("alt", pa.string(), "base in its place"),
]
_ORDER = ("chrom", "pos", "ref", "alt", "variant")

SUBSTITUTIONS = Table(
    name="substitutions",
    version=1,
    sort_by=_ORDER,
    schema=pa.schema(
        [
            *_KEYS,
            column(
                "missing_bp",
                pa.int32(),
                "bases of the substitution's window beyond the ends of the chromosome",
                unit="bp",
            ),
        ]
    ),
)

SATURATION_SCORES = Table(
    name="saturation_scores",
    version=1,
    sort_by=_ORDER,
    value_pattern="{statistic}_t{track:04d}",
    partial=True,
    schema=pa.schema(_KEYS),
)
