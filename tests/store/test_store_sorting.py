"""Sorting on disk: as Python sorts, stable, in bounded memory, and without leaving files behind."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cisray.errors import StorageError
from cisray.store import sorting
from cisray.store.sorting import RowSorter

SCHEMA = pa.schema(
    [
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("ref", pa.string(), nullable=False),
        pa.field("number", pa.int64(), nullable=False),
        pa.field("line", pa.int64()),
    ]
)

# Few values, so that most keys are tied; prefixes of one another, and letters beyond ASCII.
keys = st.tuples(st.integers(-1, 2), st.sampled_from(["", "A", "AC", "C", "é", "zz", "𝄞"]))
batches = st.lists(st.lists(keys, max_size=9), max_size=12)


def table(rows: list[tuple[int, str]], first: int) -> pa.Table:
    columns = {
        "rank": [rank for rank, _ in rows],
        "ref": [ref for _, ref in rows],
        "number": range(first, first + len(rows)),
        "line": [None if n % 3 else n for n in range(first, first + len(rows))],
    }
    return pa.table(columns, schema=SCHEMA)


def sorted_rows(
    given_batches: list[list[tuple[int, str]]], folder: Path, **sizes: int
) -> list[dict]:
    with RowSorter(SCHEMA, ["rank", "ref"], folder=folder, **sizes) as sorter:
        count = 0
        for batch in given_batches:
            sorter.add(table(batch, count))
            count += len(batch)
        found = list(sorter.sorted_batches())
    assert all(batch.num_rows for batch in found)
    assert all(batch.schema.equals(SCHEMA) for batch in found)
    return [row for batch in found for row in batch.to_pylist()]


@settings(max_examples=80, deadline=None)
@given(batches, st.sampled_from([1, 100, 400, 10**9]), st.sampled_from([1, 60, 10**9]))
@example([[(0, "A")] * 9] * 12, 1, 1)
@example([[(1, "A")] * 9, [(0, "A")] * 9, [(0, "A")] * 9], 400, 60)
@example([], 1, 1)
def test_rows_come_as_a_stable_sort_gives_them(
    tmp_path_factory: pytest.TempPathFactory,
    given_batches: list[list[tuple[int, str]]],
    piece_bytes: int,
    block_bytes: int,
) -> None:
    folder = tmp_path_factory.getbasetemp()
    rows = [row for batch in given_batches for row in batch]
    # Python's sort is stable, and compares text by code point.
    order = sorted(range(len(rows)), key=lambda number: rows[number])
    expected = [
        {
            "rank": rows[n][0],
            "ref": rows[n][1],
            "number": n,
            "line": None if n % 3 else n,
        }
        for n in order
    ]
    sizes = {"piece_bytes": piece_bytes, "block_bytes": block_bytes}
    assert sorted_rows(given_batches, folder, **sizes) == expected


def test_more_pieces_than_are_merged_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorting, "MAX_MERGED", 3)
    rows = [[(n * 7 % 4, "A" if n % 2 else "C")] for n in range(40)]  # 40 pieces: three rounds
    found = sorted_rows(rows, tmp_path, piece_bytes=1, block_bytes=1)
    assert [row["number"] for row in found] == sorted(range(40), key=lambda n: rows[n][0])


def test_temporary_files_go_whatever_happens(tmp_path: Path) -> None:
    def interrupted() -> None:
        with RowSorter(SCHEMA, ["rank"], folder=tmp_path, piece_bytes=1) as sorter:
            sorter.add(table([(1, "A")], 0))
            sorter.add(table([(0, "A")], 1))
            next(sorter.sorted_batches())
            assert len(list(tmp_path.rglob("*.arrow"))) == 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_files_go_as_they_are_used_up(tmp_path: Path) -> None:
    with RowSorter(SCHEMA, ["rank"], folder=tmp_path, piece_bytes=1) as sorter:
        for number in range(5):
            sorter.add(table([(number % 3, "A")], number))
        assert len(list(tmp_path.rglob("*.arrow"))) == 5
        assert sum(batch.num_rows for batch in sorter.sorted_batches()) == 5
        assert list(tmp_path.rglob("*.arrow")) == []


def test_a_place_without_room_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = RowSorter(SCHEMA, ["rank"], folder=tmp_path / "missing")
    with pytest.raises(StorageError, match=r"missing.*TMPDIR"):
        missing.__enter__()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pa, "OSFile", full)
    with (
        RowSorter(SCHEMA, ["rank"], folder=tmp_path, piece_bytes=1) as sorter,
        pytest.raises(StorageError, match="No space left on device"),
    ):
        sorter.add(table([(1, "A")], 0))
    assert list(tmp_path.iterdir()) == []


_PEAK = """
import resource, sys
import numpy as np, pyarrow as pa
from cisray.store.sorting import RowSorter
rows = int(sys.argv[1])
schema = pa.schema([("key", pa.int64()), ("text", pa.string())])
draw = np.random.default_rng(0)
with RowSorter(schema, ["key"], piece_bytes=4 << 20, block_bytes=1 << 16) as sorter:
    for _ in range(rows // 10_000):
        keys = draw.integers(0, 10**9, 10_000)
        sorter.add(pa.table({"key": keys, "text": ["x" * 80] * 10_000}, schema=schema))
    last = count = 0
    for batch in sorter.sorted_batches():
        keys = batch["key"].to_numpy()
        assert last <= keys[0] and (np.diff(keys) >= 0).all()
        last, count = keys[-1], count + len(keys)
assert count == rows
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_mb(rows: int) -> float:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(rows)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout) / 1024


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows() -> None:
    """1,000,000 rows are 92 MB, 23 pieces of 4 MB; the sorter says that it takes five of those."""
    small, large = peak_mb(10_000), peak_mb(1_000_000)
    assert large - small < 30
