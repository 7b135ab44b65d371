"""Compaction: fewer files, the same rows, and what is refused before anything changes."""

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import store_runs as bins
import store_variants as variants
from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.errors import RunConflict, RunNotFound, StorageError
from cisray.store import compact, directory
from cisray.store.compact import compact_run, plan_compaction
from cisray.store.local_folder import LocalFolder
from cisray.store.rows import Piece
from cisray.store.run import ShardSink
from cisray.store.scan import open_run
from cisray.store.verify import verify_run
from cisray_schemas import RUN_FILES


def names(path: Path) -> set[str]:
    """Every file of a run but its lock, below it."""
    found = (file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    return set(found) - {"_lock"}


def data_files(path: Path) -> set[str]:
    return {name for name in names(path) if name.startswith("data/")}


REGIONS = [
    "chr2",
    "chr2:130-140",
    "chr2:1000-1600",
    "chr2:529-529",
    "chr2:2,305-2,432",
    "HLA-A*01:01",
]


def test_neighbouring_shards_share_a_file_and_every_query_answers_as_before(
    world, tmp_path
) -> None:
    path = tmp_path / "run"
    world.finish(path)
    before = [open_run(path).scan(region=region).collect() for region in REGIONS]
    assert any(frame.height for frame in before[1:-1])
    told, done = plan_compaction(path), []
    assert names(path) == names(path) - {"_history.jsonl"}
    result = compact_run(path, on_merged=lambda *counts: done.append(counts))
    # Three shards in two blocks: the two of chr2 become one.
    assert (result.files_before, result.files, result.shards) == (6, 4, 2)
    assert (told.files, told.files_after, told.shards, told.rows) == (6, 4, 2, result.rows)
    assert done == [(2, 2, sum(world.ROWS[:2]))]
    assert told.bytes_after == pytest.approx(result.bytes, rel=0.2)
    assert result.bytes == sum((path / name).stat().st_size for name in data_files(path))
    assert world.rows_of(path) == world.expected_rows()
    assert data_files(path) == set(open_run(path).files["path"])
    assert open_run(path).verify() == 4
    assert open_run(path).files.select("shard", "last_shard").unique().sort("shard").rows() == [
        (0, 1), (2, 2)
    ]  # fmt: skip
    after = [open_run(path).scan(region=region).collect() for region in REGIONS]
    assert all(old.equals(new) for old, new in zip(before, after, strict=True))


def test_a_compacted_file_says_what_it_holds(tmp_path) -> None:
    variants.finish(tmp_path / "run")
    compact_run(tmp_path / "run")
    (entry,) = open_run(tmp_path / "run").files.filter(shard=0, block="cage").to_dicts()
    # The REF at 130 reaches to base 529, the last variant is at 600 (1-based).
    assert (entry["chrom"], entry["start"], entry["end"], entry["n_rows"]) == ("chr2", 99, 600, 6)
    assert entry["path"].startswith("data/effects/block=cage/chr2_000000099_000000600_000000.")
    file = pq.ParquetFile(tmp_path / "run" / entry["path"])
    notes = {k.decode(): v.decode() for k, v in file.metadata.metadata.items()}
    place = [notes[f"cisray.{key}"] for key in ("block", "chrom", "start", "end", "statistics")]
    assert place == ["cage", "chr2", "99", "600", "SAD,logSAD"]
    assert file.num_row_groups == 1


def test_nothing_to_do_changes_nothing(world, tmp_path) -> None:
    path = tmp_path / "run"
    world.finish(path)
    compact_run(path)
    stamps = {name: (path / name).stat().st_mtime_ns for name in names(path)}
    told, result = plan_compaction(path), compact_run(path)
    assert (told.files, told.files_after, told.shards) == (4, 4, 0)
    assert (result.files_before, result.files, result.shards, result.removed) == (4, 4, 0, 0)
    assert {name: (path / name).stat().st_mtime_ns for name in names(path)} == stamps


def write_tiles(path: Path, tiles: tuple[bins.Tile, ...]) -> list[tuple[str, int, float]]:
    """Seal a run over tiles, of one track; give its rows."""
    plan, tracks, blocks = bins.make_plan(tiles), bins.make_tracks((3,)), {"sel": [3]}
    manifest = bins.make_manifest(
        plan_sha256=plan.sha256, num_shards=plan.num_shards, tracks_sha256=tracks.sha256
    )
    rows = []
    with ShardSink.begin(path, manifest, plan=plan, tracks=tracks, blocks=blocks) as sink:
        for shard, span in sink.plan.spans.items():
            starts = plan.starts(shard)
            made = np.array([bins.value(span.chrom, start, 3) for start in starts], np.float32)
            columns = {"start": starts, "t0003": made}
            sink.write(shard, [Piece("sel", span.chrom, span.start, span.end, columns)])
            rows += [(span.chrom, int(s), float(v)) for s, v in zip(starts, made, strict=True)]
        sink.seal()
    return rows


@settings(max_examples=15, deadline=None)
@given(bins.tilings(), st.integers(1, 20), st.integers(1, 40))
def test_any_plan_keeps_its_rows_and_no_two_files_are_left_that_would_fit(
    tiles, first: int, second: int
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        rows = write_tiles(path, tiles)
        for most in (first, second):
            told = plan_compaction(path, file_rows=most)
            result = compact_run(path, file_rows=most)
            files = open_run(path).files.sort("shard")
            assert files.height == result.files == told.files_after
            assert files["n_rows"].sum() == len(rows)
            assert open_run(path).scan().select("chrom", "start", "t0003").collect().rows() == rows
            pairs = files.with_columns(
                together=pl.col("n_rows") + pl.col("n_rows").shift(-1),
                alike=pl.col("chrom") == pl.col("chrom").shift(-1),
            )
            assert not pairs.filter(pl.col("alike"), pl.col("together") <= most).height
            # What was one file before may be larger; what was put together is not.
            joined = files.filter(pl.col("shard") < pl.col("last_shard"))
            assert (joined["n_rows"] <= max(first, second)).all()
            open_run(path).verify()


def test_missing_values_and_signed_zeros_keep_their_bits(tmp_path) -> None:
    path, blocks = tmp_path / "run", {"sel": list(variants.TRACKS_HELD)}
    owed = np.array([np.nan, -0.0, 0.0, 1e-45, -1e-45, np.nan], np.float32)
    with variants.begin(path, blocks=blocks, config={"partial": ["logSAD"]}) as sink:
        for shard, values in ((0, owed[:4]), (1, owed[4:])):
            (piece,) = variants.pieces_of(shard, blocks)
            sink.write(shard, [piece._replace(columns=piece.columns | {"logSAD_t0005": values})])
        sink.write(2, variants.pieces_of(2, blocks))
        sink.seal()
    compact_run(path)
    column = open_run(path).scan(5, "chr2", "logSAD").collect()["logSAD_t0005"]
    assert column.is_null().to_list() == [True, False, False, False, False, True]
    assert column.drop_nulls().to_numpy().tobytes() == owed[1:5].tobytes()


def swapped(table: pa.Table) -> pa.Table:
    return table.take([1, 0, *range(2, table.num_rows)])


def with_column(table: pa.Table, name: str, change) -> pa.Table:
    values = change(table[name].to_numpy().copy())
    at = table.column_names.index(name)
    return table.set_column(at, table.schema.field(name), pa.array(values))


def nudged(values: np.ndarray) -> np.ndarray:
    values[3] = np.nextafter(values[3], np.float32(np.inf), dtype=np.float32)
    return values


def moved(values: np.ndarray) -> np.ndarray:
    values[3] += 1
    return values


HARM = {
    "rows swapped": swapped,
    "a row lost": lambda table: table.slice(1),
    "a row twice": lambda table: pa.concat_tables([table, table.slice(0, 1)]),
    "a bit of a value": lambda table: with_column(table, "t0003", nudged),
    "one base": lambda table: with_column(table, "start", moved),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM.keys())
def test_a_new_file_of_other_rows_is_found_and_nothing_changes(tmp_path, monkeypatch, harm) -> None:
    path, encode = tmp_path / "run", compact.encode_pieces
    bins.finish(path)
    before = names(path)

    def wrong(pieces, schema, rows, pages, notes):
        table = (
            harm(pa.concat_tables(pieces)) if "t0003" in schema.names else pa.concat_tables(pieces)
        )
        return encode(iter([table]), schema, rows, pages, notes)

    monkeypatch.setattr(compact, "encode_pieces", wrong)
    with pytest.raises(StorageError, match="just written, holds other rows than the files"):
        compact_run(path)
    assert names(path) == before
    assert bins.rows_of(path) == bins.expected_rows()


def test_files_joined_in_another_order_than_the_plans_are_found(tmp_path, monkeypatch) -> None:
    path, merge = tmp_path / "run", compact._merge
    bins.finish(path)
    monkeypatch.setattr(compact, "_merge", lambda run, group: reversed_files(merge(run, group)))
    with pytest.raises(StorageError, match="or than the plan"):
        compact_run(path)
    assert bins.rows_of(path) == bins.expected_rows()


def reversed_files(merge: compact._Merge) -> compact._Merge:
    old = {block: list(reversed(files)) for block, files in merge.old.items()}
    return compact._Merge(merge.span, merge.shards, old)


def test_a_damaged_file_is_named_and_nothing_changes(world, tmp_path) -> None:
    path = tmp_path / "run"
    world.finish(path)
    file = path / open_run(path).files.filter(shard=1, block="other")["path"][0]
    content = bytearray(file.read_bytes())
    content[20] ^= 1
    file.write_bytes(content)
    before = names(path)
    with pytest.raises(StorageError, match=f"{file.name} is damaged: its sha256 is .* recorded"):
        compact_run(path)
    assert names(path) == before
    file.unlink()
    with pytest.raises(StorageError, match=f"{file.name} is missing"):
        compact_run(path)


def test_the_receipts_are_kept_and_the_run_is_done(world, tmp_path) -> None:
    path = tmp_path / "run"
    with world.begin(path) as sink:
        for shard in sink.pending():
            info = {"host": f"host{shard}", "device_s": 1.5}
            sink.write(shard, world.pieces_of(shard, sink.blocks), attempt_info=info)
        sink.seal()
        receipts = sink.receipts()
    compact_run(path)
    assert not (path / "_commits").exists()
    with world.begin(path) as sink:
        assert sink.receipts() == receipts
        assert sink.pending() == []
        assert sink.seal().files == 4
    assert [receipt.info["host"] for receipt in receipts] == ["host0", "host1", "host2"]
    assert open_run(path).shards == [0, 1, 2]
    (path / "_history.jsonl").write_text("{")
    with pytest.raises(StorageError, match=r"_history\.jsonl is damaged .*No value of the run"):
        ShardSink.attach(path).receipts()


def test_a_restart_discards_what_was_compacted(world, tmp_path) -> None:
    path = tmp_path / "run"
    world.finish(path)
    compact_run(path)
    with world.begin(path, restart=True, mantissa_bits=10) as sink:
        assert sink.pending() == [0, 1, 2]
        assert sink.receipts() == []
        assert not data_files(path)
        assert not (path / "_history.jsonl").exists()


def test_a_discarded_history_does_not_come_back(world, tmp_path) -> None:
    # A --restart that was killed after its first step, and then thought better of.
    path = tmp_path / "run"
    world.finish(path)
    compact_run(path)
    (path / "_SUCCESS").unlink()
    world.finish(path)
    assert world.rows_of(path) == world.expected_rows()
    assert not (path / "_history.jsonl").exists()
    assert {receipt.attempt for receipt in ShardSink.attach(path).receipts()} == set(
        open_run(path).files["attempt"]
    )


def test_one_at_a_time(world, tmp_path) -> None:
    path = tmp_path / "run"
    world.finish(path)

    def again(*_: int) -> None:
        # Readers go on meanwhile.
        assert world.rows_of(path) == world.expected_rows()
        with pytest.raises(RunConflict, match=f"process {os.getpid()} on "):
            compact_run(path)
        with pytest.raises(RunConflict):
            world.begin(path)

    compact_run(path, on_merged=again)
    assert world.rows_of(path) == world.expected_rows()


def test_a_query_from_before_says_that_the_run_was_compacted(world, tmp_path) -> None:
    world.finish(tmp_path / "run")
    run = open_run(tmp_path / "run")
    compact_run(tmp_path / "run")
    with pytest.raises(StorageError, match=r"was compacted, .* Open it again\."):
        run.scan()


def test_what_an_interrupt_leaves_is_removed_first(world, tmp_path) -> None:
    path = tmp_path / "run"
    world.finish(path)
    one = path / open_run(path).files["path"][0]
    shutil.copy(one, one.with_name("chr2_0_1.00000000.parquet"))
    assert plan_compaction(path).leftovers == 1
    assert compact_run(path).removed == 1
    assert data_files(path) == set(open_run(path).files["path"])


def test_an_interrupt_before_the_list_is_replaced_leaves_nothing(world, tmp_path) -> None:
    path = tmp_path / "run"
    world.finish(path)
    before = names(path)

    def interrupt(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compact_run(path, on_merged=interrupt)
    assert names(path) == before
    with world.begin(path) as sink:
        assert sink.pending() == []


def test_a_disk_without_room_is_told_before_anything_is_written(
    world, tmp_path, monkeypatch
) -> None:
    world.finish(tmp_path / "run")
    before = names(tmp_path / "run")
    monkeypatch.setattr(LocalFolder, "free_bytes", lambda self: 100)
    with pytest.raises(StorageError, match=r"about [\d,]+ bytes, and 100 are free"):
        compact_run(tmp_path / "run")
    assert names(tmp_path / "run") == before


@pytest.mark.parametrize("command", [compact_run, plan_compaction])
def test_only_sealed_runs_are_compacted(world, tmp_path, command) -> None:
    with pytest.raises(RunNotFound, match="holds no cisray run"):
        command(tmp_path / "typo")
    assert not (tmp_path / "typo").exists()
    with world.begin(tmp_path / "run") as sink:
        sink.write(0, world.pieces_of(0, sink.blocks))
    with pytest.raises(RunNotFound, match="is not sealed"):
        command(tmp_path / "run")


def test_a_run_without_rows_has_nothing_to_compact(tmp_path) -> None:
    plan = variants.write_plan(tmp_path, shards=(), rejected=3)
    with variants.begin(tmp_path / "run", plan=plan) as sink:
        sink.seal()
    assert compact_run(tmp_path / "run").files == 0
    assert open_run(tmp_path / "run").scan().collect().height == 0


def test_lists_of_files_from_before_compaction_are_read(world, tmp_path) -> None:
    path = tmp_path / "run"
    world.finish(path)
    listed = pq.read_table(path / "_manifest.parquet").drop_columns(["last_shard"])
    pq.write_table(listed, path / "_manifest.parquet")
    assert world.rows_of(path) == world.expected_rows()
    assert open_run(path).files["last_shard"].to_list() == [0, 1, 2, 0, 1, 2]
    compact_run(path)
    assert world.rows_of(path) == world.expected_rows()
    assert pq.read_table(path / "_manifest.parquet").schema.names == RUN_FILES.schema.names


def test_a_compacted_run_passes_verification_and_damage_of_it_is_named(world, tmp_path) -> None:
    path = tmp_path / "run"
    world.finish(path)
    compact_run(path)
    sound = verify_run(path)
    assert sound.problems == ()
    assert sound.rows == open_run(path).plan.rows
    joined = open_run(path).files.filter(pl.col("last_shard") > pl.col("shard"))
    name = joined["path"][0]
    whole = (path / name).read_bytes()
    at = len(whole) // 2
    (path / name).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert name in {problem.file for problem in verify_run(path).problems}
    (path / name).unlink()
    found = verify_run(path).problems
    assert {(problem.kind, problem.file) for problem in found} == {("missing-file", name)}


def test_files_from_before_they_told_their_error_are_sound(world, tmp_path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        told = directory.run_metadata
        patch.setattr(
            directory,
            "run_metadata",
            lambda *of: {k: v for k, v in told(*of).items() if k != "cisray.max_relative_error"},
        )
        world.finish(tmp_path / "run")
    assert verify_run(tmp_path / "run").problems == ()
    compact_run(tmp_path / "run")
    assert verify_run(tmp_path / "run").problems == ()
