"""How many bytes data files will take, before there are any.

Knows what rounded values took when they were measured, by the bits of mantissa that are kept
(benchmarks/stored_size.py, which measures them again and compares); knows nothing of runs. Values
spread differently in every run: the estimate is good to some 10 %.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# What a column adds to a file whatever its rows: its part of the footer, and the header of a page.
COLUMN_BYTES = 115
# zstd tells its code before it uses it. Short columns are left as they are, or have a short code.
CODE_BYTES = 60

_BITS = (1, 4, 7, 8, 9, 10, 12, 16, 23)


@dataclass(frozen=True, slots=True)
class ValueBytes:
    """Bytes of a value by mantissa bits, of `_BITS`, in pages of up to `short` and from `long` on.

    zstd codes blocks of 128 KiB: pages that are longer have the four byte planes of float32 in
    blocks of their own, each with its own code. `code_rows` is how many rows a column has whose
    code has reached its full size.
    """

    in_short: tuple[float, ...]
    in_long: tuple[float, ...]
    short: int = 28_672
    long: int = 57_344
    code_rows: int = CODE_BYTES

    def column_bytes(self, rows: NDArray[np.int64], bits: int) -> NDArray[np.float64]:
        """Estimate what a column takes in each of several files, of so many rows."""
        share = np.interp(rows, (self.short, self.long), (0.0, 1.0))
        short, long = (float(np.interp(bits, _BITS, of)) for of in (self.in_short, self.in_long))
        code = CODE_BYTES * np.minimum(1.0, rows / self.code_rows)
        value = short + share * (long - short)
        column: NDArray[np.float64] = COLUMN_BYTES + code + rows * value
        return column


# Signals along the genome: smooth, positive, one page per column.
TRACK_VALUES = ValueBytes(
    in_short=(0.47, 0.81, 1.18, 1.40, 1.60, 1.80, 2.00, 2.41, 3.20),
    in_long=(0.45, 0.82, 1.16, 1.36, 1.50, 1.64, 1.90, 2.36, 3.16),
    code_rows=4 * CODE_BYTES,
)
_EFFECT_BYTES = (0.86, 1.33, 1.69, 1.90, 2.07, 2.32, 2.58, 2.98, 3.81)
# Effects: of either sign, spread over many powers of two, in pages of 4,096 rows.
EFFECT_VALUES = ValueBytes(in_short=_EFFECT_BYTES, in_long=_EFFECT_BYTES)


@dataclass(frozen=True, slots=True)
class FileBytes:
    """What the files of a kind of run take: its values, and what stands beside them.

    `key_bytes` are those of a row's keys, compressed, which stand in the files of every block;
    `file_bytes` those of a file whatever its rows: keys' columns, notes, the rest of the footer.
    """

    values: ValueBytes
    key_bytes: float
    file_bytes: int

    def estimate(
        self, rows: Iterable[int], *, columns: int, blocks: int, mantissa_bits: int
    ) -> int:
        """Estimate the bytes of files with so many rows each: one per block of the columns."""
        each = np.fromiter(rows, np.int64)
        values = columns * self.values.column_bytes(each, mantissa_bits)
        beside = blocks * (self.file_bytes + self.key_bytes * each)
        return int((values + beside).sum())
