"""Tables written as their rows are found: all of them, in order, with a digest of their values."""

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cisray.errors import StorageError
from cisray.store import table_writer
from cisray.store.table_writer import TableWriter
from cisray_schemas.table import Table, column

NOTES = Table(
    name="notes",
    version=1,
    sort_by=("number",),
    schema=pa.schema(
        [
            column("number", pa.int64(), "any"),
            column("line", pa.int32(), "any", nullable=True),
            column("text", pa.string(), "any", nullable=True),
            column("word", pa.string(), "any"),
        ]
    ),
)
texts = st.sampled_from([None, "", "A", "AC", "é"])
rows = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([None, 0, 5]), texts, st.sampled_from(["", "A"])),
    max_size=20,
)
Rows = list[tuple[int, int | None, str | None, str]]


def written(path: Path, found: Rows, cuts: list[int]) -> tuple[list[tuple], str]:
    table = pa.Table.from_pylist(
        [dict(zip(NOTES.schema.names, row, strict=True)) for row in found], NOTES.schema
    )
    with TableWriter(path, NOTES) as writer:
        edges = sorted({0, len(found), *(cut for cut in cuts if cut < len(found))})
        for first, end in pairwise(edges):
            writer.add(table.slice(first, end - first))
    assert pq.read_schema(path).equals(NOTES.schema)
    return [tuple(row.values()) for row in pq.read_table(path).to_pylist()], writer.sha256


@settings(max_examples=60, deadline=None)
@example([(0, 0, "A", "")], [(0, None, "A", "")], [])
@example([(0, 0, None, "")], [(0, 0, "", "")], [])
@example([(0, 0, "A", ""), (0, 0, "C", "")], [(0, 0, "AC", ""), (0, 0, "", "")], [])
@example([(0, 0, "A", "")] * 2, [(0, 0, "A", "")], [])
@given(rows, rows, st.lists(st.integers(1, 20), max_size=5))
def test_rows_are_kept_and_their_digest_tells_values_not_batches(
    tmp_path_factory: pytest.TempPathFactory, found: Rows, other: Rows, cuts: list[int]
) -> None:
    path = tmp_path_factory.getbasetemp() / "notes.parquet"
    kept, digest = written(path, found, [])
    assert kept == found
    assert written(path, found, cuts) == (found, digest)
    assert (written(path, other, cuts)[1] == digest) == (found == other)


def test_row_groups_are_bounded_by_rows_and_by_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: Rows = [(number, None, "x" * 40, "") for number in range(40)]
    monkeypatch.setattr(table_writer, "GROUP_ROWS", 16)
    written(tmp_path / "rows", found, list(range(0, 40, 4)))
    groups = pq.read_metadata(tmp_path / "rows")
    assert [groups.row_group(n).num_rows for n in range(3)] == [16, 16, 8]
    monkeypatch.setattr(table_writer, "GROUP_BYTES", 400)
    written(tmp_path / "bytes", found, list(range(0, 40, 4)))
    assert pq.read_metadata(tmp_path / "bytes").num_row_groups == 5  # two batches of 4 are 400 B


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="missing/notes"):
        TableWriter(tmp_path / "missing" / "notes", NOTES)
