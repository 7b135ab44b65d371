"""Runs whose rows are known by variant and site: counted by both, found by the variant."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import store_variants as world
from store_runs import TRACKS_HELD, TWO_BLOCKS, make_tracks

from cisray.errors import ResultsError, RunIncomplete
from cisray.store.keyed_plan import KeyedPlan, KeyedPlanWriter
from cisray.store.rows import Piece
from cisray.store.run import ShardSink
from cisray.store.scan import open_run
from cisray_schemas import VARIANT_SITE_SCORES, VARIANT_SITES

# variant, pos, site, first bin. Of five entries 1 and 3 are rejected; 0 goes on in the next shard.
Row = tuple[int, int, int, int]
SHARDS: tuple[tuple[Row, ...], ...] = (
    ((4, 100, 0, 9), (4, 100, 2, 3), (0, 120, 1, 5)),
    ((0, 120, 2, 1), (2, 120, 2, 1)),
)
ENTRIES, SCORED, ROWS = 5, 3, 5


def table_of(rows: tuple[Row, ...]) -> pa.Table:
    entries = [
        world.entry((variant, "chr2", pos, "A", "C"))
        | {
            "site": site, "site_name": f"s{site}", "site_start": 500 * site,
            "site_end": 500 * site + 1, "first_bin": first, "bins": 1,
        }
        for variant, pos, site, first in rows
    ]  # fmt: skip
    return pa.Table.from_pylist(entries, schema=VARIANT_SITES.schema)


def write_plan(folder: Path, shards: tuple[tuple[Row, ...], ...] = SHARDS) -> KeyedPlan:
    folder.mkdir(exist_ok=True)
    pq.write_table(world.rejects_of(2), folder / "rejects")
    with KeyedPlanWriter(folder / "plan", VARIANT_SITES, VARIANT_SITE_SCORES) as writer:
        for shard in shards:
            writer.add_shard(table_of(shard))
    return writer.close().with_rejects(folder / "rejects")


def begin(path: Path, plan: KeyedPlan, **config: object) -> ShardSink:
    told = {"entries": ENTRIES, "scored": SCORED, "rows": ROWS, "rejected": 2}
    manifest = world.variant_manifest(plan, table=VARIANT_SITE_SCORES.format, config=told | config)
    return ShardSink.begin(path, manifest, plan=plan, tracks=make_tracks(), blocks=TWO_BLOCKS)


def value(row: Row, track: int) -> np.float32:
    return np.float32(row[0] * 100 + row[2] * 10 + track)


def pieces_of(plan: KeyedPlan, shard: int):
    keys = plan.keys(shard)
    span = plan.spans[shard]
    for block, tracks in TWO_BLOCKS.items():
        columns = dict(zip(keys.column_names, keys.columns, strict=True))
        for statistic in world.STATISTICS:
            for track in tracks:
                made = [value(row, track) for row in SHARDS[shard]]
                columns[f"{statistic}_t{track:04d}"] = np.array(made, np.float32)
        yield Piece(block, span.chrom, span.start, span.end, columns)


def test_a_run_has_a_row_for_each_variant_and_site(tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan")
    assert (plan.rows, plan.scored) == (ROWS, SCORED)
    with begin(tmp_path / "run", plan) as sink:
        sink.write(1, pieces_of(plan, 1))
    with begin(tmp_path / "run", plan) as sink:
        assert sink.pending() == [0]
        sink.write(0, pieces_of(plan, 0))
        assert sink.seal().rows == ROWS
    run = open_run(tmp_path / "run")
    frame = run.scan(stats="SAD").collect()
    assert frame.columns[-10:] == [
        *("site", "site_name", "site_start", "site_end", "first_bin", "bins"),
        *(f"SAD_t{track:04d}" for track in TRACKS_HELD),
    ]
    rows = [row for shard in SHARDS for row in shard]
    assert frame.select("variant", "pos", "site").rows() == [row[:3] for row in rows]
    assert frame["SAD_t0005"].to_list() == [value(row, 5) for row in rows]
    assert frame["site_start"].to_list() == [500 * row[2] for row in rows]
    # A region finds variants, wherever their sites are.
    assert run.scan(region="chr2:120-120").collect()["variant"].to_list() == [0, 0, 2]
    assert run.scan(region="chr2:501-501").collect().height == 0
    assert run.variants.collect()["first_bin"].to_list() == [row[3] for row in rows]
    assert run.rejects.collect().height == 2
    assert run.verify() == 4
    assert (tmp_path / "run" / "variant_sites.parquet").exists()


@pytest.mark.parametrize(
    "wrong",
    [{"rows": 3}, {"rows": 6}, {"scored": 5}, {"scored": 2, "entries": 4}, {"entries": 7}],
)
def test_entries_and_rows_are_both_counted(tmp_path: Path, wrong: dict[str, int]) -> None:
    plan = write_plan(tmp_path / "plan")
    with pytest.raises(RunIncomplete, match=r"there are 5 rows in .* \(of 3 entries\) and 2 in "):
        begin(tmp_path / "run", plan, **wrong)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("shards", "scored"),
    [
        # The same site twice, in a shard, and across two.
        ((((0, 5, 1, 0), (0, 5, 1, 0)),), 2),
        ((((0, 5, 1, 0), (0, 5, 2, 0)), ((1, 5, 0, 0), (1, 5, 0, 1))), 3),
        # A variant that comes again after another.
        ((((0, 5, 0, 0), (1, 6, 0, 0)), ((0, 7, 1, 0),)), 3),
    ],
)
def test_each_pair_has_one_row_at_most(tmp_path: Path, shards, scored: int) -> None:
    plan = write_plan(tmp_path / "plan", shards)
    assert plan.scored == scored
    config = {"entries": scored + 2, "scored": scored, "rows": plan.rows}
    with pytest.raises(RunIncomplete, match="has a variant a second time"):
        begin(tmp_path / "run", plan, **config)


def test_rows_ascend_by_site_from_shard_to_shard_too(tmp_path: Path) -> None:
    for shards in (
        (((0, 5, 2, 0), (0, 5, 1, 0)),),
        (((0, 5, 2, 0),), ((0, 5, 1, 0),)),
        (((0, 5, 2, 0),), ((0, 5, 2, 0),)),
    ):
        with pytest.raises(ResultsError, match=r"out of order: rows ascend by .*, site"):
            write_plan(tmp_path / "plan", shards)
