"""Delta tables read back with deltalake: the rows of `scan`, and what the log says of files."""

import json
import os
from pathlib import Path

import polars as pl
import pytest
import store_runs as bins
import store_variants as variants
from polars.testing import assert_frame_equal

from cisray.errors import ConfigError, StorageError
from cisray.store.compact import compact_run
from cisray.store.export import staging
from cisray.store.scan import Run, open_run

deltalake = pytest.importorskip("deltalake")
from cisray.store.export.delta import write_delta  # noqa: E402


def export(run: Path, out: Path) -> int:
    with staging.staged_folder(out) as folder:
        return write_delta(open_run(run), folder)


def table(folder: Path) -> pl.DataFrame:
    """What deltalake reads, which must be what Polars reads by itself."""
    read = pl.DataFrame(deltalake.DeltaTable(folder).to_pyarrow_table())
    polars = pl.scan_delta(str(folder)).select(read.columns).collect()
    assert_frame_equal(polars, read, check_row_order=False, check_exact=True)
    return read


def sorted_rows(frame: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    return frame.with_columns(pl.col("chrom").cast(pl.String)).sort(keys)


@pytest.mark.parametrize("compacted", [False, True])
def test_tables_hold_the_rows_of_the_run(world, tmp_path, compacted: bool) -> None:
    world.finish(tmp_path / "run")
    if compacted:
        compact_run(tmp_path / "run")
    assert export(tmp_path / "run", tmp_path / "out") == sum(world.ROWS)
    assert {path.name for path in tmp_path.iterdir()} == {"run", "out"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"cage", "other", "tracks"}
    run = open_run(tmp_path / "run")
    keys = ["chrom", "start"] if world is bins else ["variant"]
    for block, tracks in world.TWO_BLOCKS.items():
        owed = run.scan(tracks=tracks).collect()
        found = table(tmp_path / "out" / block)
        assert found.height == sum(world.ROWS)
        columns = [name for name in owed.columns if name != "end"]
        owed, found = (sorted_rows(frame.select(columns), keys) for frame in (owed, found))
        assert_frame_equal(found, owed, check_exact=True)
    tracks = table(tmp_path / "out" / "tracks")
    assert tracks["description"].to_list() == list(bins.DESCRIPTIONS)
    assert tracks["block"].to_list() == ["cage", "other", "cage", "other"]


def actions(folder: Path) -> list[dict]:
    lines = [
        json.loads(line)
        for file in sorted((folder / "_delta_log").glob("*.json"))
        for line in file.read_text().splitlines()
    ]
    return [line["add"] for line in lines if "add" in line]


def test_the_log_says_where_rows_lie(tmp_path) -> None:
    bins.finish(tmp_path / "bins")
    export(tmp_path / "bins", tmp_path / "of_bins")
    told = {
        add["path"].rpartition("/")[2]: (add["partitionValues"], json.loads(add["stats"]))
        for add in actions(tmp_path / "of_bins/cage")
    }
    assert {path: place["chrom"] for path, (place, _) in told.items()} == {
        "000000.parquet": "chr2", "000001.parquet": "chr2", "000002.parquet": "HLA-A*01:01"
    }  # fmt: skip
    stats = told["000001.parquet"][1]
    # Bins 2048, 2176 and 2304: the largest start, not the end.
    assert (stats["numRecords"], stats["minValues"], stats["maxValues"]) == (
        3, {"start": 2048}, {"start": 2304}
    )  # fmt: skip
    variants.finish(tmp_path / "variants")
    export(tmp_path / "variants", tmp_path / "of_variants")
    (stats,) = (
        json.loads(add["stats"])
        for add in actions(tmp_path / "of_variants/other")
        if add["path"] == "000001.parquet"
    )
    assert (stats["minValues"], stats["maxValues"]) == (
        {"chrom": "chr2", "pos": 140}, {"chrom": "chr2", "pos": 600}
    )  # fmt: skip


def test_files_are_those_of_the_run_byte_for_byte(world, tmp_path) -> None:
    world.finish(tmp_path / "run")
    export(tmp_path / "run", tmp_path / "out")
    for row in open_run(tmp_path / "run").files.iter_rows(named=True):
        (copy,) = (tmp_path / "out" / row["block"]).rglob(f"{row['shard']:06d}.parquet")
        assert copy.read_bytes() == (tmp_path / "run" / row["path"]).read_bytes()


def test_tables_say_where_they_come_from(tmp_path) -> None:
    bins.finish(tmp_path / "run", mantissa_bits=10)
    export(tmp_path / "run", tmp_path / "out")
    about = deltalake.DeltaTable(tmp_path / "out/cage").metadata()
    manifest = open_run(tmp_path / "run").manifest
    assert about.name == f"{manifest.run_id}/cage"
    assert about.partition_columns == ["chrom"]
    assert about.configuration["cisray_model_sha256"] == "ab" * 32
    assert about.configuration["cisray_mantissa_bits"] == "10"
    assert about.configuration["delta.dataSkippingStatsColumns"] == "start"


def test_a_run_without_rows_is_an_empty_table(tmp_path) -> None:
    plan = variants.write_plan(tmp_path, shards=(), rejected=2)
    with variants.begin(tmp_path / "run", plan=plan) as sink:
        sink.seal()
    assert export(tmp_path / "run", tmp_path / "out") == 0
    assert table(tmp_path / "out/cage").columns[-1] == "logSAD_t0008"
    assert table(tmp_path / "out/cage").height == 0


def test_a_damaged_file_leaves_nothing(tmp_path) -> None:
    bins.finish(tmp_path / "run")
    file = tmp_path / "run" / open_run(tmp_path / "run").files["path"][1]
    content = bytearray(file.read_bytes())
    content[9] ^= 4
    file.write_bytes(content)
    with pytest.raises(StorageError, match=f"{file.name} is damaged"):
        export(tmp_path / "run", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_a_folder_that_is_there_is_left_alone(tmp_path) -> None:
    bins.finish(tmp_path / "run")
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        export(tmp_path / "run", tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


def test_a_folder_that_appears_meanwhile_is_left_alone(tmp_path) -> None:
    def write() -> None:
        with staging.staged_folder(tmp_path / "out") as folder:
            (folder / "file").write_text("ours")
            (tmp_path / "out").write_text("theirs")

    with pytest.raises(ConfigError, match="exists already"):
        write()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"out": "theirs"}


def test_chromosomes_are_told_apart_by_their_partition(tmp_path) -> None:
    bins.finish(tmp_path / "run")
    export(tmp_path / "run", tmp_path / "out")
    name = "HLA-A*01:01"
    chosen = deltalake.DeltaTable(tmp_path / "out/cage").to_pyarrow_table(
        filters=[("chrom", "=", name)]
    )
    polars = pl.scan_delta(str(tmp_path / "out/cage")).filter(pl.col("chrom") == name).collect()
    assert sorted(polars["start"]) == sorted(chosen["start"].to_pylist())
    run: Run = open_run(tmp_path / "run")
    owed = run.scan(tracks=[3], region=name).collect()
    assert sorted(chosen["start"].to_pylist()) == owed["start"].to_list()
