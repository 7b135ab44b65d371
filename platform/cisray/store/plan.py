"""What a plan is: the rows that a run owes, cut into shards, before any of them is computed.

Knows what the store asks of every plan; `tile_plan` and `keyed_plan` know the two that there are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from cisray.store.folder import StoredFile
from cisray.store.manifest import RunManifest
from cisray_schemas.table import Table


@dataclass(frozen=True, slots=True)
class ShardSpan:
    """The rows of one shard: one chromosome, bases within `start` .. `end` (0-based half-open)."""

    shard: int
    chrom: str
    start: int
    end: int
    rows: int


class Plan(Protocol):
    """Numbered shards, the rows that each one owes, and the tables that the plan is kept in."""

    @property
    def num_shards(self) -> int:
        """How many shards there are, those without rows included."""

    @property
    def chromosomes(self) -> list[str]:
        """The chromosomes of the plan, in its order."""

    @property
    def spans(self) -> Mapping[int, ShardSpan]:
        """The shards that owe rows, by number."""

    @property
    def rows(self) -> int:
        """The rows that the whole run owes."""

    @property
    def sha256(self) -> str:
        """SHA-256 over every row of the plan and how it is cut, hexadecimal."""

    @property
    def parts(self) -> Sequence[tuple[Table, pa.Table | StoredFile]]:
        """The tables that a run keeps of the plan: each in memory, or in a file to be copied."""

    def keys(self, shard: int) -> pa.Table:
        """List the key columns of the rows that a shard owes, in their order."""

    def place(self, shard: int, row: int) -> str:
        """Name a row of a shard, in the words that people look it up by."""

    def check(self, manifest: RunManifest) -> None:
        """Count the plan against what the manifest says of it.

        Raises ValueError for a plan of another kind of rows, RunIncomplete for other numbers, and
        StorageError when its tables cannot be read.
        """
