"""Sorting of more rows than memory holds: sorted pieces on disk, merged block by block.

Knows Arrow tables and a folder for temporary files; knows nothing of what the rows mean. Memory is
bounded by bytes, not by rows: one piece while rows come in, one block of each piece while they go
out. Files are read, not mapped, so that what is resident does not grow with them.
"""

import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from cisray.errors import StorageError

PIECE_BYTES = 32 << 20
BLOCK_BYTES = 1 << 19
MAX_MERGED = 64  # pieces of which a block is held at once: as many bytes as a piece

Key = tuple[Any, ...]


class RowSorter:
    """Sorts rows by some of their columns; rows with equal keys stay in the order they came in.

    The columns of `by` are integers or strings without nulls; strings sort by code point. A context
    manager: its temporary files, in a folder of their own below `folder` (the system's place for
    them unless given), go when it ends, however it ends.
    """

    def __init__(
        self,
        schema: pa.Schema,
        by: Sequence[str],
        *,
        folder: Path | None = None,
        piece_bytes: int = PIECE_BYTES,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        """Begin without rows. Memory is about five times `piece_bytes`."""
        self._schema = schema
        self._by = list(by)
        self._parent = folder
        self._piece_bytes = piece_bytes
        self._block_bytes = block_bytes
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0
        self._pieces: list[Path] = []
        self._written = 0

    def __enter__(self) -> Self:
        """Make the temporary folder."""
        with _writing_to(self._parent):
            self._temporary = tempfile.TemporaryDirectory(
                prefix="cisray-sort-", dir=self._parent, ignore_cleanup_errors=True
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the temporary files."""
        self._temporary.cleanup()

    def add(self, rows: pa.Table) -> None:
        """Take in rows of the sorter's schema; raise `StorageError` where they cannot be kept."""
        if rows.num_rows:
            self._waiting.append(rows.cast(self._schema))
            self._waiting_bytes += rows.nbytes
        if self._waiting_bytes >= self._piece_bytes:
            self._pieces.append(self._write([self._sort_waiting()]))

    def sorted_batches(self) -> Iterator[pa.Table]:
        """Give all rows in order, in tables of any size but none; once, after the last `add`.

        Raises `StorageError` when there are so many pieces that they must be merged on disk first,
        and that is full.
        """
        if not self._pieces:
            whole = self._sort_waiting()
            return iter([whole] if whole.num_rows else [])
        if self._waiting:
            self._pieces.append(self._write([self._sort_waiting()]))
        while len(self._pieces) > MAX_MERGED:
            # Neighbours are merged, so that the order of pieces still is that of arrival.
            groups = range(0, len(self._pieces), MAX_MERGED)
            self._pieces = [
                self._write(self._merge(self._pieces[first : first + MAX_MERGED]))
                for first in groups
            ]
        return self._merge(self._pieces)

    def _sort_waiting(self) -> pa.Table:
        rows = pa.concat_tables([self._schema.empty_table(), *self._waiting]).combine_chunks()
        self._waiting, self._waiting_bytes = [], 0
        return self._sort(rows)

    def _sort(self, rows: pa.Table) -> pa.Table:
        # Arrow's sort is stable.
        return rows.take(pc.sort_indices(rows, [(name, "ascending") for name in self._by]))

    def _write(self, tables: Iterator[pa.Table] | list[pa.Table]) -> Path:
        path = Path(self._temporary.name, f"{self._written}.arrow")
        self._written += 1
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with (
            _writing_to(path),
            pa.OSFile(str(path), "wb") as file,
            pa.ipc.new_stream(file, self._schema, options=options) as writer,
        ):
            for table in tables:
                each = max(1, table.num_rows * self._block_bytes // max(table.nbytes, 1))
                writer.write_table(table, max_chunksize=each)
        return path

    def _merge(self, paths: list[Path]) -> Iterator[pa.Table]:
        """Merge sorted pieces; they are removed as they are used up.

        A block of each piece is held. What follows a block is not before its last row; so all rows
        can go out that are not after the first of those last rows, a row's place being its key and
        then its piece.
        """
        pieces = [_Piece(path, number, self._by) for number, path in enumerate(paths)]
        while pieces := [piece for piece in pieces if piece.advance()]:
            bound = min(piece.last for piece in pieces)
            taken = pa.Table.from_batches([piece.take(bound) for piece in pieces])
            yield self._sort(taken.combine_chunks())


class _Piece:
    """One sorted file, of which a block is held; `number` tells its place among equal keys."""

    def __init__(self, path: Path, number: int, by: list[str]) -> None:
        self._path = path
        self._number = number
        self._by = by
        self._file = pa.OSFile(str(path), "rb")
        self._blocks = iter(pa.ipc.open_stream(self._file))
        self._held: pa.RecordBatch = pa.RecordBatch.from_pydict({})
        self._keys: list[pa.Array] = []
        self._given = 0  # rows of the block

    @property
    def last(self) -> tuple[Key, int]:
        """The place of the last row of the block."""
        return self._place(self._held.num_rows - 1)

    def advance(self) -> bool:
        """Hold a block with rows to give; tell False, and remove the file, when none is left."""
        if self._given < self._held.num_rows:
            return True
        following = next(self._blocks, None)
        if following is None:
            self._file.close()
            self._path.unlink()
            return False
        self._held, self._given = following, 0
        self._keys = [following.column(name) for name in self._by]
        return True

    def take(self, bound: tuple[Key, int]) -> pa.RecordBatch:
        """Give away the held rows that are not after `bound`."""
        first, rows = self._given, range(self._held.num_rows)
        self._given = bisect_right(rows, bound, lo=first, key=self._place)
        return self._held.slice(first, self._given - first)

    def _place(self, row: int) -> tuple[Key, int]:
        return tuple(column[row].as_py() for column in self._keys), self._number


@contextmanager
def _writing_to(place: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"rows cannot be sorted on disk, in {place or tempfile.gettempdir()}: {error}. Name a "
            "folder with room in the environment variable TMPDIR, and run the same command again."
        ) from error
