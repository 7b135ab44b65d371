"""The life of one run on a cluster of three nodes: whatever happens, its result is the same."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from campaign import start
from polars.testing import assert_frame_equal
from ray_cluster import RayCluster

from cisray.store.scan import open_run

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.slow]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[RayCluster]:
    with RayCluster(workers=2) as started:
        started.reach(monkeypatch)
        yield started


def wait_for_commits(run: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(list((run / "_commits").glob("*.json"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.timeout(600)
def test_left_joined_stopped_and_resumed_while_a_node_is_killed(
    cisray, inputs, cluster: RayCluster, tmp_path: Path
) -> None:
    """One run: its follower goes, it is joined, stopped, submitted again; a node dies under it.

    The sealed result equals the one that was computed here without Ray.
    """
    # 2,400,000 bp: 1,171.9 tiles of 2,048 bp, 1,172 shards of 1: seconds, even on fast machines.
    fasta = tmp_path / "long.fa"
    fasta.write_text(">chrA\n" + ("ACGTTGCAACGGATTACATC" * 3 + "\n") * 40_000)
    run, embedded = tmp_path / "run", tmp_path / "embedded"
    own = ("--fasta", fasta, "--tiles-per-shard", 1, "--predictor", "plain", "--quiet")
    command = ("--", *inputs.options(run, *own, "--workers", 2, "--device", "cpu"))
    assert cisray(*inputs.options(embedded, *own)).code == 0

    follower = start("submit", *command)
    wait_for_commits(run, 2)
    os.kill(follower.pid, signal.SIGINT)
    said, _ = follower.communicate(timeout=60)
    assert follower.returncode == 130, said
    assert "goes on" in said  # nobody is at a terminal to answer
    first = told(cisray("submit", "--no-follow", "--json", *command))
    assert (first["joined"], first["attempt"]) == (True, 0)
    assert first["job_id"] in said
    assert told(cisray("jobs", "stop", first["job_id"], "--json"))["state"] == "stopped"
    assert "interrupted. What is finished is kept" in " ".join(
        cisray("jobs", "logs", first["job_id"]).out.split()
    )
    # What has a record is finished; a worker may be killed between its file and the record.
    done = {path: path.stat().st_mtime_ns for path in (run / "_commits").glob("*.json")}
    assert 2 <= len(done) < 1_172

    again = told(cisray("submit", "--no-follow", "--json", *command))
    expected = {"joined": False, "attempt": 1, "job_id": f"{first['job_id']}-a1"}
    assert again == first | expected
    wait_for_commits(run, len(done) + 3)
    cluster.kill_node(2)
    answer = cisray("jobs", "logs", again["job_id"], "--follow")
    assert answer.code == 0, answer
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert_same_run(run, embedded)

    listed = {job["id"]: job for job in told(cisray("jobs", "list", "--json"))}
    assert listed[again["job_id"]]["state"] == "succeeded"
    assert listed[again["job_id"]]["command"].startswith("cisray score genome --model=")
    assert "attempt    1" in cisray("jobs", "status", again["job_id"]).out


def told(answer: Any) -> Any:
    assert answer.code == 0, answer
    return json.loads(answer.out)


def assert_same_run(run: Path, other: Path) -> None:
    ours, theirs = open_run(run), open_run(other)
    assert ours.manifest.digest == theirs.manifest.digest
    frame = ours.scan().sort("chrom", "start").collect()
    assert frame.height == 18_750  # 2,400,000 / 128
    assert_frame_equal(frame, theirs.scan().sort("chrom", "start").collect(), check_exact=True)
