"""Real damage to real files of a run, each found and named: which file, which shard, what.

Where the record of a shard has been edited to fit, digests say nothing any more: then footers, keys
and values must.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import store_runs as bins
import store_variants as variants
from damage import enter, file_of, record_of, rewrite, with_value

from cisray.errors import RunNotFound, StorageError
from cisray.store.encode import encode_data
from cisray.store.kinds import kind_of
from cisray.store.problems import Problem, Verification
from cisray.store.scan import open_run
from cisray.store.verify import verify_run


@pytest.fixture
def run(world, tmp_path) -> Path:
    world.finish(tmp_path / "run")
    return tmp_path / "run"


def kinds(found: Verification) -> set[str]:
    return {problem.kind for problem in found.problems}


def assert_names(found: Verification, kind: str, path: Path, run: Path, shard: int | None) -> None:
    """A problem of that kind is told once, of that file and shard, and says so in its text."""
    problem = one(found, kind)
    assert (problem.file, problem.shard) == (path.relative_to(run).as_posix(), shard)
    assert str(path) in problem.message


def one(found: Verification, kind: str) -> Problem:
    problems = [problem for problem in found.problems if problem.kind == kind]
    assert len(problems) == 1, found.problems
    return problems[0]


def test_a_sound_run_has_no_problems(world, run) -> None:
    seen: list[tuple[int, int]] = []
    found = verify_run(run, on_file=lambda done, total: seen.append((done, total)))
    assert found.problems == ()
    rows = sum(world.ROWS)
    columns = 8 if world is variants else 4  # two statistics of four tracks
    assert (found.shards, found.files, found.rows) == (3, 6, rows)
    assert found.values == rows * columns
    assert found.bytes == sum(p.stat().st_size for p in (run / "data").rglob("*.parquet"))
    assert found.sealed
    assert seen == [(n, 6) for n in range(1, 7)]


def test_any_flipped_byte_of_a_data_file_is_named(world, run) -> None:
    path = file_of(run, 1)
    sound = path.read_bytes()
    for place in (0, len(sound) // 3, len(sound) // 2, len(sound) - 6):
        damaged = bytearray(sound)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        found = verify_run(run)
        assert_names(found, "digest", path, run, 1)
        assert {problem.file for problem in found.problems} == {found.problems[0].file}
    with pytest.raises(StorageError, match=f"{path.name} is damaged: its sha256"):
        open_run(run).verify()


def test_a_deleted_file_a_shortened_one_and_a_stray_one_are_all_told(world, run) -> None:
    gone, cut = file_of(run, 0), file_of(run, 2, "other")
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-9])
    stray = cut.with_name("chr2_copy.parquet")
    shutil.copy(file_of(run, 1), stray)
    found = verify_run(run)
    assert_names(found, "missing-file", gone, run, 0)
    assert_names(found, "size", cut, run, 2)
    assert_names(found, "unreadable", cut, run, 2)
    assert_names(found, "stray", stray, run, None)
    assert len(found.problems) == 4


def test_a_deleted_record_and_a_deleted_shard(world, run) -> None:
    record = record_of(run, 1)
    record.unlink()
    found = verify_run(run)
    assert_names(found, "missing-record", record, run, 1)
    assert (len(found.problems), found.files) == (1, 6)
    for block in bins.TWO_BLOCKS:
        file_of(run, 1, block).unlink()
    table = pq.read_table(run / "_manifest.parquet")
    rows = [row for row in table.to_pylist() if row["shard"] != 1]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), run / "_manifest.parquet")
    found = verify_run(run)
    problem = one(found, "missing-shard")
    assert (problem.shard, len(found.problems)) == (1, 1)
    assert f"shard 1 of {run} is missing" in problem.message


@pytest.mark.parametrize("edited", [False, True])
def test_a_file_of_another_run_is_named_even_if_all_records_agree(
    world, run, tmp_path, edited
) -> None:
    world.finish(tmp_path / "other", model_sha256="ef" * 32)
    path = file_of(run, 1)
    shutil.copy(file_of(tmp_path / "other", 1), path)
    if edited:
        enter(run, 1)
    found = verify_run(run)
    assert_names(found, "foreign", path, run, 1)
    other = open_run(tmp_path / "other").manifest
    assert other.run_id in one(found, "foreign").message
    assert ("digest" in kinds(found)) is not edited
    assert len(found.problems) == (1 if edited else 2)


def test_a_file_of_no_run_is_named(world, run) -> None:
    path = file_of(run, 0)
    pq.write_table(pq.read_table(path).replace_schema_metadata(), path)
    enter(run, 0)
    assert_names(verify_run(run), "foreign", path, run, 0)


@pytest.mark.parametrize("edited", [False, True])
def test_rows_of_another_shard_or_block_under_a_shards_name(world, run, edited) -> None:
    path = file_of(run, 2)
    shutil.copy(file_of(run, 0), path)
    if edited:
        enter(run, 2)
    found = verify_run(run)
    assert_names(found, "misplaced", path, run, 2)
    assert "those are rows of shard 0" in one(found, "misplaced").message
    assert ("digest" in kinds(found) or "size" in kinds(found)) is not edited


def test_a_block_under_the_name_of_another(world, run) -> None:
    path = file_of(run, 2, "other")
    shutil.copy(file_of(run, 2, "cage"), path)
    enter(run, 2, "other")
    found = verify_run(run)
    assert_names(found, "misplaced", path, run, 2)
    assert "block cage" in one(found, "misplaced").message


def test_one_file_named_by_two_shards(world, run) -> None:
    """A record copied to another shard's: its rows would be read twice."""
    first, second = record_of(run, 0), record_of(run, 1)
    told = json.loads(first.read_text())
    second.write_text(json.dumps({**told, "shard": 1}))
    found = verify_run(run)
    twice = [problem for problem in found.problems if problem.kind == "duplicate-rows"]
    assert {problem.shard for problem in twice} == {0, 1}
    assert {problem.file for problem in twice} == {file["path"] for file in told["files"]}
    assert any(
        p.file == second.relative_to(run).as_posix() for p in found.problems if p.kind == "record"
    )


def twice(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table, table])


def second_row_twice(table: pa.Table) -> pa.Table:
    rows = [0, 1, 1, *range(3, table.num_rows)]
    return table.take(rows[: table.num_rows])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (twice, {"duplicate-rows"}),
        (second_row_twice, {"duplicate-rows", "missing-rows"}),
        (lambda table: table.slice(1), {"missing-rows"}),
        (lambda table: table.take(list(range(table.num_rows))[::-1]), {"row-order"}),
    ],
)
def test_rows_that_are_not_those_owed(world, run, change, told) -> None:
    """Digests and records agree with the file: only the plan knows better."""
    path = rewrite(run, 2, change)
    found = verify_run(run)
    assert kinds(found) == told
    for kind in told:
        assert_names(found, kind, path, run, 2)
    if "missing-rows" in told:
        row = 0 if change is not second_row_twice else 2
        assert open_run(run).plan.place(2, row) in one(found, "missing-rows").message
    if change is second_row_twice:
        assert open_run(run).plan.place(2, 1) in one(found, "duplicate-rows").message


def test_rows_of_elsewhere(run, world) -> None:
    key = "start" if world is bins else "pos"

    def moved(table: pa.Table) -> pa.Table:
        values = table[key].to_numpy().copy()
        values[-1] += 128
        return table.set_column(
            table.schema.get_field_index(key), table.schema.field(key), pa.array(values)
        )

    path = rewrite(run, 2, moved)
    found = verify_run(run)
    assert kinds(found) == {"foreign-rows", "missing-rows"}
    assert_names(found, "foreign-rows", path, run, 2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(world, run, value) -> None:
    path = rewrite(run, 2, with_value(value, 1))
    found = verify_run(run)
    assert kinds(found) == {"not-finite"}
    assert_names(found, "not-finite", path, run, 2)
    message = one(found, "not-finite").message
    assert "holds 1 values" in message
    # The last track of block cage is 8.
    assert "t0008" in message
    assert open_run(run).plan.place(2, 1) in message


def test_values_with_more_bits_than_the_run_keeps(world, tmp_path) -> None:
    run = tmp_path / "run"
    world.finish(run, mantissa_bits=10)
    assert verify_run(run).is_sound
    # 1 + 2**-11 needs 11 bits, 1 + 2**-10 has 10.
    rewrite(run, 2, with_value(1 + 2**-10, 0))
    assert verify_run(run).is_sound
    path = rewrite(run, 2, with_value(1 + 2**-11, 0))
    found = verify_run(run)
    assert kinds(found) == {"not-rounded"}
    assert_names(found, "not-rounded", path, run, 2)


def test_missing_values_belong_into_partial_statistics_only(tmp_path) -> None:
    run = tmp_path / "run"
    config = {"partial": ["logSAD"]}
    plan = variants.make_plan()
    with variants.begin(run, plan=plan, config=config) as sink:
        for shard in sink.pending():
            pieces = [
                piece._replace(columns=with_gaps(dict(piece.columns)))
                for piece in variants.pieces_of(shard, sink.blocks)
            ]
            sink.write(shard, pieces)
        sink.seal()
    assert verify_run(run).is_sound
    path = rewrite(run, 0, with_value(np.nan, 0))
    # The last column is of logSAD: NaN that is stored as a number is none of its missing values.
    found = verify_run(run)
    assert kinds(found) == {"not-finite"}
    assert_names(found, "not-finite", path, run, 0)


def with_gaps(columns: dict) -> dict:
    for name, values in columns.items():
        if name.startswith("logSAD"):
            columns[name] = np.where(np.arange(len(values)) % 2 == 1, np.nan, values).astype("f4")
    return columns


def test_columns_of_another_track(world, run) -> None:
    path = file_of(run, 0)
    with pq.ParquetFile(path) as opened:
        notes, table = opened.metadata.metadata, opened.read()
    names = [name.replace("t0003", "t0004") for name in table.column_names]
    table = table.rename_columns(names)
    pages = kind_of(open_run(run).manifest).pages
    path.write_bytes(encode_data(table, pages, {k.decode(): v.decode() for k, v in notes.items()}))
    enter(run, 0)
    found = verify_run(run)
    assert_names(found, "columns", path, run, 0)
    assert "t0003" in one(found, "columns").message


def test_plan_tracks_and_list_are_read_again_and_do_not_end_it(world, run) -> None:
    """All are told at once, together with a damaged data file."""
    names = [*world.PLAN_FILES, "tracks.parquet", "_manifest.parquet"]
    for name in names:
        damaged = bytearray((run / name).read_bytes())
        damaged[40] ^= 1
        (run / name).write_bytes(damaged)
    path = file_of_record(run, 2)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    found = verify_run(run)
    assert {"plan", "tracks", "file-list"} <= kinds(found)
    assert_names(found, "digest", path, run, 2)
    told = " ".join(problem.message for problem in found.problems)
    assert world.PLAN_FILES[-1] in told
    assert "tracks.parquet" in told


def file_of_record(run: Path, shard: int) -> Path:
    """A file of a shard, where the list of files cannot be read."""
    return run / json.loads(record_of(run, shard).read_text())["files"][0]["path"]


def test_rejects_that_were_exchanged(tmp_path) -> None:
    run = tmp_path / "run"
    variants.finish(run)
    table = pq.read_table(run / "rejects.parquet")
    rows = table.to_pylist()
    rows[1]["reason"] = "malformed_line"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), run / "rejects.parquet")
    assert "rejects.parquet" in one(verify_run(run), "plan").message


def test_a_list_of_files_that_differs_from_the_records(world, run) -> None:
    table = pq.read_table(run / "_manifest.parquet")
    rows = table.to_pylist()
    rows[0]["n_rows"] += 1
    dropped = rows.pop()
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), run / "_manifest.parquet")
    problems = [p for p in verify_run(run).problems if p.kind == "file-list"]
    assert {(p.shard, p.file) for p in problems} == {
        (rows[0]["shard"], rows[0]["path"]),
        (dropped["shard"], dropped["path"]),
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json", "no commit record"),
        ({"begun": "0" * 32}, "another beginning"),
        ({"shard": 2}, "record of shard 2, not of its name"),
        ({"attempt": "00000000"}, "its own would be"),
    ],
)
def test_records_that_cannot_be(world, run, text, words) -> None:
    record = record_of(run, 1)
    told = json.loads(record.read_text())
    record.write_text(text if isinstance(text, str) else json.dumps({**told, **text}))
    problems = [p for p in verify_run(run).problems if p.kind == "record"]
    assert {p.file for p in problems} == {record.relative_to(run).as_posix()}
    assert any(words in p.message for p in problems)


def test_a_run_that_is_not_sealed(world, tmp_path) -> None:
    run = tmp_path / "run"
    with world.begin(run) as sink:
        sink.write(1, world.pieces_of(1, sink.blocks))
        problem = one(verify_run(run), "unsealed")
        assert "2 of 3 shards have no record (0, 2)" in problem.message
        found = verify_run(run, allow_unsealed=True)
        assert (found.is_sound, found.sealed, found.shards, found.files) == (True, False, 1, 2)
        path = next((run / "data").rglob("*.parquet"))
        path.write_bytes(path.read_bytes()[:-1])
        assert kinds(verify_run(run, allow_unsealed=True)) == {"size", "unreadable"}


def test_a_run_whose_seal_is_gone(world, run) -> None:
    (run / "_SUCCESS").unlink()
    assert kinds(verify_run(run)) == {"unsealed"}


def test_a_manifest_that_was_changed_fits_no_file(world, run) -> None:
    told = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**told, "model_sha256": "00" * 32}))
    found = verify_run(run)
    assert [p.kind for p in found.problems if p.kind != "summary"] == ["foreign"] * 6


def test_a_summary_that_was_changed(world, run) -> None:
    told = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**told, "rows": told["rows"] + 1}))
    assert kinds(verify_run(run)) == {"summary"}
    (run / "summary.json").write_text("{")
    assert kinds(verify_run(run)) == {"summary"}


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunNotFound):
        verify_run(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(StorageError, match=r"run\.json is damaged"):
        verify_run(tmp_path)
