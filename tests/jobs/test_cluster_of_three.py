"""The life of one run on a cluster of three nodes: whatever happens, its result is the same."""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Collection, Iterator
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


def records(run: Path, *, after: Collection[Path] = ()) -> list[dict[str, Any]]:
    """What the records of finished shards say of who did them, but for those that were there."""
    new = set((run / "_commits").glob("*.json")) - set(after)
    return [json.loads(path.read_text())["info"] for path in new]


def wait_until(found: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not found():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.mark.timeout(600)
def test_left_joined_stopped_and_resumed_while_a_node_is_killed(
    cisray, inputs, cluster: RayCluster, tmp_path: Path
) -> None:
    """One run: its follower goes, it is joined, stopped, submitted again; a node dies under it.

    The sealed result equals the one that was computed here without Ray.
    """
    # 2,400,000 bp: 1,171.9 tiles of 2,048 bp, 1,172 shards of 1.
    fasta = tmp_path / "long.fa"
    fasta.write_text(">chrA\n" + ("ACGTTGCAACGGATTACATC" * 3 + "\n") * 40_000)
    run, embedded = tmp_path / "run", tmp_path / "embedded"
    own = ("--fasta", fasta, "--tiles-per-shard", 1, "--predictor", "plain", "--quiet")
    command = ("--", *inputs.options(run, *own, "--workers", 2, "--device", "cpu"))
    assert cisray(*inputs.options(embedded, *own)).code == 0

    first = left_joined_and_stopped(cisray, cluster, run, command)
    # What has a record is finished; a worker may be killed between its file and the record.
    done = {path: path.stat().st_mtime_ns for path in (run / "_commits").glob("*.json")}
    assert 2 <= len(done) < 1_172
    (stopped,) = {info["session"] for info in records(run)}

    again = told(cisray("submit", "--no-follow", "--json", *command))
    expected = {"joined": False, "attempt": 1, "job_id": f"{first['job_id']}-a1"}
    assert again == first | expected
    kill_a_node_at_work(cluster, run, done)
    answer = cisray("jobs", "logs", again["job_id"], "--follow")
    assert answer.code == 0, answer
    assert "18,750" in answer.out  # rows: what the command itself prints at the end
    assert re.search(r"lost \(\w+, shard \d+\)", answer.out), answer.out

    assert {path: path.stat().st_mtime_ns for path in done} == done
    later = records(run, after=done)
    assert stopped not in {info["session"] for info in later}
    assert len({info["pid"] for info in later}) == 2
    assert len(done) + len(later) == 1_172
    assert_same_run(run, embedded)

    listed = {job["id"]: job for job in told(cisray("jobs", "list", "--json"))}
    assert listed[first["job_id"]]["state"] == "stopped"
    assert listed[again["job_id"]]["state"] == "succeeded"
    assert listed[again["job_id"]]["command"].startswith("cisray score genome --model=")
    assert "attempt    1" in cisray("jobs", "status", again["job_id"]).out


def left_joined_and_stopped(
    cisray: Any, cluster: RayCluster, run: Path, command: tuple[object, ...]
) -> dict[str, Any]:
    """Follow a run and leave it, join it and stop it; what joining it has told.

    Its workers are frozen meanwhile, so that no machine is too fast for that.
    """
    follower = start("submit", *command)
    wait_until(lambda: len({info["pid"] for info in records(run)}) == 2, "two workers at work")
    workers = cluster.actors(1, 2)
    assert workers == {info["pid"] for info in records(run)}
    assert len(cluster.actors(1)) == len(cluster.actors(2)) == 1
    assert cluster.actors(0) == set()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)

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
    wait_until(lambda: not cluster.actors(1, 2), "no worker of the stopped job is left")
    assert isinstance(first, dict)
    return first


def kill_a_node_at_work(cluster: RayCluster, run: Path, done: Collection[Path]) -> None:
    """Kill the second node when its worker has finished a shard, and holds another."""

    def has_worked() -> bool:
        doomed = cluster.actors(2)
        return bool(doomed & {info["pid"] for info in records(run, after=done)})

    wait_until(has_worked, "the worker of the second node is at work")
    (doomed,) = cluster.actors(2)
    os.kill(doomed, signal.SIGSTOP)  # before the run ends
    cluster.kill_node(2)


def told(answer: Any) -> Any:
    assert answer.code == 0, answer
    return json.loads(answer.out)


def assert_same_run(run: Path, other: Path) -> None:
    ours, theirs = open_run(run), open_run(other)
    assert ours.manifest.digest == theirs.manifest.digest
    frame = ours.scan().sort("chrom", "start").collect()
    assert frame.height == 18_750  # 2,400,000 / 128
    assert_frame_equal(frame, theirs.scan().sort("chrom", "start").collect(), check_exact=True)
