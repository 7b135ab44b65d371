"""The benchmarks that need nothing but cisray still run: they use its parts as they are.

Their numbers are not judged here; no time is.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def table_of(script: str, *options: str) -> list[list[str]]:
    """Run a benchmark that keeps no result, and give the rows of its table."""
    results = ROOT / "benchmarks" / "results"
    before = sorted(results.glob("*"))
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / script, *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(results.glob("*")) == before
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in done.stdout.splitlines()
        if line.startswith("|")
    ]


@pytest.mark.long
def test_input_output_share_runs_on_the_tiny_model_and_keeps_no_result() -> None:
    options = ("--size", "tiny", "--tiles", "1", "--threads", "1")
    rows = table_of("input_output_share.py", *options)
    assert rows[0] == ["for each tile", "8 tracks", "2 tracks"]
    shares = {row[0]: row[1:] for row in rows[2:]}
    for share in shares["reading and writing, share"]:
        assert 0 < float(share.removesuffix("%")) < 100


@pytest.mark.long
def test_plan_variants_plans_every_record() -> None:
    options = ("--records", "3000", "--since")
    _, _, first, since = table_of("plan_variants.py", *options)
    records, rows, links, rejects, *_ = (int(cell.replace(",", "")) for cell in first[:4])
    assert (records, rows + rejects, links) == (3000, 3000, 0)
    assert rejects > 0
    assert since[:4] == [first[0], "0", first[1], first[3]]


@pytest.mark.long
def test_training_input_reads_a_made_up_dataset() -> None:
    options = ("--examples", "3", "--tracks", "7", "--readers", "0")
    rows = table_of("training_input.py", *options)
    assert [row[0] for row in rows if row[0].isdecimal()] == ["0"]
    assert float(rows[-1][1]) > 0


@pytest.mark.slow
def test_variant_memory_scores_every_record() -> None:
    _, _, (records, rows, shards, *_) = table_of("variant_memory.py", "--records", "300")
    assert (records, rows, shards) == ("300", "300", "1")


@pytest.mark.slow
def test_query_run_asks_all_engines_for_the_same() -> None:
    """Answers are compared by the script itself, which stops where they differ."""
    sizes = ("--tracks", "6", "--shards", "3", "--variants", "5200", "--files", "20")
    rows = table_of("query_run.py", *sizes, "--repeats", "1")
    questions = [row for row in rows if row[0].startswith(("one", "all", "top", "5,000", "open"))]
    assert [row[1] for row in questions] == [
        "782 x 2", "172,032 x 2", "782 x 7", "1,000 x 1", "6,400 x 1", "5,000 x 2", "391 x 2",
    ]  # fmt: skip
    (stored,) = (row for row in rows if row[0].startswith("as stored"))
    assert 1 < float(stored[1]) < 2.5


@pytest.mark.long
def test_observing_measures_every_part() -> None:
    rows = table_of("observing.py", "--shards", "50")
    assert len(rows) == 7
    assert all(float(row[1]) > 0 for row in rows[2:])


def numbers(row: list[str]) -> list[float]:
    return [float(cell.removesuffix("%")) for cell in row[1:]]


@pytest.mark.slow
@pytest.mark.ray
def test_two_workers_do_nearly_twice_as_much_and_time_is_the_model_s() -> None:
    """Bounds are loose; a machine whose two cores have something else to do fails them still."""
    rows = {row[0]: row for row in table_of("pool_scaling.py", "--quick")}
    assert rows["workers"][1:] == ["1", "2"]
    shares = {name: numbers(rows[name]) for name in ("in the model", "writing", "in the pool")}
    for parts in zip(*shares.values(), strict=True):
        assert sum(parts) == pytest.approx(100, abs=0.02)
    assert max(numbers(rows["not in the model"])) <= 10
    assert numbers(rows["ratio"])[1] >= 1.5


@pytest.mark.slow
@pytest.mark.ray
def test_inputs_are_read_once_for_a_machine_and_not_for_a_worker() -> None:
    rows = table_of("node_reads.py", "--quick")[2:]
    assert [row[0].partition(",")[0] for row in rows] == ["where they lie"] * 2 + ["copied"] * 2
    times = [float(row[2]) for row in rows]
    assert times == pytest.approx([2, 2, 1, 1], abs=0.01)
    for *_, read, weights, _ in rows[2:]:
        # The first reads a genome of 20 MB twice, there and here; the second does neither.
        first, second = sorted(map(float, read.split()), reverse=True)
        assert first - second > 2 * 20
        assert float(weights) < 1.2  # of two workers: they share the pages
