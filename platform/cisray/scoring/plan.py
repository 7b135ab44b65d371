"""Which tiles of a genome are scored, and how they are cut into shards.

Knows the grid of tiles and the sequence under it; knows nothing of models or of files that hold
results. The grid starts at base 0 of each chromosome and is the same whatever is selected, so a
bin has the same value in a run over a few regions as in a run over the whole genome.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.windows import Tile, WindowSpec, tiles, tiles_over
from cisray_schemas.windows import WINDOWS

MAX_TILES_PER_SHARD = 64  # 57,344 rows: the page size at which Parquet's size flattens out
SHARD_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class PlannedTile:
    """A tile of the grid with the bases that its window reads."""

    tile: Tile
    missing_bp: int
    acgt_bp: int

    @property
    def scored(self) -> bool:
        """False where the window has no A, C, G or T: its prediction would say nothing."""
        return self.acgt_bp > 0


def plan_tiles(
    genome: Genome, spec: WindowSpec, wanted: Mapping[str, Sequence[Interval] | None]
) -> Iterator[PlannedTile]:
    """Walk the tiles of each wanted chromosome: all of them, or those that meet its regions.

    Reads the sequence once, to count the A, C, G and T under each window.
    """
    for chrom, regions in wanted.items():
        length = genome.chromosomes[chrom]
        chosen = list(
            tiles(chrom, length, spec) if regions is None else tiles_over(regions, length, spec)
        )
        counts = genome.acgt_counts([tile.window.input for tile in chosen])
        for tile, acgt_bp in zip(chosen, counts, strict=True):
            yield PlannedTile(tile, sum(tile.window.missing_bp(length)), int(acgt_bp))


def group_regions(regions: Iterable[Interval]) -> dict[str, list[Interval]]:
    """Sort regions under their chromosomes, in the order of first appearance."""
    grouped: dict[str, list[Interval]] = {}
    for region in regions:
        grouped.setdefault(region.chrom, []).append(region)
    return grouped


def cut_shards(planned: Iterable[PlannedTile], tiles_per_shard: int) -> pa.Table:
    """Number the shards and lay out the windows table: one row per tile, in shard order.

    A shard is up to `tiles_per_shard` neighbouring tiles of one chromosome, so that its files
    cover a stretch and its tiles may share computation.
    """
    by_chrom: dict[str, list[PlannedTile]] = {}
    for entry in planned:
        by_chrom.setdefault(entry.tile.window.target.chrom, []).append(entry)
    rows: list[dict[str, object]] = []
    shard = 0
    for entries in by_chrom.values():
        for first in range(0, len(entries), tiles_per_shard):
            rows += [_row(entry, shard) for entry in entries[first : first + tiles_per_shard]]
            shard += 1
    return pa.Table.from_pylist(rows, schema=WINDOWS.schema)


def tiles_per_shard(seconds: Callable[[int], float]) -> int:
    """Choose the size of a shard: 64 tiles, or fewer where those would take over a minute.

    `seconds(n)` is what n neighbouring tiles take. A power of two, so that a small change of the
    estimate seldom changes the plan.

    >>> [tiles_per_shard(lambda n: n * each) for each in (0.1, 7.0, 40.0, 90.0)]
    [64, 8, 1, 1]
    >>> tiles_per_shard(lambda n: 12.0 + (n - 1) * 7.0)
    4
    """
    size = MAX_TILES_PER_SHARD
    while size > 1 and seconds(size) > SHARD_SECONDS:
        size //= 2
    return size


def _row(entry: PlannedTile, shard: int) -> dict[str, object]:
    window = entry.tile.window
    return {
        "shard": shard,
        "tile": entry.tile.index,
        "chrom": window.target.chrom,
        "start": window.target.start,
        "end": window.target.end,
        "input_start": window.input.start,
        "input_end": window.input.end,
        "missing_bp": entry.missing_bp,
        "acgt_bp": entry.acgt_bp,
        "bins": entry.tile.bins_inside,
        "scored": entry.scored,
    }
