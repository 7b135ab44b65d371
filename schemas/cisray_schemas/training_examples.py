"""The tables of a dataset: training examples, and the sequences that became none.

One row per example, in the order of the head's `sequences.bed`; each row is a record batch of its
own in an Arrow IPC file, so that any of them is read alone. The last column of a file, `target`,
has a length that only the dataset knows: `example_schema` adds it.
"""

from enum import StrEnum

import pyarrow as pa

from cisray_schemas.table import Table, column


class Dropped(StrEnum):
    """Why a sequence is no example, in the order of the checks: the first that holds is given."""

    TARGET_LEAVES_CHROMOSOME = "target_leaves_chromosome"
    NO_KNOWN_BASE = "no_known_base"


TRAINING_EXAMPLES = Table(
    name="training_examples",
    version=1,
    sort_by=(),
    schema=pa.schema(
        [
            column("chrom", pa.string(), "chromosome, as the FASTA or the records spell it"),
            column(
                "start",
                pa.int64(),
                "first base of the input; negative where it overhangs",
                unit="bp",
                base="0-based",
            ),
            column(
                "end", pa.int64(), "base after the last one of the input", unit="bp", base="0-based"
            ),
            column(
                "codes",
                pa.binary(),
                "one byte per base of the input with the margin on both sides: A 0, C 1, G 2, T 3, "
                "anything else 4",
            ),
        ]
    ),
)

DROPPED_SEQUENCES = Table(
    name="dropped_sequences",
    version=1,
    sort_by=("line",),
    schema=pa.schema(
        [
            column("line", pa.int64(), "line of the file of sequences", base="1-based"),
            column("chrom", pa.string(), "chromosome, as the FASTA spells it"),
            column("start", pa.int64(), "first base of the input", unit="bp", base="0-based"),
            column(
                "end", pa.int64(), "base after the last one of the input", unit="bp", base="0-based"
            ),
            column("split", pa.string(), "set that the sequence was to be in"),
            column("reason", pa.string(), "one of " + ", ".join(Dropped)),
            column("detail", pa.string(), "what was found, in words"),
        ]
    ),
)


def example_schema(bins: int, tracks: int) -> pa.Schema:
    """Lay out a file of examples: the fixed columns, then float16 targets of bins (N) x tracks (T).

    Values of one bin lie side by side.
    """
    target = column(
        "target",
        pa.list_(pa.field("item", pa.float16(), nullable=False), bins * tracks),
        "measured values, bin after bin, the tracks of a bin side by side",
    )
    return pa.schema([*TRAINING_EXAMPLES.schema, target])
