"""The plan of a run along the genome: which tiles it scores, in which shard, and the bins owed.

Knows the windows table and bin arithmetic; knows nothing of FASTA files, models or disks.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cisray.errors import CoordinateError, WrongRun
from cisray.locus import format_locus
from cisray.store.folder import StoredFile
from cisray.store.manifest import RunManifest, canonical_json
from cisray.store.plan import Plan, ShardSpan
from cisray_schemas.genome_tracks import GENOME_TRACKS
from cisray_schemas.table import Table
from cisray_schemas.windows import WINDOWS

# Bins are addressed by int32, as in BAM and BED tools.
MAX_END = 2**31 - 1


@dataclass(frozen=True, slots=True)
class TilePlan:
    """Tiles in the order of their shards; every bin of the genome in at most one of them.

    Shards are numbered 0, 1, ... and each lies on one chromosome; the tiles of a chromosome
    stand together, by ascending start, and do not overlap. A tile that is not `scored` owes no
    rows; a shard without scored tiles owes none and is never pending.

    Raises CoordinateError for a plan that breaks one of these rules.
    """

    table: pa.Table
    bin_bp: int
    _spans: dict[int, ShardSpan] = field(init=False, repr=False, compare=False)
    _first_row: npt.NDArray[np.int64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the rules and index the shards."""
        object.__setattr__(self, "table", self.table.cast(WINDOWS.schema).combine_chunks())
        _check_tiles(self)
        _check_order(self)
        shards = self._column("shard")
        first = np.searchsorted(shards, np.arange(shards[-1] + 2))
        object.__setattr__(self, "_first_row", first)
        object.__setattr__(self, "_spans", dict(self._index_spans()))

    @property
    def num_shards(self) -> int:
        """How many shards there are, those without rows included."""
        return len(self._first_row) - 1

    @property
    def chromosomes(self) -> list[str]:
        """The chromosomes of the plan, in its order."""
        return list(dict.fromkeys(self.table["chrom"].to_pylist()))

    @property
    def spans(self) -> Mapping[int, ShardSpan]:
        """The shards that owe rows, by number."""
        return MappingProxyType(self._spans)

    @property
    def rows(self) -> int:
        """The rows that the whole run owes."""
        return sum(span.rows for span in self._spans.values())

    @property
    def sha256(self) -> str:
        """SHA-256 over every row of the plan and the bin size, hexadecimal."""
        content = {"bin_bp": self.bin_bp, "windows": self.table.to_pydict()}
        return hashlib.sha256(canonical_json(content)).hexdigest()

    @property
    def parts(self) -> Sequence[tuple[Table, pa.Table | StoredFile]]:
        """The table of tiles, which a run keeps."""
        return [(WINDOWS, self.table)]

    def keys(self, shard: int) -> pa.Table:
        """List the first base of every bin that a shard owes, as the column `start`."""
        return pa.Table.from_arrays([self.starts(shard)], schema=GENOME_TRACKS.schema)

    def place(self, shard: int, row: int) -> str:
        """Name a bin of a shard as a locus."""
        start = int(self.starts(shard)[row])
        return format_locus(self._spans[shard].chrom, start, start + self.bin_bp)

    def check(self, manifest: RunManifest) -> None:
        """Check that the manifest has bins of the same size. Raises ValueError."""
        if manifest.bin_bp != self.bin_bp:
            raise ValueError(f"the manifest has bins of {manifest.bin_bp}, the plan {self.bin_bp}")

    @property
    def tiles_scored(self) -> int:
        """How many tiles are scored."""
        return int(pc.sum(self.table["scored"]).as_py())

    @property
    def tiles_skipped(self) -> int:
        """How many tiles are not, as none of their bases is A, C, G or T."""
        return int(self.table.num_rows) - self.tiles_scored

    def tiles(self, shard: int) -> pa.Table:
        """Return the rows of one shard, scored or not."""
        low, high = self._first_row[shard], self._first_row[shard + 1]
        return self.table.slice(low, high - low)

    def starts(self, shard: int) -> npt.NDArray[np.int32]:
        """List the first base of every bin that a shard owes (0-based), ascending."""
        tiles = self.tiles(shard)
        tiles = tiles.filter(tiles["scored"])
        ranges = [
            start + self.bin_bp * np.arange(bins, dtype=np.int32)
            for start, bins in zip(
                tiles["start"].to_pylist(), tiles["bins"].to_pylist(), strict=True
            )
        ]
        return np.concatenate([np.empty(0, np.int32), *ranges]).astype(np.int32)

    def _column(self, name: str) -> npt.NDArray[np.int64]:
        return np.asarray(self.table[name].to_numpy(), dtype=np.int64)

    def _index_spans(self) -> Iterator[tuple[int, ShardSpan]]:
        scored = self.table["scored"].to_numpy().astype(bool)
        starts, bins, shards = (self._column(n) for n in ("start", "bins", "shard"))
        chroms = self.table["chrom"]
        for shard in range(self.num_shards):
            low, high = self._first_row[shard], self._first_row[shard + 1]
            rows = np.flatnonzero(scored[low:high]) + low
            if rows.size:
                end = starts[rows[-1]] + bins[rows[-1]] * self.bin_bp
                span = ShardSpan(
                    shard=int(shards[low]),
                    chrom=chroms[int(low)].as_py(),
                    start=int(starts[rows[0]]),
                    end=int(end),
                    rows=int(bins[rows].sum()),
                )
                yield shard, span


def as_tiles(plan: Plan) -> TilePlan:
    """Take a run's plan for one of tiles. Raises WrongRun for a run of variants."""
    if not isinstance(plan, TilePlan):
        raise WrongRun(
            "This run has no tiles: its rows are variants, not bins along the genome. Its plan is "
            "open_run(...).variants."
        )
    return plan


def _check_tiles(plan: TilePlan) -> None:
    if plan.table.num_rows == 0:
        raise CoordinateError("the plan has no tiles; give regions or chromosomes that have some")
    start, end, bins = (plan._column(name) for name in ("start", "end", "bins"))
    wrong = (
        (start < 0)
        | (end > MAX_END)
        | (end <= start)
        | ((end - start) % plan.bin_bp != 0)
        | (bins < 1)
        | (bins * plan.bin_bp > end - start)
    )
    if wrong.any():
        tile = plan.table.slice(int(np.argmax(wrong)), 1).to_pylist()[0]
        raise CoordinateError(
            f"tile {tile['tile']} of {tile['chrom']} cannot be: target {tile['start']} to "
            f"{tile['end']} (0-based half-open) with {tile['bins']} bins of {plan.bin_bp} bp; "
            f"targets are whole bins between 0 and {MAX_END:,}"
        )


def _check_order(plan: TilePlan) -> None:
    shards, start, bins = (plan._column(name) for name in ("shard", "start", "bins"))
    if shards[0] != 0 or not np.isin(np.diff(shards), (0, 1)).all():
        raise CoordinateError("shards of a plan must be numbered 0, 1, 2, ... without gaps")
    chrom = np.asarray(plan.table["chrom"].to_pylist(), dtype=object)
    new_chrom = chrom[1:] != chrom[:-1]
    if (new_chrom & (np.diff(shards) == 0)).any():
        shard = int(shards[1:][new_chrom & (np.diff(shards) == 0)][0])
        raise CoordinateError(f"shard {shard} of the plan lies on two chromosomes")
    if new_chrom.sum() + 1 != len(set(chrom)):
        raise CoordinateError("the tiles of a chromosome must stand together in a plan")
    reach = start + bins * plan.bin_bp
    overlap = ~new_chrom & (start[1:] < reach[:-1])
    if overlap.any():
        row = int(np.argmax(overlap))
        raise CoordinateError(
            f"tiles of {chrom[row]} overlap or are out of order: bins up to {reach[row]} are "
            f"followed by a tile from {start[row + 1]} (0-based)"
        )
