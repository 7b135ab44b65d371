"""The tables of a run over variants: the rows it plans, and the scores that it writes for them.

One row per alternative allele that is scored, duplicates included; where bins are those of sites,
one per allele and site. Rows lie in the order of the FASTA's chromosomes, then by pos, ref, alt,
variant and site. What the file stated is kept beside what is scored, since alleles are trimmed and
moved left before they are.
"""

import pyarrow as pa

from cisray_schemas.table import Table, column

_KEYS = [
    column(
        "variant",
        pa.int64(),
        "number of the alternative allele in the input, rejected ones counted",
        base="0-based",
    ),
    column("chrom", pa.string(), "chromosome, as the FASTA spells it"),
    column("pos", pa.int32(), "first base of ref, as scored", unit="bp", base="1-based"),
    column("ref", pa.string(), "reference allele, as scored"),
    column("alt", pa.string(), "alternative allele, as scored"),
    column("id", pa.string(), "identifier in the input, empty where it has none"),
    column("source_chrom", pa.string(), "chromosome as the input spells it"),
    column("source_pos", pa.int64(), "position as the input states it", unit="bp", base="1-based"),
    column("source_ref", pa.string(), "reference allele as the input states it"),
    column("source_alt", pa.string(), "alternative allele as the input states it"),
    column(
        "missing_bp",
        pa.int32(),
        "bases of the variant's window beyond the ends of the chromosome",
        unit="bp",
    ),
]
_ORIGIN = [
    column("record", pa.int64(), "number of the record in the input", base="0-based"),
    column(
        "line",
        pa.int64(),
        "line of the input; null in BCF, which has none",
        base="1-based",
        nullable=True,
    ),
    column("alt_index", pa.int32(), "which of the record's alternative alleles", base="0-based"),
]
_SITE = [
    column(
        "site",
        pa.int32(),
        "number of the site in the BED; comments and blank lines have none",
        base="0-based",
    ),
    column("site_name", pa.string(), "column 4 of the site's line, empty where it has none"),
    column(
        "site_start",
        pa.int32(),
        "first base of the site, on the chromosome of the variant",
        unit="bp",
        base="0-based",
    ),
    column("site_end", pa.int32(), "base after the site's last one", unit="bp", base="0-based"),
    column(
        "first_bin",
        pa.int32(),
        "first target bin of the variant's window that holds a base of the site",
        base="0-based",
    ),
    column("bins", pa.int32(), "how many bins hold a base of the site, side by side"),
]
_ORDER = ("chrom", "pos", "ref", "alt", "variant")

VARIANTS = Table(
    name="variants",
    version=1,
    sort_by=_ORDER,
    schema=pa.schema([*_KEYS, *_ORIGIN]),
)

VARIANT_SCORES = Table(
    name="variant_scores",
    version=1,
    sort_by=_ORDER,
    value_pattern="{statistic}_t{track:04d}",
    partial=True,
    schema=pa.schema(_KEYS),
)

VARIANT_SITES = Table(
    name="variant_sites",
    version=1,
    sort_by=(*_ORDER, "site"),
    schema=pa.schema([*_KEYS, *_SITE, *_ORIGIN]),
)

VARIANT_SITE_SCORES = Table(
    name="variant_site_scores",
    version=1,
    sort_by=(*_ORDER, "site"),
    value_pattern="{statistic}_t{track:04d}",
    partial=True,
    schema=pa.schema([*_KEYS, *_SITE]),
)
