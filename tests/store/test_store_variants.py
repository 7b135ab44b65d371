"""Runs whose rows are known by keys: what may be written, what seals, and what stands in files."""

import json
import shutil
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import store_runs as bins
import store_variants as world
from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.errors import ResultsError, RunConflict, RunIncomplete, StorageError, WrongRun
from cisray.store.files import publish_copy
from cisray.store.keyed_plan import KeyedPlan, KeyedPlanWriter, as_keyed
from cisray.store.layout import assign_blocks
from cisray.store.local_folder import stored
from cisray.store.manifest import KeyedConfig
from cisray.store.rows import Piece
from cisray.store.run import ShardSink
from cisray.store.scan import open_run
from cisray.store.tile_plan import as_tiles
from cisray_schemas import SATURATION_SCORES, SUBSTITUTIONS, VARIANT_SCORES

ONE_BLOCK = {"sel": list(world.TRACKS_HELD)}


def change(shard: int, **columns: Any) -> list[Piece]:
    """The pieces of a shard, one block, with some columns replaced."""
    (piece,) = world.pieces_of(shard, ONE_BLOCK)
    return [piece._replace(columns={**piece.columns, **columns})]


F32 = np.float32
WRONG = {
    "another variant": ({"variant": np.array([3, 8, 5, 1])},
                        r"variant 1 in row 3 where the plan has 0 \(0-based\), chr2:130:ACGT"),
    "rows swapped": ({"variant": np.array([8, 3, 5, 0])}, "2 rows differ"),
    "position off by one": ({"pos": np.array([100, 100, 101, 130], np.int32)},
                            r"pos 101 in row 2 where the plan has 100 \(1-based\), chr2:100:A:G"),
    "another allele": ({"alt": np.array(["C", "C", "T", "A"])},
                       "alt T in row 2 where the plan has G, chr2:100:A:G; 1 rows differ"),
    "text for a number": ({"pos": np.array(["100", "100", "100", "130"])}, "column pos of <U3"),
    "number for a text": ({"alt": np.arange(4)}, "column alt of int64, not of string"),
    "one row too few": ({"variant": np.array([3, 8, 5])}, r"\(3,\) rows, its plan owes \(4,\)"),
    "no values": ({"id": pa.array(["rs3", None, "rs5", "rs0"])}, "nulls in id"),
    "NaN": ({"SAD_t0008": np.array([1, np.nan, 1, np.nan], F32)},
            r"2 of 4 values of column SAD_t0008 .* \(nan\) at chr2:100:A:C\."),
    "a value that is null": ({"SAD_t0008": pa.array([1, None, 1, 1], pa.float32())},
                             "nulls in SAD_t0008"),
    "infinite": ({"logSAD_t0013": np.array([1, 1, 1, -np.inf], F32)},
                 r"logSAD_t0013 .* \(-inf\) at chr2:130:ACGTCGTCGTCGTCGTCGTC\.\.\.:A\."),
    "a column too many": ({"D2_t0003": np.ones(4, F32)}, "D2_t0003"),
}  # fmt: skip


@pytest.mark.parametrize(("columns", "message"), WRONG.values(), ids=WRONG.keys())
def test_rows_that_the_plan_does_not_owe_are_refused(tmp_path, columns, message) -> None:
    with world.begin(tmp_path / "run", blocks=ONE_BLOCK) as sink:
        with pytest.raises(ResultsError, match=message):
            sink.write(0, change(0, **columns))
        assert sink.pending() == [0, 1, 2]
        assert not bins.staged_files(tmp_path / "run")


def test_columns_are_ordered_by_statistic_and_then_track(tmp_path) -> None:
    with world.begin(tmp_path / "run") as sink:
        values = [n for n in sink.schemas["cage"].names if n not in VARIANT_SCORES.schema.names]
        assert values == ["SAD_t0003", "SAD_t0008", "logSAD_t0003", "logSAD_t0008"]
        (piece,) = change(0)
        by_track = sorted(piece.columns, key=lambda name: name.rpartition("_t")[2])
        wrong = piece._replace(block="cage", columns={n: piece.columns[n] for n in by_track})
        with pytest.raises(ResultsError):
            sink.write(0, [wrong])


def test_a_partial_statistic_may_lack_values(tmp_path) -> None:
    values = np.array([np.nan, 2, np.nan, 4], F32)
    config = {"partial": ["logSAD"]}
    with world.begin(tmp_path / "run", blocks=ONE_BLOCK, config=config, mantissa_bits=10) as sink:
        with pytest.raises(ResultsError, match="column SAD_t0003 are not finite"):
            sink.write(0, change(0, SAD_t0003=values))
        with pytest.raises(ResultsError, match=r"1 of 4 values of column logSAD_t0003 .* \(inf\)"):
            sink.write(0, change(0, logSAD_t0003=np.array([np.nan, 2, np.inf, 4], F32)))
        sink.write(0, change(0, logSAD_t0003=values))
        for shard in (1, 2):
            sink.write(shard, world.pieces_of(shard, ONE_BLOCK))
        sink.seal()
    told = open_run(tmp_path / "run").scan(tracks=3, stats="logSAD", region="chr2").collect()
    assert told["logSAD_t0003"].to_list()[:4] == [None, 2, None, 4]
    file = pq.ParquetFile(next((tmp_path / "run/data").rglob("chr2_000000099_*")))
    nullable = {field.name for field in file.schema_arrow if field.nullable}
    assert nullable == {f"logSAD_t{track:04d}" for track in world.TRACKS_HELD}


def test_nulls_of_arrow_are_as_good_as_nan(tmp_path) -> None:
    with world.begin(tmp_path / "run", blocks=ONE_BLOCK, config={"partial": ["SAD"]}) as sink:
        sink.write(0, change(0, SAD_t0005=pa.array([1, None, 3, 4], pa.float32())))
    told = open_run(tmp_path / "run", allow_unsealed=True).scan(tracks=5, stats="SAD").collect()
    assert told["SAD_t0005"].to_list() == [1, None, 3, 4]


def make_plan(folder: Path, shards: world.Shards, rejected: int = 0) -> KeyedPlan:
    folder.mkdir(exist_ok=True)
    return world.write_plan(folder, shards, rejected)


def test_nothing_to_score_is_a_run(tmp_path) -> None:
    plan = make_plan(tmp_path / "plan", (), rejected=2)
    with world.begin(tmp_path / "run", plan=plan) as sink:
        assert sink.pending() == []
        summary = sink.seal()
    assert (summary.shards, summary.files, summary.rows, summary.bytes) == (0, 0, 0, 0)
    run = open_run(tmp_path / "run")
    frame = run.scan(stats="SAD").collect()
    assert frame.height == 0
    world.finish(tmp_path / "full")
    full = open_run(tmp_path / "full").scan(stats="SAD").collect_schema()
    # Only the chromosomes are others: none.
    assert frame.schema == full | {"chrom": pl.Enum([])}
    assert frame.columns == full.names()
    assert run.variants.collect().height == 0
    assert run.rejects.collect().height == 2
    assert run.verify() == 0
    with world.begin(tmp_path / "run", plan=plan) as sink:
        assert sink.pending() == []


def test_a_plan_of_nothing_is_restarted_and_resumed(tmp_path) -> None:
    plan = make_plan(tmp_path / "plan", ())
    world.begin(tmp_path / "run", plan=plan).close()
    world.begin(tmp_path / "run", plan=plan).close()
    world.finish(tmp_path / "run", restart=True)
    assert world.rows_of(tmp_path / "run") == world.expected_rows()


@pytest.mark.parametrize("wrong", [{"entries": 12}, {"scored": 8}, {"rejected": 3}])
def test_rows_in_must_be_rows_out_before_anything_is_computed(tmp_path, wrong) -> None:
    with pytest.raises(RunIncomplete, match=r"there are 9 rows in .* and 2 in .*rejects"):
        world.begin(tmp_path / "run", config=wrong)
    assert not (tmp_path / "run").exists()


def test_each_entry_has_one_row_at_most(tmp_path) -> None:
    twice = (((0, "a", 5, "A", "C"), (1, "a", 6, "A", "C")), ((0, "a", 7, "A", "C"),))
    with pytest.raises(RunIncomplete, match=r"shard 1 of .* has a variant a second time"):
        world.begin(tmp_path / "run", plan=make_plan(tmp_path / "twice", twice))
    within = (((1, "a", 5, "A", "C"), (1, "a", 6, "A", "C")),)
    with pytest.raises(RunIncomplete, match=r"shard 0 of .* has a variant a second time"):
        world.begin(tmp_path / "run", plan=make_plan(tmp_path / "within", within))
    beyond = (((2, "a", 5, "A", "C"), (0, "a", 6, "A", "C")),)
    with pytest.raises(RunIncomplete, match="numbers its variants 0 to 2, of 2 entries"):
        world.begin(tmp_path / "run", plan=make_plan(tmp_path / "beyond", beyond))


def test_sealing_counts_the_rejects_that_are_there(tmp_path) -> None:
    path = tmp_path / "run"
    with world.begin(path) as sink:
        for shard in sink.pending():
            sink.write(shard, world.pieces_of(shard, sink.blocks))
        rejects = path / "rejects.parquet"
        pq.write_table(world.rejects_of(1), rejects)
        with pytest.raises(RunIncomplete, match=r"given 11 entries.* 9 rows in .* and 1 in "):
            sink.seal()
        # As many as were rejected, but others.
        others = world.rejects_of(3).slice(1)
        pq.write_table(others, rejects)
        with pytest.raises(StorageError, match=r"rejects\.parquet is not the one"):
            sink.seal()
        rejects.unlink()
        with pytest.raises(StorageError, match=r"rejects\.parquet cannot be read"):
            sink.seal()
        assert not (path / "_SUCCESS").exists()
        shutil.copyfile(str(world.make_plan().rejects), rejects)
        assert sink.seal().rows == 9


def test_sealing_reads_the_keys_of_every_file_again(tmp_path) -> None:
    path = tmp_path / "run"
    with world.begin(path, blocks=ONE_BLOCK) as sink:
        for shard in sink.pending():
            receipt = sink.write(shard, world.pieces_of(shard, sink.blocks))
        # The same number of rows and the same columns, one position off; the record agrees.
        file = path / receipt.files[0].path
        rows = pl.read_parquet(file).with_columns(pos=pl.col("pos") + 1)
        rows.write_parquet(file)
        record = bins.record(path, 2)
        told = json.loads(record.read_text())
        told["files"][0]["bytes"] = file.stat().st_size
        record.write_text(json.dumps(told))
        with pytest.raises(RunIncomplete, match="holds other rows than those that its shard owes"):
            sink.seal()


def test_a_plan_whose_rows_were_changed_is_noticed_by_whoever_reads_them(tmp_path) -> None:
    path = tmp_path / "run"
    with world.begin(path) as sink:
        stored = path / "variants.parquet"
        whole = pq.ParquetFile(stored)
        # Rewritten with the notes of the whole one: each shard still has its number of rows.
        with pq.ParquetWriter(stored.with_suffix(".new"), whole.schema_arrow) as writer:
            for shard in range(3):
                rows = whole.read_row_group(shard)
                if shard == 1:
                    rows = rows.set_column(4, rows.schema.field(4), pa.array(["CTT", "C"]))
                writer.write_table(rows)
            notes = {k.decode(): v.decode() for k, v in whole.metadata.metadata.items()}
            writer.add_key_value_metadata({k: v for k, v in notes.items() if "cisray" in k})
        stored.with_suffix(".new").rename(stored)
        worker = ShardSink.attach(path)
        worker.write(0, world.pieces_of(0, worker.blocks))
        with pytest.raises(StorageError, match="its shard 1 are not those that were planned"):
            worker.write(1, world.pieces_of(1, worker.blocks))
        assert sink.pending() == [1, 2]


def test_another_plan_in_its_place_is_noticed(tmp_path) -> None:
    world.begin(tmp_path / "run").close()
    other = make_plan(tmp_path / "other", world.SHARDS[:2])
    shutil.copyfile(str(other.file), tmp_path / "run/variants.parquet")
    with pytest.raises(StorageError, match=r"variants\.parquet is not the one"):
        ShardSink.attach(tmp_path / "run")
    (tmp_path / "run/variants.parquet").unlink()
    with pytest.raises(StorageError, match=r"variants\.parquet is missing or damaged"):
        ShardSink.attach(tmp_path / "run")


def test_the_run_needs_nothing_of_where_it_was_planned(tmp_path) -> None:
    plan = make_plan(tmp_path / "plan", world.SHARDS, rejected=world.REJECTED)
    with world.begin(tmp_path / "run", plan=plan) as sink:
        shutil.rmtree(tmp_path / "plan")
        for shard in sink.pending():
            sink.write(shard, world.pieces_of(shard, sink.blocks))
        sink.seal()
    assert world.rows_of(tmp_path / "run") == world.expected_rows()


CONFIGS = {
    "no statistics": ({"statistics": []}, "statistics"),
    "a statistic twice": ({"statistics": ["SAD", "SAD"]}, "stands twice"),
    "a name that is no name": ({"statistics": ["SAD per track"]}, "statistics"),
    "partial of nothing": ({"partial": ["D2"]}, "D2"),
    "a share of an entry": ({"entries": 11.5}, "entries"),
}


@pytest.mark.parametrize(("config", "message"), CONFIGS.values(), ids=CONFIGS.keys())
def test_a_config_that_cannot_be_is_refused(tmp_path, config, message) -> None:
    with pytest.raises(ValueError, match=message):
        world.begin(tmp_path / "run", config=config)
    assert not (tmp_path / "run").exists()


def test_a_config_lacking_what_was_rejected_is_refused() -> None:
    manifest = bins.make_manifest(config={"statistics": ["SAD"]})
    with pytest.raises(ValueError, match="rejects_sha256"):
        KeyedConfig.of(manifest)


def test_a_run_of_one_kind_is_not_begun_with_the_plan_of_another(tmp_path) -> None:
    tiles, variants = bins.make_plan(), world.make_plan()
    facts = {"plan_sha256": tiles.sha256, "num_shards": tiles.num_shards}
    with pytest.raises(ValueError, match=r"planned in cisray\.variants/1, the plan is cisray\.win"):
        ShardSink.begin(
            tmp_path / "run",
            world.variant_manifest(variants).model_copy(update=facts),
            plan=tiles,
            tracks=bins.make_tracks(),
            blocks=ONE_BLOCK,
        )
    with pytest.raises(WrongRun, match="no tiles"):
        as_tiles(variants)
    with pytest.raises(WrongRun, match="no variants"):
        as_keyed(tiles)


def test_a_run_of_an_unknown_kind_is_named(tmp_path) -> None:
    world.begin(tmp_path / "run").close()
    told = json.loads((tmp_path / "run/run.json").read_text())
    (tmp_path / "run/run.json").write_text(json.dumps({**told, "table": "cisray.motifs/1"}))
    with pytest.raises(StorageError, match=r"rows of cisray\.motifs/1, which this version"):
        open_run(tmp_path / "run")


def test_a_damaged_config_is_named(tmp_path) -> None:
    world.begin(tmp_path / "run").close()
    told = json.loads((tmp_path / "run/run.json").read_text())
    del told["config"]["rejects_sha256"]
    (tmp_path / "run/run.json").write_text(json.dumps(told))
    with pytest.raises(StorageError, match=r"run\.json is damaged .*rejects_sha256"):
        ShardSink.attach(tmp_path / "run")


@pytest.mark.parametrize(("first", "second"), [(bins, world), (world, bins)])
def test_a_restart_leaves_nothing_of_another_kind(tmp_path, first, second) -> None:
    path = tmp_path / "run"
    first.finish(path)
    with pytest.raises(RunConflict, match="table: "):
        second.begin(path)
    second.finish(path, restart=True)
    assert second.rows_of(path) == second.expected_rows()
    assert not {*first.PLAN_FILES} & {file.name for file in path.iterdir()}
    # Killed after the manifest was deleted: what is left of it goes with the next beginning.
    (path / "run.json").unlink()
    for name in ("_SUCCESS", "_manifest.parquet", "summary.json"):
        (path / name).unlink()
    shutil.rmtree(path / "data")
    shutil.rmtree(path / "_commits")
    first.finish(path)
    assert first.rows_of(path) == first.expected_rows()
    assert not {*second.PLAN_FILES} & {file.name for file in path.iterdir()}


def test_a_saturation_run_is_keyed_by_region_too(tmp_path) -> None:
    # Base 50 lies in both regions.
    rows = [
        {
            "variant": number, "region": region, "chrom": "chr1", "pos": pos, "ref": "A",
            "alt": alt, "missing_bp": 0,
        }
        for number, region, pos, alt in (
            (0, 0, 50, "C"), (3, 1, 50, "C"), (1, 0, 50, "G"), (4, 1, 50, "G"), (6, 1, 51, "C"),
        )
    ]  # fmt: skip
    pq.write_table(world.rejects_of(2), tmp_path / "rejects")
    with KeyedPlanWriter(tmp_path / "plan", SUBSTITUTIONS, SATURATION_SCORES) as writer:
        writer.add_shard(pa.Table.from_pylist(rows, schema=SUBSTITUTIONS.schema))
    plan = writer.close().with_rejects(tmp_path / "rejects")
    manifest = world.variant_manifest(plan, table=SATURATION_SCORES.format)
    with ShardSink.begin(
        tmp_path / "run", manifest, plan=plan, tracks=bins.make_tracks(), blocks=ONE_BLOCK
    ) as sink:
        columns: dict[str, Any] = dict.fromkeys(sink.schemas["sel"].names, np.arange(5, dtype=F32))
        keys = plan.keys(0)
        columns |= dict(zip(keys.column_names, keys.columns, strict=True))
        sink.write(0, [Piece("sel", "chr1", 49, 51, columns)])
        sink.seal()
    run = open_run(tmp_path / "run")
    frame = run.scan(region="chr1:50-50", stats="SAD", tracks=3).collect()
    keys = ["variant", "region", "chrom", "pos", "ref", "alt"]
    assert frame.columns == [*keys, "SAD_t0003"]
    assert frame["variant"].to_list() == [0, 3, 1, 4]
    assert run.variants.collect().columns == [*keys, "missing_bp"]
    assert (tmp_path / "run/substitutions.parquet").exists()


def test_files_say_where_they_come_from(tmp_path) -> None:
    world.finish(tmp_path / "run", blocks=ONE_BLOCK)
    (path,) = (tmp_path / "run/data/effects/block=sel").glob("chr2_000000099_000000529_000000.*")
    notes = {k.decode(): v.decode() for k, v in pq.read_metadata(path).metadata.items()}
    manifest = world.variant_manifest(world.make_plan())
    assert notes == {
        "cisray.format": "cisray.variant_scores/1",
        "cisray.run_id": manifest.run_id,
        "cisray.manifest_sha256": manifest.digest,
        "cisray.block": "sel",
        "cisray.chrom": "chr2",
        "cisray.start": "99",
        "cisray.end": "529",
        "cisray.statistics": "SAD,logSAD",
        "cisray.bin": "128",
        "cisray.mantissa_bits": "23",
        "cisray.max_relative_error": "0.0",
        "cisray.model_sha256": "ab" * 32,
        "cisray.genome": "toy.fa",
        "cisray.genome_sha256": "cd" * 32,
        "cisray.tracks_sha256": manifest.tracks_sha256,
        "cisray.version": "0.1.0",
    }
    plan = pq.read_metadata(tmp_path / "run/variants.parquet").metadata
    assert plan[b"cisray.format"] == b"cisray.variants/1"


def test_readers_without_our_code_see_every_row(tmp_path) -> None:
    world.finish(tmp_path / "run", blocks=ONE_BLOCK)
    folder = tmp_path / "run/data/effects/block=sel"
    columns = ["variant", "chrom", "pos", "ref", "alt", *world.value_names()]
    owed = sorted(world.expected_rows())
    naive = pl.scan_parquet(folder).select(columns).collect()
    assert sorted(naive.rows()) == owed
    arrow = pq.read_table(folder, columns=columns).to_pydict()
    assert sorted(zip(*arrow.values(), strict=True)) == owed
    # Names of files sort as the plan does on a chromosome whose shards do not overlap.
    assert naive.filter(pl.col("chrom") != "chr2")["variant"].to_list() == [7, 2, 4]


@st.composite
def keyed_plans(draw: st.DrawFn) -> tuple[world.Shards, int]:
    """Variants numbered anyhow, in plan order, cut anyhow, and how many were rejected."""
    places = st.tuples(
        st.integers(0, 2), st.integers(1, 40), st.sampled_from(["A", "AC", "ACGT", "C"])
    )
    drawn = draw(st.lists(places, max_size=8))
    rejected = draw(st.integers(0, 3))
    numbers = draw(st.permutations(range(len(drawn) + rejected)))[: len(drawn)]
    # The FASTA's order is not that of the names.
    names = ("c2", "c10", "c1")
    rows = sorted(
        (chrom, pos, ref, "TG", number)
        for number, (chrom, pos, ref) in zip(numbers, drawn, strict=True)
    )
    shards: list[list[world.Variant]] = []
    for chrom, pos, ref, alt, number in rows:
        if not shards or shards[-1][-1][1] != names[chrom] or draw(st.booleans()):
            shards.append([])
        shards[-1].append((number, names[chrom], pos, ref, alt))
    return tuple(map(tuple, shards)), rejected


def piece_of(shard: tuple[world.Variant, ...], block: str, tracks: list[int]) -> Piece:
    start = min(pos - 1 for _, _, pos, _, _ in shard)
    end = max(pos - 1 + len(ref) for _, _, pos, ref, _ in shard)
    return Piece(block, shard[0][1], start, end, world.columns_of(shard, tracks))


def pieces(shard: tuple[world.Variant, ...]) -> list[Piece]:
    return [piece_of(shard, block, tracks) for block, tracks in world.TWO_BLOCKS.items()]


@settings(max_examples=10, deadline=None)
@given(keyed_plans(), st.randoms(use_true_random=False))
def test_any_plan_in_any_order_with_twins_and_a_break_gives_every_row_once(drawn, random) -> None:
    shards, rejected = drawn
    rows = [variant for shard in shards for variant in shard]
    with TemporaryDirectory() as folder:
        path, plan = Path(folder) / "run", world.write_plan(Path(folder), shards, rejected)
        for is_last in (False, True):
            with world.begin(path, plan=plan) as sink:
                todo = sink.pending()
                random.shuffle(todo)
                for shard in todo if is_last else todo[: len(todo) // 2]:
                    if shard == todo[0]:
                        with pytest.raises(ResultsError, match="lacks the blocks"):
                            sink.write(shard, pieces(shards[shard])[:1])
                    first = sink.write(shard, pieces(shards[shard]))
                    if shard == todo[0]:
                        twin = ShardSink.attach(path).write(shard, pieces(shards[shard]))
                        assert twin == first
                if is_last:
                    assert sink.seal().rows == len(rows)
        frame = open_run(path).scan().collect()
        values = [[float(world.value(row[0], "SAD", t)) for t in (3, 13)] for row in rows]
        columns = ["variant", "chrom", "pos", "ref", "alt"]
        assert frame.select(columns).rows() == rows
        assert frame.select("SAD_t0003", "SAD_t0013").rows() == [tuple(v) for v in values]
        assert frame.sort("variant").select(columns).rows() == sorted(rows)


@pytest.mark.parametrize(("statistics", "most"), [(1, 700), (3, 700), (4, 525), (10, 210)])
def test_files_have_at_most_2100_value_columns(statistics: int, most: int) -> None:
    # 5,313 tracks in assays of 684, 3,991 and 638, as of the human head.
    rows = [
        {
            "track": i, "column": f"t{i:04d}", "assay": assay, "identifier": "", "description": "",
            "clip": None, "scale": None, "sum_stat": None,
        }
        for i, assay in enumerate(["DNASE"] * 684 + ["CHIP"] * 3991 + ["CAGE"] * 638)
    ]  # fmt: skip
    tracks = bins.TrackSet("human", pa.Table.from_pylist(rows, schema=bins.TRACKS.schema))
    blocks = assign_blocks(tracks, statistics)
    assert max(map(len, blocks.values())) <= most
    assert max(map(len, blocks.values())) * statistics <= 2100
    assert sorted(t for members in blocks.values() for t in members) == list(range(5313))
    # No more files than needed: half of the room is used at least.
    assert min(map(len, blocks.values())) > most / 2


def test_a_file_is_copied_without_being_held(tmp_path) -> None:
    source, final = tmp_path / "source", tmp_path / "a/final"
    content = np.random.default_rng(1).bytes(8 << 20)
    source.write_bytes(content)
    tracemalloc.start()
    publish_copy(stored(source), final, staging=tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert final.read_bytes() == content
    assert peak < 1 << 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "source"]
    with pytest.raises(StorageError, match=r"cannot read .*absent"):
        publish_copy(stored(tmp_path / "absent"), final, staging=tmp_path)
