"""A small run over variants for the store's tests: two chromosomes, three shards, two statistics.

Knows how its values are made, so that a test can tell what any reader must find. Eleven entries
come in: nine are scored, two are rejected. Numbers are those of the input, which is not sorted.

    shard 0  chr2         pos 100 (twice the same variant), 100, 130 (a REF of 400 bases)
    shard 1  chr2         pos 140, 600
    shard 2  HLA-A*01:01  pos 7, 7, 9
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from store_runs import TRACKS_HELD, TWO_BLOCKS, make_manifest, make_tracks

from cisray.store.keyed_plan import KeyedPlan, KeyedPlanWriter
from cisray.store.layout import value_columns
from cisray.store.manifest import RunManifest
from cisray.store.plan import Plan
from cisray.store.rows import Piece
from cisray.store.run import ShardSink
from cisray_schemas import REJECTS, VARIANT_SCORES, VARIANTS
from cisray_schemas.table import Table

LONG = "A" + "CGT" * 133
# (variant, chrom, pos, ref, alt), by shard.
SHARDS = (
    (
        (3, "chr2", 100, "A", "C"),
        (8, "chr2", 100, "A", "C"),
        (5, "chr2", 100, "A", "G"),
        (0, "chr2", 130, LONG, "A"),
    ),
    ((10, "chr2", 140, "C", "CTT"), (1, "chr2", 600, "G", "T")),
    (
        (7, "HLA-A*01:01", 7, "AC", "A"),
        (2, "HLA-A*01:01", 7, "T", "A"),
        (4, "HLA-A*01:01", 9, "T", "A"),
    ),
)
REJECTED = (6, 9)
STATISTICS = ("SAD", "logSAD")

Variant = tuple[int, str, int, str, str]


def entry(variant: Variant) -> dict[str, object]:
    number, chrom, pos, ref, alt = variant
    return {
        "variant": number, "chrom": chrom, "pos": pos, "ref": ref, "alt": alt,
        "id": f"rs{number}", "source_chrom": chrom.removeprefix("chr"), "source_pos": pos,
        "source_ref": ref, "source_alt": alt, "missing_bp": 0, "record": number,
        "line": number + 2, "alt_index": 0,
    }  # fmt: skip


def write_plan(
    path: Path, shards: tuple[tuple[Variant, ...], ...] = SHARDS, rejected: int = len(REJECTED)
) -> KeyedPlan:
    """Plan into PATH.plan and PATH.rejects, as a job does before its run begins."""
    rejects = [
        {
            "file": "a.vcf", "record": number, "line": number + 2, "alt_index": 0, "chrom": "chr9",
            "pos": 5, "id": "", "ref": "A", "alt": "*", "reason": "spanning_deletion",
            "detail": "the allele *",
        }
        for number in range(rejected)
    ]  # fmt: skip
    pq.write_table(
        pa.Table.from_pylist(rejects, schema=REJECTS.schema), path.with_suffix(".rejects")
    )
    with KeyedPlanWriter(path.with_suffix(".plan"), VARIANTS, VARIANT_SCORES) as writer:
        for shard in shards:
            rows = [entry(variant) for variant in shard]
            writer.add_shard(pa.Table.from_pylist(rows, schema=VARIANTS.schema))
    return writer.close().with_rejects(path.with_suffix(".rejects"))


def variant_manifest(plan: KeyedPlan, **changes: object) -> RunManifest:
    rejected = pq.read_metadata(plan.rejects_path).num_rows
    config = {
        "statistics": list(STATISTICS), "partial": [], "entries": plan.rows + rejected,
        "scored": plan.rows, "rejected": rejected, "rejects_sha256": plan.rejects_sha256,
    }  # fmt: skip
    facts = {
        "job": "score-variants", "table": VARIANT_SCORES.format,
        "plan_sha256": plan.sha256, "num_shards": plan.num_shards,
        "config": config | dict(changes.pop("config", {})),
    }  # fmt: skip
    return make_manifest(**facts | changes)


def value(variant: int, statistic: str, track: int) -> np.float32:
    """The score that the run holds: no two are equal."""
    return np.float32((variant + 1) / 7 + track * 31 + (0.25 if statistic == "SAD" else 0.5))


def columns_of(
    plan: Plan, shard: int, tracks: list[int], statistics: tuple[str, ...] = STATISTICS
) -> dict[str, object]:
    keys = plan.keys(shard)
    columns: dict[str, object] = dict(zip(keys.column_names, keys.columns, strict=True))
    for statistic in statistics:
        for track in tracks:
            made = [value(number, statistic, track) for number in keys["variant"].to_pylist()]
            columns[f"{statistic}_t{track:04d}"] = np.array(made, np.float32)
    return columns


def pieces_of(sink: ShardSink, shard: int) -> Iterator[Piece]:
    span = sink.plan.spans[shard]
    for block, tracks in sink.blocks.items():
        columns = columns_of(sink.plan, shard, tracks)
        yield Piece(block, span.chrom, span.start, span.end, columns)


def begin(path: Path, **changes: object) -> ShardSink:
    plan = changes.pop("plan", None) or write_plan(path)
    blocks = changes.pop("blocks", TWO_BLOCKS)
    restart = bool(changes.pop("restart", False))
    manifest = variant_manifest(plan, **changes)
    return ShardSink.begin(
        path, manifest, plan=plan, tracks=make_tracks(), blocks=blocks, restart=restart
    )


def finish(path: Path, **changes: object) -> None:
    """Begin or resume, write what is pending, seal."""
    with begin(path, **changes) as sink:
        for shard in sink.pending():
            sink.write(shard, pieces_of(sink, shard))
        sink.seal()


def expected_rows(shards: tuple[tuple[Variant, ...], ...] = SHARDS) -> list[tuple[object, ...]]:
    """Every row of the run in plan order: variant, chrom, pos, ref, alt and all the scores."""
    return [
        (*variant, *(float(value(variant[0], s, t)) for s in STATISTICS for t in TRACKS_HELD))
        for shard in shards
        for variant in shard
    ]


def columns_asked() -> list[str]:
    """The columns that `expected_rows` has."""
    tracks = [f"t{track:04d}" for track in TRACKS_HELD]
    return ["variant", "chrom", "pos", "ref", "alt", *value_columns(STATISTICS, tracks)]


def key_names(table: Table = VARIANT_SCORES) -> list[str]:
    return list(table.schema.names)
