"""Small runs of variants that link to one another, for the store's tests.

Knows what any reader must find: a row that is linked has the number of its own run, and the values
that the row of the other run was given.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import store_variants as world
from store_runs import TRACKS_HELD, TWO_BLOCKS, make_tracks

from cisray.store.keyed_plan import KeyedPlan, KeyedPlanWriter
from cisray.store.links import Origin, told_places
from cisray.store.rows import Piece
from cisray.store.run import ShardSink
from cisray.store.scan import Run, open_run
from cisray_schemas import LINKED, VARIANT_SCORES

CHROMOSOMES = ("chr2", "HLA-A*01:01", "chr10")


@dataclass(frozen=True)
class Link:
    """A variant of the new run, and the row that has its scores."""

    variant: world.Variant
    origin: Run
    number: int


@dataclass(frozen=True)
class Parts:
    """A run to be: its own shards, links cut into shards, and where the other runs lie."""

    shards: world.Shards = ()
    links: tuple[tuple[Link, ...], ...] = ()
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def every_link(self) -> list[Link]:
        """All links, in order."""
        return [link for shard in self.links for link in shard]

    @property
    def rejected(self) -> int:
        """How many entries are neither scored nor linked: the numbers up to the last one."""
        scored = [number for shard in self.shards for number, *_ in shard]
        numbers = [*scored, *(link.variant[0] for link in self.every_link)]
        return max(numbers, default=-1) + 1 - len(numbers)


def in_order(variant: world.Variant) -> tuple[object, ...]:
    number, chrom, *key = variant
    return (CHROMOSOMES.index(chrom), *key, number)


def write_links(path: Path, links: Sequence[Sequence[Link]]) -> KeyedPlan:
    with KeyedPlanWriter(path, LINKED, VARIANT_SCORES) as writer:
        for shard in links:
            rows = [
                world.entry(link.variant)
                | {"since_run": link.origin.manifest.run_id, "since_variant": link.number}
                for link in shard
            ]
            writer.add_shard(pa.Table.from_pylist(rows, schema=LINKED.schema))
    return writer.close()


def begin(path: Path, parts: Parts, **options: Any) -> ShardSink:
    """Begin the run, or go on with it; `parts.changes` are made to its configuration."""
    folder = path.parent / f"plan of {path.name}"
    folder.mkdir(parents=True, exist_ok=True)
    plan = world.write_plan(folder, parts.shards, parts.rejected)
    links = write_links(folder / "links", parts.links)
    plan = plan.with_rejects(folder / "rejects", links)
    every = parts.every_link
    origins = {
        link.origin.manifest.run_id: Origin(link.origin.manifest.digest, link.origin.path)
        for link in every
    }
    covered = {*plan.chromosomes, *links.chromosomes}
    config = {
        "linked": len(every),
        "linked_sha256": links.sha256,
        "since": {run_id: origin.digest for run_id, origin in origins.items()},
        "chromosomes": [chrom for chrom in CHROMOSOMES if chrom in covered],
        "entries": plan.rows + len(every) + parts.rejected,
    }
    manifest = world.variant_manifest(
        plan, config=config | parts.changes, provenance=told_places(origins, path)
    )
    return ShardSink.begin(
        path, manifest, plan=plan, tracks=make_tracks(), blocks=TWO_BLOCKS, **options
    )


def finish(path: Path, parts: Parts, **options: Any) -> Run:
    """Begin or resume, write what is pending, seal, open."""
    with begin(path, parts, **options) as sink:
        for shard in sink.pending():
            sink.write(shard, pieces_of(parts.shards[shard], sink.blocks))
        sink.seal()
    return open_run(path)


def pieces_of(shard: tuple[world.Variant, ...], blocks: dict[str, list[int]]) -> list[Piece]:
    start = min(pos - 1 for _, _, pos, _, _ in shard)
    end = max(pos - 1 + len(ref) for _, _, pos, ref, _ in shard)
    return [
        Piece(block, shard[0][1], start, end, world.columns_of(shard, tracks))
        for block, tracks in blocks.items()
    ]


def expected_rows(parts: Parts) -> list[tuple[object, ...]]:
    """Every row in order: variant, chrom, pos, ref, alt and all scores."""
    own = [(variant, variant[0]) for shard in parts.shards for variant in shard]
    linked = [(link.variant, link.number) for shard in parts.links for link in shard]
    return [
        (*variant, *(float(value) for value in values_of(number)))
        for variant, number in sorted([*own, *linked], key=lambda row: in_order(row[0]))
    ]


def values_of(number: int) -> list[np.float32]:
    return [world.value(number, s, t) for s in world.STATISTICS for t in TRACKS_HELD]
