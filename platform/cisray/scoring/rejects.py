"""Rejects as rows of their table, and what a table of them says.

Knows the rejects table and how to name the place of one; knows nothing of why something is
rejected. Counts are taken from the file, not from what was meant to be written.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cisray.errors import RejectsRefused
from cisray.genome.alleles import Reject
from cisray_schemas import REJECTS, Reason

_EXAMPLES = 3


def reject_rows(rejects: Sequence[Reject], file: str) -> pa.Table:
    """Lay rejects out as rows; `file` is what the run calls its input."""
    columns = [[file] * len(rejects), *zip(*rejects, strict=True)]
    arrays = [
        pa.array(column, field.type) for column, field in zip(columns, REJECTS.schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=REJECTS.schema)


def count_rejects(path: Path) -> Counter[Reason]:
    """Count the rows of a file of rejects by their reason, the most frequent first."""
    counts: Counter[Reason] = Counter()
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["reason"]):
            for found in pc.value_counts(batch["reason"]).to_pylist():
                counts[Reason(found["values"])] += found["counts"]
    ranked = sorted(Reason, key=lambda reason: -counts[reason])
    return Counter({reason: counts[reason] for reason in ranked if counts[reason]})


def refuse_rejects(path: Path, entries: int, unit: str) -> None:
    """Raise `RejectsRefused`, with the first of them and all counts, unless there are none.

    `unit` is what the input has where it has no lines: a record, a region.
    """
    counts = count_rejects(path)
    if not counts:
        return
    with pq.ParquetFile(path) as file:
        first = next(file.iter_batches(batch_size=_EXAMPLES)).to_pylist()
    examples = "; ".join(
        f"{_place(row, unit)}: {row['reason']} ({row['detail'].rstrip('.')})" for row in first
    )
    more = counts.total() - len(first)
    by_reason = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
    raise RejectsRefused(
        f"{counts.total():,} of {entries:,} entries cannot be scored ({by_reason}), and --strict "
        f"lets none be left out. {examples}{f'; and {more:,} more' if more else ''}. Mend the "
        "input, or leave out --strict: what is not scored is then listed in the rejects table."
    )


def _place(row: dict[str, object], unit: str) -> str:
    if row["line"] is not None:
        return f"{row['file']}:{row['line']}"
    number = int(str(row["record"])) + 1
    at = f" at {row['chrom']}:{row['pos']}" if row["pos"] is not None else ""
    return f"{row['file']}, {unit} {number:,}{at}"
