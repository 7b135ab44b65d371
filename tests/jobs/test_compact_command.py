"""`cisray runs compact`: what it says before, while and after, and for machines."""

import json
from pathlib import Path

import pytest

from cisray.store.scan import open_run


@pytest.fixture
def run(cisray, inputs, tmp_path) -> Path:
    """Seven tiles, each a shard of its own: five on chrA, two on chrB."""
    out = tmp_path / "run"
    assert cisray(*inputs.options(out, "--tiles-per-shard", 1, "--quiet")).code == 0
    return out


def test_a_run_is_compacted_and_scores_as_before(cisray, inputs, run) -> None:
    before = open_run(run).scan().collect()
    plan = cisray("runs", "compact", run, "--plan")
    assert (plan.code, plan.err) == (0, "")
    assert "7, of which 2 will be left" in plan.out
    assert "95 rows of 7 shards" in plan.out
    told = json.loads(cisray("runs", "compact", run, "--plan", "--json").out)
    assert (told["files"], told["files_after"], told["shards"]) == (7, 2, 7)
    done = cisray("runs", "compact", run)
    assert done.code == 0
    assert "7/7 shards, 95 rows" in done.err
    assert "7 before, 2 now" in done.out
    files = open_run(run).files
    assert files.height == 2
    assert told["bytes_after"] == pytest.approx(files["bytes"].sum(), rel=0.2)
    assert open_run(run).scan().collect().equals(before)
    # The same scoring command finds everything done, and what its self-check found.
    again = json.loads(cisray(*inputs.options(run, "--tiles-per-shard", 1, "--json")).out)
    assert (again["files"], again["shards"], again["rows"]) == (2, 7, 95)
    assert again["self_check"]["checked"] > 0


def test_nothing_to_do_is_said(cisray, run) -> None:
    assert cisray("runs", "compact", run, "--quiet").err == ""
    for more in ((), ("--plan",)):
        answer = cisray("runs", "compact", run, *more)
        assert (answer.code, answer.err) == (0, "")
        assert answer.out.startswith(f"Nothing to compact in {run}: 2 files of ")
    done = json.loads(cisray("runs", "compact", run, "--json").out)
    assert (done["files_before"], done["files"], done["shards"]) == (2, 2, 0)


def test_a_plan_writes_nothing(cisray, run) -> None:
    def state() -> list[tuple[Path, int]]:
        return sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*"))

    before = state()
    assert cisray("runs", "compact", run, "--plan").code == 0
    assert state() == before


def test_what_is_no_sealed_run_is_refused(cisray, run, tmp_path) -> None:
    cisray("runs", "compact", tmp_path / "typo").assert_one_paragraph("typo holds no cisray run")
    (run / "_SUCCESS").unlink()
    cisray("runs", "compact", run).assert_one_paragraph("is not sealed", "Run the same command")


def test_exports_of_a_compacted_run_are_the_same(cisray, inputs, run, tmp_path) -> None:
    command = ("runs", "export", run, "--format", "bedgraph", "--fasta", inputs.fasta,
               "--tracks", "t0003", "--region", "chrA:2000-6200", "--out")  # fmt: skip
    assert cisray(*command, tmp_path / "before.bedgraph").code == 0
    assert cisray("runs", "compact", run, "--quiet").code == 0
    assert cisray(*command, tmp_path / "after.bedgraph").code == 0
    before, after = ((tmp_path / f"{n}.bedgraph").read_text() for n in ("before", "after"))
    assert before == after
    # Bins 15 (from 1,920) to 48 (to 6,272) hold bases 1,999 to 6,199 (0-based).
    rows = [line.split("\t") for line in before.splitlines() if line[0] != "#"]
    assert (len(rows), rows[0][1], rows[-1][2]) == (34, "1920", "6272")
