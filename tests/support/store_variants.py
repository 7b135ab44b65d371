"""A small run over variants for the store's tests: two chromosomes, three shards, two statistics.

Knows how its values are made, so that a test can tell what any reader must find; offers what
`store_runs` does, so that one test can hold both kinds of run to the same contract. Eleven entries
come in: nine are scored, two are rejected. Numbers are those of the input, which is not sorted.

    shard 0  chr2         pos 100 three times, of which twice the same variant, and 130   4 rows
    shard 1  chr2         pos 140, 600                                                    2 rows
    shard 2  HLA-A*01:01  pos 7, 7, 9                                                     3 rows

The REF at 130 has 400 bases, so that it reaches to base 529 (1-based).
"""

import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from store_runs import TRACKS_HELD, TWO_BLOCKS, make_manifest, make_tracks

from cisray.store.keyed_plan import KeyedPlan, KeyedPlanWriter
from cisray.store.manifest import RunManifest
from cisray.store.rows import Piece
from cisray.store.run import ShardSink
from cisray.store.scan import open_run
from cisray_schemas import REJECTS, VARIANT_SCORES, VARIANTS

Variant = tuple[int, str, int, str, str]
Shards = tuple[tuple[Variant, ...], ...]

NAME = "variants"
LONG = "A" + "CGT" * 133
# (variant, chrom, pos, ref, alt)
SHARDS: Shards = (
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
# 0-based half-open: pos 100 is base 99; 129 + 400 = 529.
SPANS = (("chr2", 99, 529), ("chr2", 139, 600), ("HLA-A*01:01", 6, 9))
ROWS = (4, 2, 3)
REJECTED = 2
STATISTICS = ("SAD", "logSAD")
PLAN_FILES = ["rejects.parquet", "variants.parquet"]
# Place of the first value in a row of `expected_rows`.
FIRST_VALUE = 5


def entry(variant: Variant) -> dict[str, object]:
    """One row of the plan."""
    number, chrom, pos, ref, alt = variant
    return {
        "variant": number, "chrom": chrom, "pos": pos, "ref": ref, "alt": alt,
        "id": f"rs{number}", "source_chrom": chrom.removeprefix("chr"), "source_pos": pos,
        "source_ref": ref, "source_alt": alt, "missing_bp": number % 2, "record": number,
        "line": number + 2, "alt_index": 0,
    }  # fmt: skip


def rejects_of(count: int) -> pa.Table:
    rows = [
        {
            "file": "a.vcf", "record": number, "line": number + 2, "alt_index": 0, "chrom": "chr9",
            "pos": 5, "id": "", "ref": "A", "alt": "*", "reason": "spanning_deletion",
            "detail": "the allele *",
        }
        for number in range(count)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=REJECTS.schema)


def write_plan(folder: Path, shards: Shards = SHARDS, rejected: int = REJECTED) -> KeyedPlan:
    """Plan into a folder, as a job does before its run begins."""
    pq.write_table(rejects_of(rejected), folder / "rejects")
    with KeyedPlanWriter(folder / "plan", VARIANTS, VARIANT_SCORES) as writer:
        for shard in shards:
            rows = [entry(variant) for variant in shard]
            writer.add_shard(pa.Table.from_pylist(rows, schema=VARIANTS.schema))
    return writer.close().with_rejects(folder / "rejects")


@functools.cache
def make_plan() -> KeyedPlan:
    """The plan of `SHARDS`, written once in a process."""
    folder, owner = Path(tempfile.mkdtemp(prefix="cisray-plan-")), os.getpid()
    atexit.register(lambda: os.getpid() == owner and shutil.rmtree(folder))
    return write_plan(folder)


def make_config(plan: KeyedPlan, statistics: tuple[str, ...] = STATISTICS) -> dict[str, Any]:
    """What a job says of its rows: as it counted them, not as the plan's files have them."""
    rejected = pq.read_metadata(str(plan.rejects)).num_rows
    return {
        "precision": "float32", "regions": {"bed": None, "pad": 0},
        "statistics": list(statistics), "partial": [], "entries": plan.rows + rejected,
        "scored": plan.rows, "rows": plan.rows, "rejected": rejected,
        "rejects_sha256": plan.rejects_sha256,
    }  # fmt: skip


def variant_manifest(plan: KeyedPlan, **changes: Any) -> RunManifest:
    facts = {
        "job": "score-variants", "table": VARIANT_SCORES.format,
        "plan_sha256": plan.sha256, "num_shards": plan.num_shards,
        **changes, "config": make_config(plan) | changes.get("config", {}),
    }  # fmt: skip
    return make_manifest(**facts)


def value(variant: int, statistic: str, track: int) -> np.float32:
    """The score that the run holds: no two are equal."""
    return np.float32((variant + 1) / 7 + track * 31 + (0.25 if statistic == "SAD" else 0.5))


def columns_of(
    shard: tuple[Variant, ...], tracks: list[int], statistics: tuple[str, ...] = STATISTICS
) -> dict[str, Any]:
    """Keys and values of a shard's rows for some tracks, made without the store."""
    rows = pa.Table.from_pylist([entry(variant) for variant in shard], schema=VARIANTS.schema)
    keys = rows.select(VARIANT_SCORES.schema.names)
    columns: dict[str, Any] = dict(zip(keys.column_names, keys.columns, strict=True))
    for statistic in statistics:
        for track in tracks:
            made = [value(variant[0], statistic, track) for variant in shard]
            columns[f"{statistic}_t{track:04d}"] = np.array(made, np.float32)
    return columns


def pieces_of(shard: int, blocks: Mapping[str, list[int]]) -> Iterator[Piece]:
    for block, tracks in blocks.items():
        yield Piece(block, *SPANS[shard], columns_of(SHARDS[shard], tracks))


def begin(path: Path, *, blocks: dict[str, list[int]] | None = None, **changes: Any) -> ShardSink:
    restart = bool(changes.pop("restart", False))
    plan = changes.pop("plan", None) or make_plan()
    return ShardSink.begin(
        path,
        variant_manifest(plan, **changes),
        plan=plan,
        tracks=make_tracks(),
        blocks=TWO_BLOCKS if blocks is None else blocks,
        restart=restart,
    )


def finish(path: Path, **changes: Any) -> None:
    """Begin or resume, write what is pending, seal."""
    with begin(path, **changes) as sink:
        for shard in sink.pending():
            sink.write(shard, pieces_of(shard, sink.blocks))
        sink.seal()


def value_names() -> list[str]:
    return [f"{statistic}_t{track:04d}" for statistic in STATISTICS for track in TRACKS_HELD]


def rows_of(path: Path, **options: bool) -> list[tuple[object, ...]]:
    """What a reader finds, in the columns of `expected_rows`."""
    columns = ["variant", "chrom", "pos", "ref", "alt", *value_names()]
    return open_run(path, **options).scan().select(columns).collect().rows()


def expected_rows() -> list[tuple[object, ...]]:
    """Every row of the run in plan order: variant, chrom, pos, ref, alt and all scores."""
    return [
        (*variant, *(float(value(variant[0], s, t)) for s in STATISTICS for t in TRACKS_HELD))
        for shard in SHARDS
        for variant in shard
    ]
