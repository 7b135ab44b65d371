"""Commands that succeed: what they print where, what they leave, and how they are interrupted."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from campaign import start
from polars.testing import assert_frame_equal

from cisray.errors import StorageError
from cisray.scoring.tiles import TileScorer
from cisray.store.run import ShardSink
from cisray.store.scan import open_run

# 9,000 bp and 3,000 bp in bins of 128 bp: 71 and 24; in tiles of 2,048 bp: 5 and 2.
ROWS, TILES = 95, 7


def test_help_and_version(cisray) -> None:
    assert cisray("--version").out.startswith("cisray ")
    groups = ((), ("score",), ("model",), ("runs",))
    for command in (*groups, ("score", "genome"), ("model", "init"), ("runs", "export"), ("demo",)):
        answer = cisray(*command, "--help")
        assert (answer.code, answer.err) == (0, "")
        assert "Usage: cisray" in answer.out


def test_what_is_no_command(cisray) -> None:
    answer = cisray("socre")
    assert answer.code == 2
    assert "socre" in answer.told
    assert answer.out == ""


def test_a_run_told_as_json(cisray, inputs, tmp_path: Path) -> None:
    out = tmp_path / "run"
    answer = cisray(*inputs.options(out, "--tiles-per-shard", 3, "--json"))
    assert answer.code == 0
    told = json.loads(answer.out)
    assert told["path"] == str(out)
    # chrA: 5 tiles are shards of 3 and 2; chrB: one shard of 2.
    assert (told["rows"], told["shards"], told["tiles_scored"]) == (ROWS, 3, TILES)
    assert told["bytes"] == sum(f.stat().st_size for f in (out / "data").rglob("*.parquet"))
    assert "3/3 shards, 95 rows" in answer.err.splitlines()[-1]


def test_a_run_told_to_people(cisray, inputs, tmp_path: Path) -> None:
    out = tmp_path / "run"
    answer = cisray(*inputs.options(out, "--quiet"))
    assert answer.err == ""
    assert str(out) in answer.out
    assert "95 bins" in answer.out
    assert open_run(out).scan().collect().height == ROWS


def test_quiet_json_is_pure(cisray, inputs, tmp_path: Path) -> None:
    answer = cisray(*inputs.options(tmp_path / "run", "--quiet", "--json"))
    assert answer.err == ""
    assert json.loads(answer.out)["rows"] == ROWS


def test_a_plan_writes_nothing_and_keeps_its_word(cisray, inputs, tmp_path: Path) -> None:
    out = tmp_path / "new" / "run"
    options = inputs.options(out, "--tiles-per-shard", 3, "--tracks", "CAGE", "--json")
    plan = json.loads(cisray(*options, "--plan").out)
    assert not out.parent.exists()
    assert (plan["rows"], plan["rows_left"], plan["tiles"], plan["shards"]) == (ROWS, ROWS, 7, 3)
    assert (plan["tracks"], plan["shards_done"], plan["chromosomes"]) == (2, 0, 2)
    done = json.loads(cisray(*options).out)
    assert (done["rows"], done["shards"]) == (plan["rows"], plan["shards"])
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    after = json.loads(cisray(*options, "--plan").out)
    assert (after["rows_left"], after["shards_done"]) == (0, 3)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_plan_told_to_people(cisray, inputs, tmp_path: Path) -> None:
    answer = cisray(*inputs.options(tmp_path / "run", "--plan"))
    assert (answer.code, answer.err) == (0, "")
    for words in (
        "95, 95 left",
        "this process",
        "8 of head human",
        "a relative error of at most 4.9e-04",
    ):
        assert words in answer.out


def test_a_configuration_file_equals_options(cisray, inputs, tmp_path: Path) -> None:
    by_options, by_file = tmp_path / "options", tmp_path / "file"
    more = ("--tracks", "CAGE", "--tracks", "0", "--mantissa-bits", 7, "--head", "mouse")
    assert cisray(*inputs.options(by_options, *more)).code == 0
    config = tmp_path / "job.yaml"
    config.write_text(
        f"model: {inputs.model}\nfasta: {inputs.fasta}\nworkers: 0\nthreads: 1\n"
        "tracks: [CAGE, '0']\nmantissa-bits: 7\nhead: human\n"
    )
    answer = cisray("score", "genome", "--config", config, "--out", by_file, "--head", "mouse")
    assert answer.code == 0
    theirs, ours = open_run(by_options), open_run(by_file)
    assert ours.manifest.digest == theirs.manifest.digest
    assert_frame_equal(ours.scan().collect(), theirs.scan().collect())


def test_restart_begins_anew(cisray, inputs, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert cisray(*inputs.options(out, "--chromosomes", "chrB")).code == 0
    assert cisray(*inputs.options(out, "--chromosomes", "chrA", "--restart")).code == 0
    frame = open_run(out).scan().collect()
    assert frame["chrom"].cast(pl.String).unique().to_list() == ["chrA"]


def test_a_chromosome_by_another_name(cisray, inputs, tmp_path: Path) -> None:
    """UCSC's and Ensembl's spellings of one chromosome select the same rows."""
    text = inputs.fasta.read_text().replace(">chrA", ">chr7").replace(">chrB", ">chr8")
    fasta = tmp_path / "named.fa"
    fasta.write_text(text)
    for spelling in ("7", "chr7"):
        out = tmp_path / spelling
        assert cisray(*inputs.options(out, "--fasta", fasta, "--chromosomes", spelling)).code == 0
        assert open_run(out).scan(region="7:129-256").collect()["start"].to_list() == [128]


def test_failing_shards_are_named_and_the_others_kept(cisray, inputs, tmp_path, monkeypatch):
    """A fault in one tile fails its shard, not the run's other shards; then it goes on."""
    out, whole = tmp_path / "run", TileScorer.score

    def fail_on_chrb(self, tiles):
        if tiles[0][0].target.chrom == "chrB":
            raise ValueError("the tape is torn")
        return whole(self, tiles)

    with monkeypatch.context() as patch:
        patch.setattr(TileScorer, "score", fail_on_chrb)
        answer = cisray(*inputs.options(out, "--tiles-per-shard", 3, "--quiet"))
    answer.assert_one_paragraph(
        "1 shard failed, 2 done", "shard 2", "the tape is torn", "same command", code=1
    )
    assert not (out / "_SUCCESS").exists()
    kept = {path: path.stat().st_mtime_ns for path in (out / "data").rglob("*.parquet")}
    assert kept
    assert cisray(*inputs.options(out, "--tiles-per-shard", 3)).code == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert open_run(out).scan().collect().height == ROWS


def test_a_failure_that_cannot_be_recorded_is_told(
    cisray, inputs, tmp_path, monkeypatch, caplog
) -> None:
    """The disk refuses the note of a failure; which shard failed, and why, is still the error."""

    def torn(self, tiles):
        raise ValueError("the tape is torn")

    def refuse(self, shard, reason, attempts):
        raise StorageError("no room for notes")

    monkeypatch.setattr(TileScorer, "score", torn)
    monkeypatch.setattr(ShardSink, "record_failure", refuse)
    answer = cisray(*inputs.options(tmp_path / "run", "--quiet"))
    assert answer.code == 1
    assert "2 shards failed" in answer.told
    assert "the tape is torn" in answer.told
    assert "no room for notes" in caplog.text


def test_an_interrupt_keeps_what_is_done(cisray, inputs, tmp_path: Path) -> None:
    """SIGINT in the middle: exit code 130, one sentence, and the same command finishes the run."""
    # 150,000 bp: 73.2 tiles, 19 shards of 4.
    fasta = tmp_path / "long.fa"
    line = "ACGTTGCAAC" * 6 + "\n"
    fasta.write_text(">chrA\n" + line * 2_500)
    options = inputs.options(tmp_path / "run", "--fasta", fasta, "--tiles-per-shard", 4)
    driver = start(*options)
    commits = tmp_path / "run" / "_commits"
    deadline = time.monotonic() + 60
    while len(list(commits.glob("*.json"))) < 2 and time.monotonic() < deadline:
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.02)
    os.kill(driver.pid, signal.SIGINT)
    out, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130, out
    assert "interrupted" in out
    assert "Traceback" not in out
    done = len(list(commits.glob("*.json")))
    assert 2 <= done < 19
    told = json.loads(cisray(*options, "--plan", "--json").out)
    assert (told["shards"], told["shards_done"]) == (19, done)
    assert cisray(*options).code == 0
    # 150,000 / 128 = 1,171.9
    assert open_run(tmp_path / "run").scan().collect().height == 1_172


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        (("model", "init", "m.safetensors", "--size", "tiny"), False),
        (("demo", "--out", "d"), True),
    ],
)
def test_an_interrupt_promises_what_is_true(
    cisray, tmp_path: Path, monkeypatch, command: tuple[str, ...], kept: bool
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cisray_jobs.models.init_model", stop)
    monkeypatch.setattr("cisray_jobs.demo.learning.make_synthetic", stop)
    answer = cisray(*command)
    assert answer.code == 130
    assert "interrupted" in answer.told
    assert ("What is finished is kept" in answer.told) == kept


def test_the_command_as_a_process_says_nothing_but_the_error(inputs, tmp_path: Path) -> None:
    """With logging as a real process has it: no traceback of ours or of a library."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    copy = tmp_path / "genome.fa"
    # A U passes the index and is found when the sequence is read.
    copy.write_text(inputs.fasta.read_text().replace("A", "U"))
    result = subprocess.run(
        [sys.executable, "-m", "cisray_jobs.cli", *inputs.options(tmp_path / "r", "--fasta", copy)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.split(maxsplit=1)[0] == "Error:"
    assert len(result.stderr.splitlines()) <= 5
