"""The pool when processes really die: SIGKILL for workers, a node and the driver."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from engine_tasks import Scripted, is_running, pids, trace, tries, wait_until_gone

from cisray.engine.cluster import Connection
from cisray.engine.pool import RayExecutor
from cisray.engine.task import PoolPolicy, Receipt, RunSummary
from cisray.errors import EngineError

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(320)]


def run(
    connection: Connection, task: Scripted, shards: range, policy: PoolPolicy
) -> tuple[RunSummary, list[int]]:
    """Run a task; return the summary and the shards in the order in which they were done."""
    order: list[int] = []
    summary = RayExecutor(policy, connection).run(
        task, shards, on_done=lambda shard, receipt: order.append(shard)
    )
    assert len(order) == len(set(order)) == summary.done
    assert summary.done + len(summary.failed) == len(shards)
    return summary, order


def test_a_worker_killed_in_the_middle_of_a_shard(embedded_ray: Connection, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_first(shard: int, receipt: Receipt) -> None:
        if not killed:
            killed.append(int(str(receipt["pid"])))
            os.kill(killed[0], signal.SIGKILL)

    summary = RayExecutor(PoolPolicy(workers=2), embedded_ray).run(
        Scripted(str(tmp_path), pause_s=0.3), range(7, 15), on_done=kill_first
    )
    assert (summary.done, summary.failed) == (8, ())
    assert summary.workers_lost == 1
    # Only the shard that was running is counted; the one that waited behind it is not.
    assert summary.retries == 1
    assert {shard for shard, _ in trace(tmp_path, "done")} == set(range(7, 15))


def test_a_poisonous_shard_is_given_up_and_its_neighbours_are_not_blamed(
    embedded_ray: Connection, tmp_path: Path
) -> None:
    # The pause lets the answer of the shard before reach the driver: one that is lost with its
    # worker cannot be told from one that was never given, and costs that shard a counted attempt.
    task = Scripted(str(tmp_path), {9: "die"}, pause_s=0.3)
    # Depth 4: up to three innocent shards wait behind the poisonous one each time it kills.
    summary, _ = run(embedded_ray, task, range(5, 17), PoolPolicy(workers=1, queue=4))
    assert summary.done == 11
    assert [(f.shard, f.attempts, f.kind) for f in summary.failed] == [(9, 3, "infrastructure")]
    assert "ActorDied" in summary.failed[0].reason
    assert (summary.retries, summary.workers_lost) == (2, 3)
    assert tries(tmp_path) == {s: 3 if s == 9 else 1 for s in range(5, 17)}


@pytest.mark.long
def test_when_every_shard_is_poisonous_each_is_named(
    embedded_ray: Connection, tmp_path: Path
) -> None:
    task = Scripted(str(tmp_path), {2: "die", 3: "die"})
    policy = PoolPolicy(workers=2, max_attempts=2)
    summary, _ = run(embedded_ray, task, range(2, 4), policy)
    assert sorted(failure.shard for failure in summary.failed) == [2, 3]
    assert tries(tmp_path) == {2: 2, 3: 2}


@pytest.mark.long
def test_workers_that_die_whatever_the_shard_end_the_run(
    embedded_ray: Connection, tmp_path: Path
) -> None:
    task = Scripted(str(tmp_path), dict.fromkeys(range(50), "die"))
    policy = PoolPolicy(workers=1, max_attempts=2, max_start_failures=1)
    # bound: 1 worker x 2 attempts + 1 start = 3 deaths, far from the 100 that 50 shards would take
    with pytest.raises(EngineError, match="3 workers died and none has finished a shard"):
        run(embedded_ray, task, range(50), policy)


@pytest.mark.long
def test_workers_that_die_while_opening_end_the_run(
    embedded_ray: Connection, tmp_path: Path
) -> None:
    policy = PoolPolicy(workers=1, max_start_failures=2)
    with pytest.raises(EngineError, match=r"2 failed in a row.*ActorDied"):
        run(embedded_ray, Scripted(str(tmp_path), opening="die"), range(3), policy)
    assert len(trace(tmp_path, "open")) == 2


def test_a_shard_beyond_its_deadline(embedded_ray: Connection, tmp_path: Path) -> None:
    task = Scripted(str(tmp_path), {6: "hang"})
    policy = PoolPolicy(workers=2, max_attempts=2, shard_timeout_s=1.0)
    summary, _ = run(embedded_ray, task, range(4, 12), policy)
    assert [(f.shard, f.attempts, f.kind) for f in summary.failed] == [(6, 2, "deadline")]
    assert summary.failed[0].reason == "no answer within 1 s"
    assert tries(tmp_path) == {s: 2 if s == 6 else 1 for s in range(4, 12)}
    assert wait_until_gone(pids(tmp_path)) == set()


@pytest.mark.long
def test_a_queued_shard_is_not_charged_for_the_one_before_it(
    embedded_ray: Connection, tmp_path: Path
) -> None:
    # Each takes 0.7 s; three in a row at one worker take 2.1 s, and none is over 1.5 s.
    policy = PoolPolicy(workers=1, queue=3, max_attempts=1, shard_timeout_s=1.5)
    summary, _ = run(embedded_ray, Scripted(str(tmp_path), pause_s=0.7), range(4, 8), policy)
    assert summary.failed == ()


def test_a_worker_is_replaced_after_a_cuda_error(embedded_ray: Connection, tmp_path: Path) -> None:
    task = Scripted(str(tmp_path), {5: "once cuda error"})
    summary, _ = run(embedded_ray, task, range(5, 9), PoolPolicy(workers=1))
    assert (summary.done, summary.retries, summary.workers_lost) == (4, 1, 1)
    assert len(pids(tmp_path)) == 2


@pytest.mark.long
def test_a_worker_that_died_while_idle_blames_no_shard(
    embedded_ray: Connection, tmp_path: Path
) -> None:
    # 1 takes long at one worker, the other falls idle and is killed; then 1 kills its own worker
    # and comes back: with one attempt allowed it must not be charged for the idle death.
    task = Scripted(str(tmp_path), {30: "slow, once die"})
    killed: list[int] = []

    def kill_idle(shard: int, receipt: Receipt) -> None:
        if shard == 31:
            killed.append(int(str(receipt["pid"])))
            os.kill(killed[0], signal.SIGKILL)

    policy = PoolPolicy(workers=2, max_attempts=2)
    summary = RayExecutor(policy, embedded_ray).run(task, [30, 31], on_done=kill_idle)
    assert killed
    assert (summary.done, summary.failed, summary.retries) == (2, (), 1)
    assert tries(tmp_path) == {30: 2, 31: 1}


def test_nothing_is_placed_within_the_capacity_timeout(
    embedded_ray: Connection, tmp_path: Path
) -> None:
    cluster_like = Connection(is_embedded=False, started_here=False, cpus=2, gpus=0)
    policy = PoolPolicy(workers=1, num_gpus=1, capacity_timeout_s=1.0)
    with pytest.raises(EngineError, match=r"has not placed 1 workers of 0.5 CPUs, 1 GPUs each"):
        run(cluster_like, Scripted(str(tmp_path)), range(3), policy)


def test_work_goes_on_with_the_workers_that_fit(embedded_ray: Connection, tmp_path: Path) -> None:
    cluster_like = Connection(is_embedded=False, started_here=False, cpus=2, gpus=0)
    policy = PoolPolicy(workers=5, num_cpus=2)  # one fits; four stay pending
    summary, _ = run(cluster_like, Scripted(str(tmp_path)), range(20, 32), policy)
    assert summary.done == 12
    assert len(pids(tmp_path)) == 1


DRIVER = """
import sys
from engine_tasks import Scripted
from cisray.engine.executors import executor_for
from cisray.engine.task import PoolPolicy
if __name__ == "__main__":
    with executor_for(PoolPolicy(workers=2), address="local") as executor:
        executor.run(Scripted(sys.argv[1], pause_s=0.2), range(1000))
"""


@pytest.mark.long
def test_a_killed_driver_leaves_no_process(tmp_path: Path) -> None:
    folder = tempfile.mkdtemp(prefix="cr")
    (tmp_path / "driver.py").write_text(DRIVER)
    environment = {**os.environ, "RAY_TMPDIR": folder, "PYTHONPATH": os.pathsep.join(sys.path)}
    driver = subprocess.Popen(
        [sys.executable, str(tmp_path / "driver.py"), str(tmp_path)], env=environment
    )
    until = time.monotonic() + 60
    while not trace(tmp_path, "done") and time.monotonic() < until:
        time.sleep(0.1)
    family = descendants(driver.pid)
    agents = {pid for pid in family if command(pid).rstrip("\0").endswith("Agent")}
    driver.kill()
    driver.wait()
    assert len(family) > 4  # GCS, raylet, agents, workers
    # Ray's two agents, which hold no work, wait about a minute for its GCS before they end too.
    left = wait_until_gone(family - agents, within_s=20)
    assert {pid: command(pid) for pid in left} == {}
    shutil.rmtree(folder, ignore_errors=True)


def command(pid: int) -> str:
    """The command line of a process, or an empty string when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def descendants(root: int) -> set[int]:
    """The processes under one, from the parents that /proc names."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and is_running(int(entry.name)):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            parents[int(entry.name)] = int(fields[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {root}


NODE_LOSS = """
import sys, threading, time
from ray.cluster_utils import Cluster
from engine_tasks import Scripted, trace
from cisray.engine.cluster import connect
from cisray.engine.pool import RayExecutor
from cisray.engine.task import PoolPolicy

def wait_for(folder, kind, count):
    while len(trace(folder, kind)) < count:
        time.sleep(0.1)

def one_of_two(cluster, folder):
    first, second = (cluster.add_node(num_cpus=1) for _ in range(2))
    yield
    wait_for(folder, "done", 4)
    second.kill_raylet()

def all_and_again(cluster, folder):
    # Three machines in a row go while they work at the same shard, each time the only one there.
    node = cluster.add_node(num_cpus=1)
    yield
    for number in range(1, 4):
        wait_for(folder, "shard", number)
        node.kill_raylet()
        time.sleep(2)
        node = cluster.add_node(num_cpus=1)

if __name__ == "__main__":
    folder, losses, shards, pause_s = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    script = globals()[losses](cluster, folder)
    next(script)
    with connect(cluster.address) as connection:
        assert not connection.is_embedded
        policy = PoolPolicy(workers=2, num_cpus=1, max_attempts=2, queue=1)
        task, found = Scripted(folder, pause_s=pause_s), []

        def work():
            found.append(RayExecutor(policy, connection).run(task, range(40, 40 + shards)))

        pool = threading.Thread(target=work)
        pool.start()
        list(script)  # machines can be added in the main thread alone
        pool.join()
    print(found[0].done, len(found[0].failed), found[0].workers_lost, found[0].retries)
    cluster.shutdown()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("losses", "shards", "pause_s", "told"),
    [
        # 30 shards done, none failed, one worker lost, the shard it was running tried again
        ("one_of_two", 30, 0.5, "30 0 1 1\n"),
        # More losses than attempts, and each time nothing is left: the run waits, and goes on.
        ("all_and_again", 1, 6.0, "1 0 3 3\n"),
    ],
)
def test_machines_that_go(
    losses: str, shards: int, pause_s: float, told: str, tmp_path: Path
) -> None:
    folder = tempfile.mkdtemp(prefix="cr")
    (tmp_path / "driver.py").write_text(NODE_LOSS)
    environment = {
        **os.environ,
        "RAY_TMPDIR": folder,
        "RAY_AUTH_MODE": "disabled",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    script = (tmp_path / "driver.py", tmp_path, losses, shards, pause_s)
    result = subprocess.run(
        [sys.executable, *map(str, script)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    shutil.rmtree(folder, ignore_errors=True)
    assert result.returncode == 0, result.stderr
    assert "Raylet is terminated" not in result.stderr
    assert result.stdout == told, result.stdout + result.stderr
    assert {shard for shard, _ in trace(tmp_path, "done")} == set(range(40, 40 + shards))
