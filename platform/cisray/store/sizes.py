"""How many bytes data files will take, before there are any.

Knows what rounded values took when they were measured, by the bits of mantissa that are kept
(benchmarks/stored_size.py measures them again and compares); what stands beside them is measured on
rows of the plan. Values spread differently in every run: the estimate is good to some 20 %.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cisray.store.directory import data_metadata
from cisray.store.encode import encode_data
from cisray.store.kinds import kind_of
from cisray.store.manifest import RunManifest
from cisray.store.plan import Plan

# What a column adds to a file whatever its rows: its part of the footer, and the header of a page.
COLUMN_BYTES = 115
# zstd tells its code before it uses it. Short columns are left as they are, or have a short code.
CODE_BYTES = 60

SAMPLED_SHARDS = 4
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
    code_rows: int = 90

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
    in_long=(0.45, 0.82, 1.16, 1.36, 1.52, 1.64, 1.90, 2.36, 3.16),
    code_rows=240,
)
_EFFECT_BYTES = (0.86, 1.33, 1.69, 1.90, 2.07, 2.32, 2.58, 2.98, 3.81)
# Effects: of either sign, spread over many powers of two, in pages of 4,096 rows.
EFFECT_VALUES = ValueBytes(in_short=_EFFECT_BYTES, in_long=_EFFECT_BYTES)


def estimate_bytes(
    manifest: RunManifest, plan: Plan, blocks: Mapping[str, Sequence[int]], rows: Sequence[int]
) -> int:
    """Estimate the bytes of all data files of a run where each block has files of so many rows."""
    if not rows:
        return 0
    statistics = kind_of(manifest).statistics(manifest)
    values = TRACK_VALUES if statistics is None else EFFECT_VALUES
    columns = sum(map(len, blocks.values())) * (1 if statistics is None else len(statistics))
    each = np.array(rows, np.int64)
    file, row = _beside_values(manifest, plan)
    beside = file + row * (each - 1)
    column = values.column_bytes(each, manifest.mantissa_bits)
    return int((columns * column + len(blocks) * beside).sum())


def _beside_values(manifest: RunManifest, plan: Plan) -> tuple[int, float]:
    """Measure what a file of one row takes without any values, and what each further row adds."""
    samples = list(_samples(manifest, plan))
    file = samples[0][1]
    further = sum(rows - 1 for rows, _, _ in samples)
    added = sum(whole - first for _, first, whole in samples)
    return file, added / max(1, further)


def _samples(manifest: RunManifest, plan: Plan) -> Iterator[tuple[int, int, int]]:
    """Encode the keys of a few shards: rows, bytes of the first one, bytes of all."""
    shards = list(plan.spans)
    pages = kind_of(manifest).pages
    for place in np.unique(np.linspace(0, len(shards) - 1, SAMPLED_SHARDS).astype(int)):
        span = plan.spans[shards[place]]
        keys, notes = plan.keys(span.shard), data_metadata(manifest, "block", span)
        first, whole = (len(encode_data(part, pages, notes)) for part in (keys.slice(0, 1), keys))
        yield keys.num_rows, first, whole
