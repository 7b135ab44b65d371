"""Which machine and which GPU a worker gets: on a head that offers nothing, and two machines.

The machines say that they have four CPUs and two GPUs each; nobody looks whether they do.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from ray_cluster import RayCluster

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(500)]

# A driver of its own: Ray reads the token once in the life of a process.
DRIVER = """
import json, os, sys, time
from dataclasses import dataclass
import ray
from engine_tasks import note, pids
from cisray.engine.cluster import connect
from cisray.engine.pool import RayExecutor
from cisray.engine.task import PoolPolicy

@dataclass(frozen=True)
class Where:
    "Say where a shard is done, when as many workers have opened the task as there is room for."
    folder: str
    workers: int

    def open(self):
        note(self.folder, f"open {os.getpid()}")
        return self.do

    def do(self, shard):
        deadline = time.monotonic() + 120
        while len(pids(self.folder)) < self.workers and time.monotonic() < deadline:
            time.sleep(0.1)
        node = ray.get_runtime_context().get_node_id()
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "none set")
        return {"node": node, "pid": os.getpid(), "gpus": gpus}

def placed(connection, folder, *, room, shards, **policy):
    folder.mkdir()
    executor, said = RayExecutor(PoolPolicy(queue=1, num_cpus=1, **policy), connection), []
    summary = executor.run(
        Where(str(folder), room), range(shards), on_done=lambda shard, told: said.append(told)
    )
    return {"done": summary.done, "opened": len(pids(folder)), "said": said}

if __name__ == "__main__":
    from pathlib import Path
    folder, address = Path(sys.argv[1]), sys.argv[2]
    with connect(address) as connection:
        heads = [n["NodeID"] for n in ray.nodes() if "node:__internal_head__" in n["Resources"]]
        told = {
            "head": heads, "cpus": connection.cpus, "gpus": connection.gpus,
            "cpu": placed(connection, folder / "c", room=2, shards=2, workers=2),
            "alone": placed(connection, folder / "a", room=4, shards=4, workers=4, num_gpus=1),
            "crowd": placed(connection, folder / "b", room=4, shards=12, workers=6, num_gpus=1),
        }
    print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("placed")
    (folder / "driver.py").write_text(DRIVER)
    cluster = RayCluster(workers=2, worker_cpus=4, worker_gpus=2, imports_ours=True)
    with cluster:
        environment = {name: text for name, text in os.environ.items() if name != "RAY_ADDRESS"}
        environment |= {
            **cluster.environment,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        done = subprocess.run(
            [sys.executable, folder / "driver.py", folder, f"127.0.0.1:{cluster.port}"],
            env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    assert (answer["cpus"], answer["gpus"]) == (8, 4)
    assert len(answer["head"]) == 1
    return answer


def nodes_of(said: list[dict[str, Any]]) -> Counter[str]:
    """Count the workers of each machine."""
    return Counter(node for node, _ in {(one["node"], one["pid"]) for one in said})


def test_every_worker_has_a_gpu_of_its_own(told: dict[str, Any]) -> None:
    alone = told["alone"]
    assert (alone["done"], alone["opened"]) == (4, 4)
    assert sorted(nodes_of(alone["said"]).values()) == [2, 2]
    for node in nodes_of(alone["said"]):
        gpus = sorted(one["gpus"] for one in alone["said"] if one["node"] == node)
        assert gpus == ["0", "1"]


def test_a_worker_too_many_waits_and_shares_no_gpu(told: dict[str, Any]) -> None:
    """Six are asked for, and there are four GPUs."""
    crowd = told["crowd"]
    assert (crowd["done"], crowd["opened"]) == (12, 4)
    by_worker = {one["pid"]: (one["node"], one["gpus"]) for one in crowd["said"]}
    assert len(by_worker) == len(set(by_worker.values())) == 4


def test_workers_on_cpus_are_spread(told: dict[str, Any]) -> None:
    """Ray by itself puts the first two on one machine, which has room for four."""
    cpu = told["cpu"]
    assert (cpu["done"], cpu["opened"]) == (2, 2)
    assert sorted(nodes_of(cpu["said"]).values()) == [1, 1]


def test_nothing_runs_on_a_head_that_offers_nothing(told: dict[str, Any]) -> None:
    nodes = {one["node"] for part in ("alone", "crowd", "cpu") for one in told[part]["said"]}
    assert len(nodes) == 2
    assert nodes.isdisjoint(told["head"])
