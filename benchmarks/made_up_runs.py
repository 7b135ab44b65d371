"""Runs of made-up values, written through `ShardSink` as a job would write them.

Knows the store; knows nothing of models. Benchmarks and tests give formulas for the values.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cisray.store.keyed_plan import KeyedPlan, KeyedPlanWriter
from cisray.store.layout import assign_blocks
from cisray.store.manifest import RunManifest
from cisray.store.rows import Piece
from cisray.store.run import ShardSink
from cisray.store.stored_table import count_rows
from cisray.store.tile_plan import TilePlan
from cisray.tracks import TrackSet
from cisray.version import __version__
from cisray_schemas import REJECTS, VARIANT_SCORES, VARIANTS
from cisray_schemas.windows import WINDOWS

BIN_BP = 128
Values = NDArray[np.float32]
# (chromosome, first bin, bins, track) -> (N,)
BinValues = Callable[[str, int, int, int], Values]
# (statistic, track, first row, rows) -> (N,), rows counted along the run
EffectValues = Callable[[str, int, int, int], Values]
Blocks = Mapping[str, list[int]]


def manifest_of(plan: Any, tracks: TrackSet, table: str, **facts: Any) -> RunManifest:
    """State what a made-up run is made from; `facts` replace any of it."""
    stated = {
        "job": "made-up", "table": table, "config": {}, "model_sha256": "ab" * 32,
        "genome_sha256": "cd" * 32, "tracks_sha256": tracks.sha256, "plan_sha256": plan.sha256,
        "num_shards": plan.num_shards, "bin_bp": BIN_BP, "mantissa_bits": 10,
        "code_version": __version__, "genome": "made_up.fa",
    }  # fmt: skip
    return RunManifest.model_validate(stated | facts)


def plan_bins(bins: Mapping[str, int], shard_bins: int, missing: Sequence[int] = ()) -> TilePlan:
    """Cut chromosomes of so many bins into shards of one tile each; `missing` are not scored."""
    rows: list[dict[str, object]] = []
    for chrom, count in bins.items():
        for first in range(0, count, shard_bins):
            held, shard = min(shard_bins, count - first), len(rows)
            start, end = first * BIN_BP, (first + shard_bins) * BIN_BP
            rows.append(
                {
                    "shard": shard, "tile": first // shard_bins, "chrom": chrom, "start": start,
                    "end": end, "input_start": start, "input_end": end, "missing_bp": 0,
                    "acgt_bp": 1, "bins": held, "scored": shard not in missing,
                }
            )  # fmt: skip
    return TilePlan(pa.Table.from_pylist(rows, schema=WINDOWS.schema), BIN_BP)


def write_bins(
    path: Path,
    plan: TilePlan,
    tracks: TrackSet,
    value: BinValues,
    *,
    blocks: Blocks | None = None,
    **facts: Any,
) -> None:
    """Write and seal a run along the genome."""
    held = assign_blocks(tracks) if blocks is None else blocks
    manifest = manifest_of(plan, tracks, "cisray.genome_tracks/1", **facts)

    def pieces(shard: int) -> Iterator[Piece]:
        span = plan.spans[shard]
        first, count = span.start // BIN_BP, span.rows
        for block, members in held.items():
            columns: dict[str, Any] = {"start": plan.starts(shard)}
            for track in members:
                columns[f"t{track:04d}"] = value(span.chrom, first, count, track)
            yield Piece(block, span.chrom, span.start, span.end, columns)

    with ShardSink.begin(path, manifest, plan=plan, tracks=tracks, blocks=held) as sink:
        for shard in sink.pending():
            sink.write(shard, pieces(shard))
        sink.seal()


def snvs(positions: Mapping[str, NDArray[np.int64]]) -> pa.Table:
    """Lay SNVs out as a plan does: one at each position (1-based, ascending) of a chromosome."""
    frames = [
        pl.DataFrame({"pos": places}).select(
            pl.lit(chrom).alias("chrom"), pl.col("pos").cast(pl.Int32)
        )
        for chrom, places in positions.items()
    ]
    rows = (
        pl.concat(frames)
        .with_row_index("variant")
        .with_columns(
            pl.col("variant").cast(pl.Int64),
            ref=pl.lit("A"),
            alt=pl.lit("C"),
            id=pl.lit(""),
            source_chrom="chrom",
            source_pos=pl.col("pos").cast(pl.Int64),
            source_ref=pl.lit("A"),
            source_alt=pl.lit("C"),
            missing_bp=pl.lit(0, pl.Int32),
            record=pl.col("variant").cast(pl.Int64),
            line=pl.col("variant").cast(pl.Int64) + 1,
            alt_index=pl.lit(0, pl.Int32),
        )
    )
    return rows.select(VARIANTS.schema.names).to_arrow().cast(VARIANTS.schema)


def plan_variants(
    folder: Path,
    rows: pa.Table,
    *,
    shard_rows: int = 65_536,
    rejects: Sequence[Mapping[str, object]] = (),
) -> KeyedPlan:
    """Write rows, which are in the order of a plan, and rejects into a folder; cut them evenly."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rejects), schema=REJECTS.schema), folder / "rejects")
    chroms = rows["chrom"].to_numpy(zero_copy_only=False)
    begins = [0, *(np.flatnonzero(chroms[1:] != chroms[:-1]) + 1).tolist(), len(chroms)]
    with KeyedPlanWriter(folder / "plan", VARIANTS, VARIANT_SCORES) as writer:
        for low, high in pairwise(begins):
            for first in range(low, high, shard_rows):
                writer.add_shard(rows.slice(first, min(shard_rows, high - first)))
    return writer.close().with_rejects(folder / "rejects")


def write_variants(
    path: Path,
    plan: KeyedPlan,
    tracks: TrackSet,
    value: EffectValues,
    *,
    statistics: Sequence[str] = ("SAD",),
    blocks: Blocks | None = None,
    **facts: Any,
) -> None:
    """Write and seal a run of variants; `partial` among the facts names statistics with gaps."""
    held = assign_blocks(tracks, len(statistics)) if blocks is None else blocks
    rejected = count_rows(plan.rejects, REJECTS)
    config = {
        "statistics": list(statistics), "partial": facts.pop("partial", []),
        "entries": plan.scored + rejected, "scored": plan.scored, "rows": plan.rows,
        "rejected": rejected, "rejects_sha256": plan.rejects_sha256,
    }  # fmt: skip
    manifest = manifest_of(plan, tracks, VARIANT_SCORES.format, **{"config": config, **facts})
    firsts = np.cumsum([0, *(span.rows for span in plan.spans.values())]).tolist()

    def pieces(shard: int) -> Iterator[Piece]:
        span, keys = plan.spans[shard], plan.keys(shard)
        for block, members in held.items():
            columns = dict(zip(keys.column_names, keys.columns, strict=True))
            for statistic in statistics:
                for track in members:
                    values = value(statistic, track, firsts[shard], span.rows)
                    columns[f"{statistic}_t{track:04d}"] = values
            yield Piece(block, span.chrom, span.start, span.end, columns)

    with ShardSink.begin(path, manifest, plan=plan, tracks=tracks, blocks=held) as sink:
        for shard in sink.pending():
            sink.write(shard, pieces(shard))
        sink.seal()
