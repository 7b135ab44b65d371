"""A small run for the store's tests: two chromosomes, five tiles, three shards, four tracks.

Knows how its values are made, so that a test can tell what any reader must find. Child processes
of the fault tests import it too.

    shard 0  chr2         tiles 512-1024, 1024-1536            8 rows
    shard 1  chr2         tiles 1536-2048 (not scored), 2048-2560 of which 3 bins   3 rows
    shard 2  HLA-A*01:01  tile 128-640                         4 rows
"""

from collections.abc import Iterator
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cisray.store.manifest import RunManifest
from cisray.store.rows import Piece
from cisray.store.run import ShardSink
from cisray.store.scan import open_run
from cisray.store.tile_plan import TilePlan
from cisray.tracks import TrackSet
from cisray_schemas.tracks import TRACKS
from cisray_schemas.windows import WINDOWS

NAME = "bins"
BIN = 128
TRACKS_HELD = (3, 5, 8, 13)
DESCRIPTIONS = ("CAGE:liver", "CHIP:CTCF", "CAGE:brain", "DNASE:K562")
TWO_BLOCKS = {"cage": [3, 8], "other": [5, 13]}
# (shard, tile, chrom, start, bins, scored); every target is 4 bins of 128 bp.
TILES = (
    (0, 1, "chr2", 512, 4, True),
    (0, 2, "chr2", 1024, 4, True),
    (1, 3, "chr2", 1536, 4, False),
    (1, 4, "chr2", 2048, 3, True),
    (2, 0, "HLA-A*01:01", 128, 4, True),
)
# 512, 640 .. 1408 (8 bins), then 2048, 2176, 2304; and 128 .. 512 on the other chromosome.
STARTS = {
    0: list(range(512, 1536, 128)),
    1: [2048, 2176, 2304],
    2: [128, 256, 384, 512],
}
CHROMS = {0: "chr2", 1: "chr2", 2: "HLA-A*01:01"}
ROWS = (8, 3, 4)
PLAN_FILES = ["windows.parquet"]
# Place of the first value in a row of `expected_rows`.
FIRST_VALUE = 3


Tile = tuple[int, int, str, int, int, bool]


@st.composite
def tilings(draw: st.DrawFn) -> tuple[Tile, ...]:
    """Chromosomes cut in tiles of 4 bins, some not scored, grouped into shards."""
    tiles: list[Tile] = []
    shard = 0
    for chrom in range(draw(st.integers(1, 3))):
        count = draw(st.integers(1, 6))
        for tile in range(count):
            is_last = tile == count - 1
            bins = draw(st.integers(1, 4)) if is_last else 4
            tiles.append((shard, tile, f"c{chrom}", 512 * tile, bins, draw(st.booleans())))
            shard += draw(st.booleans()) or is_last
    return tuple(tiles)


def make_plan(tiles: tuple[Tile, ...] = TILES) -> TilePlan:
    rows = [
        {
            "shard": shard, "tile": tile, "chrom": chrom, "start": start, "end": start + 512,
            "input_start": start - 640, "input_end": start + 1152, "missing_bp": 0,
            "acgt_bp": 1792 if scored else 0, "bins": bins, "scored": scored,
        }
        for shard, tile, chrom, start, bins, scored in tiles
    ]  # fmt: skip
    return TilePlan(pa.Table.from_pylist(rows, schema=WINDOWS.schema), BIN)


def make_tracks(indices: tuple[int, ...] = TRACKS_HELD) -> TrackSet:
    rows = [
        {
            "track": index, "column": f"t{index:04d}", "assay": text.partition(":")[0],
            "identifier": f"X{index}", "description": text,
            "clip": 32.0, "scale": None, "sum_stat": "sum",
        }
        for index, text in zip(indices, DESCRIPTIONS, strict=False)
    ]  # fmt: skip
    return TrackSet("human", pa.Table.from_pylist(rows, schema=TRACKS.schema))


def make_manifest(**changes: object) -> RunManifest:
    plan, tracks = make_plan(), make_tracks()
    facts = {
        "job": "score-genome", "table": "cisray.genome_tracks/1",
        "config": {"precision": "float32", "regions": {"bed": None, "pad": 0}},
        "model_sha256": "ab" * 32, "genome_sha256": "cd" * 32, "tracks_sha256": tracks.sha256,
        "plan_sha256": plan.sha256, "num_shards": plan.num_shards, "bin_bp": BIN,
        "mantissa_bits": 23, "code_version": "0.1.0", "genome": "toy.fa",
    }  # fmt: skip
    return RunManifest.model_validate(facts | changes)


def value(chrom: str, start: int, track: int) -> np.float32:
    """The prediction that the run holds for one bin and track: no two are equal."""
    return np.float32((start / 128 + (0.25 if chrom == "chr2" else 0.5)) * (track + 1) / 7)


def columns_of(shard: int, tracks: list[int]) -> dict[str, npt.NDArray[np.generic]]:
    starts = STARTS[shard]
    columns: dict[str, npt.NDArray[np.generic]] = {"start": np.array(starts, np.int32)}
    for track in tracks:
        made = [value(CHROMS[shard], start, track) for start in starts]
        columns[f"t{track:04d}"] = np.array(made, np.float32)
    return columns


def pieces_of(shard: int, blocks: dict[str, list[int]]) -> Iterator[Piece]:
    start = STARTS[shard][0]
    end = STARTS[shard][-1] + BIN
    for block, tracks in blocks.items():
        yield Piece(block, CHROMS[shard], start, end, columns_of(shard, tracks))


def begin(
    path: Path, *, blocks: dict[str, list[int]] | None = None, **changes: object
) -> ShardSink:
    restart = bool(changes.pop("restart", False))
    return ShardSink.begin(
        path,
        make_manifest(**changes),
        plan=make_plan(),
        tracks=make_tracks(),
        blocks=TWO_BLOCKS if blocks is None else blocks,
        restart=restart,
    )


def finish(path: Path, **changes: object) -> None:
    """Begin or resume, write what is pending, seal."""
    with begin(path, **changes) as sink:
        for shard in sink.pending():
            sink.write(shard, pieces_of(shard, sink.blocks))
        sink.seal()


def rows_of(path: Path, **options: bool) -> list[tuple[object, ...]]:
    """What a reader finds, in the columns of `expected_rows`."""
    return open_run(path, **options).scan().collect().rows()


def expected_rows() -> list[tuple[object, ...]]:
    """Every row of the run: chrom, start, end and the four tracks, in genome order."""
    return [
        (CHROMS[s], start, start + 128, *(float(value(CHROMS[s], start, t)) for t in TRACKS_HELD))
        for s in STARTS
        for start in STARTS[s]
    ]


def record(run: Path, shard: int, folder: str = "_commits") -> Path:
    """The one record of a shard."""
    (found,) = (run / folder).glob(f"{shard:06d}.*.json")
    return found


def staged_files(run: Path) -> list[Path]:
    """Files that are on their way into a run, or were left there."""
    return [path for path in (run / "_staging").rglob("*") if path.is_file()]
