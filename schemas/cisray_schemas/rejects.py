"""The rejects table: every allele that was read and not scored, with its one reason.

Knows the closed list of reasons. One row per alternative allele, or per line where the line could
not be read, so that alleles in = alleles scored + rows here. In a run over regions one row per base
that is not substituted, since the reference has none of A, C, G, T there.
"""

from enum import StrEnum

import pyarrow as pa

from cisray_schemas.table import Table, column


class Reason(StrEnum):
    """Why an allele is not scored, in the order of the checks: the first that holds is given."""

    MALFORMED_LINE = "malformed_line"
    UNKNOWN_CHROMOSOME = "unknown_chromosome"
    POSITION_OUT_OF_RANGE = "position_out_of_range"
    MISSING_ALT = "missing_alt"
    SPANNING_DELETION = "spanning_deletion"
    SYMBOLIC_ALT = "symbolic_alt"
    BREAKEND = "breakend"
    NON_ACGT_ALLELE = "non_acgt_allele"
    SAME_AS_REFERENCE = "same_as_reference"
    REFERENCE_MISMATCH = "reference_mismatch"
    TOO_LONG = "too_long"
    REPEAT_TOO_LONG = "repeat_too_long"
    NO_SITE_IN_REACH = "no_site_in_reach"


REJECTS = Table(
    name="rejects",
    version=1,
    sort_by=("file", "record", "alt_index"),
    schema=pa.schema(
        [
            column("file", pa.string(), "file of variants or regions, as the run names it"),
            column(
                "record",
                pa.int64(),
                "number of the record, or of the region, in the file",
                base="0-based",
            ),
            column(
                "line",
                pa.int64(),
                "line of the file; null in BCF, which has none, and for regions",
                base="1-based",
                nullable=True,
            ),
            column(
                "alt_index", pa.int32(), "which of the record's alternative alleles", base="0-based"
            ),
            column(
                "chrom",
                pa.string(),
                "chromosome as stated; null in a malformed line",
                nullable=True,
            ),
            column(
                "pos",
                pa.int64(),
                "position as the file states it; null in a malformed line",
                unit="bp",
                base="1-based",
                nullable=True,
            ),
            column(
                "id", pa.string(), "identifier in the file, name of the region; empty where none"
            ),
            column(
                "ref",
                pa.string(),
                "reference allele as stated, of a region the FASTA's; null in a malformed line",
                nullable=True,
            ),
            column(
                "alt",
                pa.string(),
                "alternative allele as stated; null in a malformed line, and for regions",
                nullable=True,
            ),
            column("reason", pa.string(), "one of " + ", ".join(Reason)),
            column("detail", pa.string(), "what was found, in words"),
        ]
    ),
)
