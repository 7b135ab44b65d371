"""The protocol of a run directory: begin, pending, write, seal, and every refusal."""

import json
import os
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import store_runs as bins
from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.errors import ResultsError, RunConflict, RunIncomplete, RunNotFound, StorageError
from cisray.store.rows import Piece
from cisray.store.run import ShardSink
from cisray.store.scan import open_run


def data_files(path: Path) -> list[Path]:
    return sorted((path / "data").rglob("*.parquet"))


@pytest.mark.parametrize("blocks", [bins.TWO_BLOCKS, {"sel": list(bins.TRACKS_HELD)}])
def test_a_run_comes_back_value_for_value(world, tmp_path, blocks) -> None:
    with world.begin(tmp_path / "run", blocks=blocks) as sink:
        assert sink.pending() == [0, 1, 2]
        for shard in (2, 0, 1):
            receipt = sink.write(
                shard, world.pieces_of(shard, blocks), attempt_info={"device": "cpu"}
            )
            assert receipt.n_rows == world.ROWS[shard]
        assert sink.pending() == []
        summary = sink.seal()
    # One file per shard and block.
    assert (summary.rows, summary.shards) == (sum(world.ROWS), 3)
    assert summary.files == 3 * len(blocks)
    assert summary.bytes == sum(path.stat().st_size for path in data_files(tmp_path / "run"))
    assert world.rows_of(tmp_path / "run") == world.expected_rows()


def test_ten_bits_are_within_the_promised_error(world, tmp_path) -> None:
    world.finish(tmp_path / "run", mantissa_bits=10)
    got = np.array([row[world.FIRST_VALUE :] for row in world.rows_of(tmp_path / "run")])
    exact = np.array([row[world.FIRST_VALUE :] for row in world.expected_rows()])
    error = np.abs(got - exact) / exact
    # 2^-11 = 4.88e-4; some of these values do need rounding.
    assert 0 < error.max() <= 4.9e-4


def test_files_say_where_they_come_from(tmp_path) -> None:
    bins.finish(tmp_path / "run")
    path = next((tmp_path / "run/data/tracks/block=cage/chrom=chr2").glob("chr2_000002048_*"))
    assert path.name.startswith("chr2_000002048_000002432.")
    manifest = bins.make_manifest()
    notes = {k.decode(): v.decode() for k, v in pq.read_metadata(path).metadata.items()}
    assert notes == {
        "cisray.format": "cisray.genome_tracks/1",
        "cisray.run_id": manifest.run_id,
        "cisray.manifest_sha256": manifest.digest,
        "cisray.block": "cage",
        "cisray.chrom": "chr2",
        "cisray.start": "2048",
        "cisray.end": "2432",
        "cisray.bin": "128",
        "cisray.mantissa_bits": "23",
        "cisray.max_relative_error": "0.0",
        "cisray.model_sha256": "ab" * 32,
        "cisray.genome": "toy.fa",
        "cisray.genome_sha256": "cd" * 32,
        "cisray.tracks_sha256": manifest.tracks_sha256,
        "cisray.version": "0.1.0",
    }


def test_a_sealed_run_holds_nothing_but_itself(world, tmp_path) -> None:
    path = tmp_path / "run"
    world.finish(path)
    assert sorted(os.listdir(path)) == [
        *("_SUCCESS", "_commits", "_lock", "_manifest.parquet", "data"),
        *sorted([*world.PLAN_FILES, "run.json", "summary.json", "tracks.parquet"]),
    ]
    begun = json.loads((path / "run.json").read_bytes())["begun"]
    assert (path / "_SUCCESS").read_text() == begun
    listed = pl.read_parquet(path / "_manifest.parquet")
    assert sorted(str(path / p) for p in listed["path"]) == [str(p) for p in data_files(path)]


@pytest.mark.parametrize("blocks", [{"sel": list(bins.TRACKS_HELD)}])
def test_readers_without_our_code_see_every_row(tmp_path, blocks) -> None:
    bins.finish(tmp_path / "run", blocks=blocks)
    folder = tmp_path / "run/data/tracks"
    columns = ["chrom", "start", "t0003", "t0005", "t0008", "t0013"]
    owed = sorted((row[0], row[1], *row[3:]) for row in bins.expected_rows())
    naive = pl.scan_parquet(folder, hive_partitioning=True).select(columns).collect()
    assert sorted(naive.rows()) == owed
    arrow = pq.read_table(folder)
    arrow = arrow.set_column(
        arrow.column_names.index("chrom"), "chrom", arrow["chrom"].cast(pa.string())
    )
    assert sorted(pl.DataFrame(arrow.select(columns)).rows()) == owed


def test_a_resumed_run_does_what_is_missing_only(world, tmp_path) -> None:
    path = tmp_path / "run"
    with world.begin(path) as sink:
        sink.write(1, world.pieces_of(1, sink.blocks))
    before = data_files(path)
    with world.begin(path, created="later", provenance={"host": "other"}) as sink:
        assert sink.pending() == [0, 2]
    world.finish(path)
    assert set(before) < set(data_files(path))
    assert world.rows_of(path) == world.expected_rows()


def test_a_sealed_run_is_left_alone(world, tmp_path) -> None:
    path = tmp_path / "run"
    world.finish(path)
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*") if p.name != "_lock"}
    with world.begin(path) as sink:
        assert sink.pending() == []
        first, second = sink.seal(), sink.seal()
    assert first == second
    assert first.rows == sum(world.ROWS)
    after = {p: p.stat().st_mtime_ns for p in path.rglob("*") if p.name != "_lock"}
    assert after == before


def test_sealing_names_what_is_missing_and_why(world, tmp_path) -> None:
    with world.begin(tmp_path / "run") as sink:
        sink.write(1, world.pieces_of(1, sink.blocks))
        sink.record_failure(2, "CUDA out of memory", attempts=3)
        with pytest.raises(RunIncomplete, match=r"2 of 3 shards are missing: 0, 2 \(CUDA out"):
            sink.seal()
        with pytest.raises(RunNotFound, match="not sealed"):
            open_run(tmp_path / "run")
        for shard in sink.pending():
            sink.write(shard, world.pieces_of(shard, sink.blocks))
        assert list((tmp_path / "run/_failed").iterdir()) == []
        sink.seal()


def test_a_worker_cannot_seal(world, tmp_path) -> None:
    with world.begin(tmp_path / "run"), pytest.raises(ValueError, match="driver"):
        ShardSink.attach(tmp_path / "run").seal()


def test_another_identity_is_refused_with_its_differences(world, tmp_path) -> None:
    world.begin(tmp_path / "run").close()
    with pytest.raises(RunConflict) as caught:
        world.begin(
            tmp_path / "run",
            config={"precision": "bfloat16", "regions": {"bed": None, "pad": 5}},
            model_sha256="ef" * 32,
        )
    text = str(caught.value)
    assert 'config.precision: "float32" there, "bfloat16" now' in text
    assert "config.regions.pad: 0 there, 5 now" in text
    assert "model_sha256" in text
    assert "genome_sha256" not in text
    assert "--restart" in text


def test_restart_discards_a_run_and_nothing_else(world, tmp_path) -> None:
    path = tmp_path / "run"
    world.finish(path)
    (tmp_path / "beside.txt").write_text("kept")
    with world.begin(path, restart=True, model_sha256="ef" * 32) as sink:
        assert sink.pending() == [0, 1, 2]
        assert data_files(path) == []
        assert not (path / "_SUCCESS").exists()
    assert (tmp_path / "beside.txt").read_text() == "kept"


@pytest.mark.parametrize(
    "name", ["notes.txt", "data/mine.csv", "_commits/mine.parquet", "substitutions.parquet"]
)
def test_restart_refuses_where_something_foreign_lies(world, tmp_path, name) -> None:
    path = tmp_path / "run"
    world.finish(path)
    (path / name).write_text("precious")
    before = sorted(path.rglob("*"))
    with pytest.raises(RunConflict, match=name):
        world.begin(path, restart=True)
    assert sorted(path.rglob("*")) == before


@pytest.mark.parametrize("restart", [False, True])
def test_a_folder_that_is_no_run_is_never_touched(world, tmp_path, restart) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(RunConflict, match=r"not a cisray run.*thesis\.tex"):
        world.begin(tmp_path, restart=restart)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_file_in_place_of_the_folder_is_refused(world, tmp_path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(RunConflict, match="not a cisray run"):
        world.begin(tmp_path / "run")


def test_an_empty_folder_is_taken(world, tmp_path) -> None:
    with world.begin(tmp_path) as sink:
        assert sink.pending() == [0, 1, 2]


def test_attach_needs_a_run(tmp_path) -> None:
    with pytest.raises(RunNotFound, match=r"no run\.json"):
        ShardSink.attach(tmp_path)


def test_a_plan_changed_behind_the_run_is_noticed(tmp_path) -> None:
    path = tmp_path / "run"
    bins.begin(path).close()
    table = pl.read_parquet(path / "windows.parquet")
    table.with_columns(bins=pl.col("bins").replace(3, 2)).write_parquet(path / "windows.parquet")
    with pytest.raises(StorageError, match=r"windows\.parquet is not the one"):
        ShardSink.attach(path)


def test_a_damaged_manifest_is_named(world, tmp_path) -> None:
    path = tmp_path / "run"
    world.begin(path).close()
    told = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**told, "num_shards": -1}))
    with pytest.raises(StorageError, match=r"run\.json is damaged"):
        world.begin(path)


@pytest.mark.parametrize("content", ['{"mine": 1}', "[]", "not json"])
def test_a_strangers_run_json_is_left_alone(world, tmp_path, content: str) -> None:
    (tmp_path / "run/data").mkdir(parents=True)
    precious = tmp_path / "run/data/precious.parquet"
    precious.write_text("precious")
    (tmp_path / "run/run.json").write_text(content)
    for restart in (False, True):
        with pytest.raises(RunConflict, match="is not a cisray run and is left as it is"):
            world.begin(tmp_path / "run", restart=restart)
    assert precious.read_text() == "precious"


def test_a_writer_of_a_run_that_was_discarded_adds_nothing(world, tmp_path) -> None:
    """Even of the same identity: its values may come from before the reason for the restart."""
    path = tmp_path / "run"
    world.begin(path).close()
    orphan = ShardSink.attach(path)
    with world.begin(path, restart=True) as sink:
        with pytest.raises(StorageError):
            orphan.write(0, world.pieces_of(0, sink.blocks))
        assert sink.pending() == [0, 1, 2]
        # Nor does a record that it got in before the door was shut.
        receipt = sink.write(0, world.pieces_of(0, sink.blocks))
        record = bins.record(path, 0)
        record.write_text(receipt.model_copy(update={"begun": "before"}).model_dump_json())
        assert sink.pending() == [0, 1, 2]
        with pytest.raises(RunIncomplete, match="0, 1, 2"):
            sink.seal()


def test_a_sealed_run_with_a_lost_file_is_named(world, tmp_path) -> None:
    path = tmp_path / "run"
    world.finish(path)
    lost = data_files(path)[0]
    lost.unlink()
    with pytest.raises(StorageError, match=f"is sealed, but its file .*{lost.name} is missing"):
        world.begin(path)
    world.begin(path, restart=True).close()


def test_verify_finds_a_flipped_bit(world, tmp_path) -> None:
    path = tmp_path / "run"
    world.finish(path)
    run = open_run(path)
    assert run.verify() == len(data_files(path))
    file = data_files(path)[2]
    damaged = bytearray(file.read_bytes())
    damaged[40] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(StorageError, match=f"{file.name} is damaged: its sha256 is"):
        run.verify()


def test_blocks_must_hold_each_track_once(world, tmp_path) -> None:
    with pytest.raises(ValueError, match="every track"):
        world.begin(tmp_path / "run", blocks={"a": [3, 5], "b": [5, 8, 13]})


def change(shard: int, block: str, **replaced: object) -> list[Piece]:
    pieces = {piece.block: piece for piece in bins.pieces_of(shard, bins.TWO_BLOCKS)}
    pieces[block] = pieces[block]._replace(**replaced)
    return list(pieces.values())


def columns_with(name: str, values: object) -> dict[str, object]:
    columns = bins.columns_of(1, bins.TWO_BLOCKS["cage"])
    return {**columns, name: values}


F32 = np.float32
WRONG_COLUMNS = {
    "one row too few": ({k: v[:-1] for k, v in columns_with("x", np.ones(3)).items() if k != "x"},
                        r"\(2,\) rows, its plan owes \(3,\)"),
    "a bin that is not owed": (columns_with("start", np.array([2048, 2176, 2432], np.int32)),
                               r"start 2432 in row 2 where the plan has 2304 \(0-based\), chr2"),
    "unsorted": (columns_with("start", np.array([2176, 2048, 2304], np.int32)), "2 rows differ"),
    "a bin twice": (columns_with("start", np.array([2048, 2048, 2304], np.int32)), "1 rows differ"),
    "off the grid": (columns_with("start", np.array([2048, 2177, 2304], np.int32)),
                     "the start 2177 in row 1"),
    "float starts": (columns_with("start", np.array([2048.0, 2176, 2304])), "float64"),
    "another column": (columns_with("t0099", np.ones(3, F32)), "t0099"),
    "double precision": (columns_with("t0008", np.ones(3)), "float64"),
    "two axes": (columns_with("t0008", np.ones((3, 1), F32)), r"\(3, 1\)"),
    "other order": (dict(reversed(columns_with("start", np.array([2048, 2176, 2304])).items())),
                    "another order"),
    # Row 1 of shard 1 is the bin at 2176 (0-based), 2,177-2,304 as browsers write it.
    "NaN": (columns_with("t0008", np.array([1, np.nan, np.inf], F32)),
            r"2 of 3 values of column t0008 .* \(nan\) at chr2:2,177-2,304"),
    "null": (pa.table({"start": pa.array([2048, 2176, 2304], pa.int32()),
                       "t0003": pa.array([1, None, 2], pa.float32()),
                       "t0008": pa.array([1, 1, 2], pa.float32())}), "nulls in t0003"),
}  # fmt: skip


@pytest.mark.parametrize(("columns", "message"), WRONG_COLUMNS.values(), ids=WRONG_COLUMNS.keys())
def test_rows_that_the_plan_does_not_owe_are_refused(tmp_path, columns, message) -> None:
    with bins.begin(tmp_path / "run") as sink:
        with pytest.raises(ResultsError, match=message):
            sink.write(1, change(1, "cage", columns=columns))
        assert data_files(tmp_path / "run") == []
        assert not bins.staged_files(tmp_path / "run")
        assert sink.pending() == [0, 1, 2]


@pytest.mark.parametrize("wrong", [{"chrom": "chr3"}, {"start": 2049}, {"end": 2560}])
def test_a_piece_for_another_place_is_refused(tmp_path, wrong) -> None:
    with bins.begin(tmp_path / "run") as sink, pytest.raises(ResultsError, match="in the plan"):
        sink.write(1, change(1, "other", **wrong))


def test_blocks_missing_twice_or_unknown_are_refused(world, tmp_path) -> None:
    pieces = list(world.pieces_of(1, world.TWO_BLOCKS))
    with world.begin(tmp_path / "run") as sink:
        with pytest.raises(ResultsError, match=r"lacks the blocks \['other'\]"):
            sink.write(1, pieces[:1])
        with pytest.raises(ResultsError, match="'cage' twice"):
            sink.write(1, [*pieces, pieces[0]])
        with pytest.raises(ResultsError, match="'sel' twice or out"):
            sink.write(1, [pieces[0]._replace(block="sel")])
        with pytest.raises(ResultsError, match="shard 7 owes no rows"):
            sink.write(7, pieces)
        assert data_files(tmp_path / "run") == []


def test_threads_that_race_for_a_shard_leave_one_attempt(world, tmp_path) -> None:
    with world.begin(tmp_path / "run"):
        barrier, receipts = threading.Barrier(4), []

        def work() -> None:
            worker = ShardSink.attach(tmp_path / "run")
            barrier.wait()
            receipts.append(worker.write(0, world.pieces_of(0, worker.blocks)))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(receipts) == 4
        assert len({receipt.attempt for receipt in receipts}) == 1
        named = {tmp_path / "run" / file.path for file in receipts[0].files}
        assert set(data_files(tmp_path / "run")) == named


@pytest.mark.parametrize("harm", ["delete", "truncate", "record"])
def test_a_shard_whose_files_are_gone_is_written_again(world, tmp_path, harm) -> None:
    path = tmp_path / "run"
    with world.begin(path) as sink:
        receipt = sink.write(0, world.pieces_of(0, sink.blocks))
        file = path / receipt.files[1].path
        if harm == "delete":
            file.unlink()
        elif harm == "truncate":
            file.write_bytes(file.read_bytes()[:-1])
        else:
            bins.record(path, 0).write_text("{")
        assert sink.pending() == [0, 1, 2]
    world.finish(path)
    assert world.rows_of(path) == world.expected_rows()
    # 3 shards x 2 blocks, the torn attempt swept.
    assert len(data_files(path)) == 6


def test_sealing_looks_into_the_footers(world, tmp_path) -> None:
    path = tmp_path / "run"
    with world.begin(path) as sink:
        for shard in sink.pending():
            receipt = sink.write(shard, world.pieces_of(shard, sink.blocks))
        file = path / receipt.files[0].path
        damaged = bytearray(file.read_bytes())
        damaged[-4:] = b"XXXX"
        file.write_bytes(damaged)
        with pytest.raises(StorageError, match="is damaged"):
            sink.seal()
        assert (path / "_staging").exists()


def test_sealing_compares_records_with_the_plan(world, tmp_path) -> None:
    path = tmp_path / "run"
    with world.begin(path) as sink:
        for shard in sink.pending():
            sink.write(shard, world.pieces_of(shard, sink.blocks))
        stored = bins.record(path, 1)
        record = json.loads(stored.read_text())
        for file in record["files"]:
            file["n_rows"] += 1
        stored.write_text(json.dumps(record))
        with pytest.raises(RunIncomplete, match=f"shard 1 .* owes {world.ROWS[1]} rows"):
            sink.seal()


def test_a_writer_that_outlived_the_seal_cannot_publish(world, tmp_path) -> None:
    path = tmp_path / "run"
    world.begin(path).close()
    late = ShardSink.attach(path)
    world.finish(path)
    before = data_files(path)
    with pytest.raises(StorageError):
        late.write(0, world.pieces_of(0, late.blocks))
    assert data_files(path) == before
    assert world.rows_of(path) == world.expected_rows()


@settings(max_examples=12, deadline=None)
@given(bins.tilings(), st.randoms(use_true_random=False))
def test_any_plan_in_any_order_with_a_break_gives_every_owed_bin_once(tiles, random) -> None:
    owed = [
        (chrom, start + 128 * bin_, float(bins.value(chrom, start + 128 * bin_, 3)))
        for _, _, chrom, start, count, scored in tiles
        if scored
        for bin_ in range(count)
    ]
    plan, tracks, blocks = bins.make_plan(tiles), bins.make_tracks((3,)), {"sel": [3]}
    manifest = bins.make_manifest(
        plan_sha256=plan.sha256, num_shards=plan.num_shards, tracks_sha256=tracks.sha256
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        for is_last in (False, True):
            with ShardSink.begin(path, manifest, plan=plan, tracks=tracks, blocks=blocks) as sink:
                todo = sink.pending()
                random.shuffle(todo)
                for shard in todo if is_last else todo[: len(todo) // 2]:
                    starts = sorted(
                        start + 128 * bin_
                        for number, _, _, start, count, scored in tiles
                        if number == shard and scored
                        for bin_ in range(count)
                    )
                    chrom = next(tile[2] for tile in tiles if tile[0] == shard)
                    made = [bins.value(chrom, start, 3) for start in starts]
                    columns = {"start": np.array(starts), "t0003": np.array(made, np.float32)}
                    sink.write(shard, [Piece("sel", chrom, starts[0], starts[-1] + 128, columns)])
                if is_last:
                    assert sink.seal().rows == len(owed)
        assert open_run(path).scan().select("chrom", "start", "t0003").collect().rows() == owed


def test_sealing_counts_a_shard_of_another_size_as_missing(world, tmp_path) -> None:
    path = tmp_path / "run"
    with world.begin(path) as sink:
        for shard in sink.pending():
            receipt = sink.write(shard, world.pieces_of(shard, sink.blocks))
        file = path / receipt.files[0].path
        # Appended before the whole file again, so that the footer itself still reads well.
        file.write_bytes(file.read_bytes() * 2)
        with pytest.raises(RunIncomplete, match="1 of 3 shards are missing: 2"):
            sink.seal()


def test_a_tilde_and_a_relative_path_mean_one_folder(world, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    world.finish(Path("~/run"))
    assert (tmp_path / "run/_SUCCESS").exists()
    frame = open_run("run").scan()
    monkeypatch.chdir("/")
    heights = {frame.collect().height, open_run("~/run").scan().collect().height}
    assert heights == {sum(world.ROWS)}
