"""What workers read of inputs on a shared file system, with copies on each machine and without.

Knows the worker of `cisray score genome`, which it opens as it is, and a Ray cluster of a head
without CPUs and two nodes, here all on one machine: each node has a folder of its own for copies.
The shared place is a folder. What is asked of it is counted in each worker while it opens its task:

- bytes of calls of read and copy, `os.pread` and `os.sendfile`, which are wrapped, by file
- bytes of mapped files: the pages that the worker has looked at (`Rss` in /proc/self/smaps)

So it is what a file system without a cache would be asked for; a kernel that caches asks for less.
All bytes that the system counted as read (`rchar` in /proc/self/io), local ones and imports
included, stand beside it: of a worker that found its copies they are few. Also told: the memory
that the weights take in all workers of a node, by proportional shares (`Pss`).

    python benchmarks/node_reads.py [--genome-mb 200] [--quick]
"""

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import (
    load_average,
    machine_facts,
    mapped_bytes,
    publish,
    table,
    write_random_model,
)
from ray.cluster_utils import Cluster
from worker_memory import write_fasta

from cisray.engine.cluster import connect
from cisray.engine.pool import RayExecutor
from cisray.engine.task import PoolPolicy
from cisray.store.node_cache import NodeCache
from cisray_jobs.models import SIZES
from cisray_jobs.node_copies import VARIABLE
from cisray_jobs.provenance import now
from cisray_jobs.score_genome import ScoreGenome
from cisray_jobs.tile_task import TileTask

SIZE = "small"
NODES, WORKERS_PER_NODE = 2, 2
WAIT_S = 120.0
MARK = "CISRAY_BENCH_SURROUNDED"


@contextmanager
def counted_reads(place: Path) -> Iterator[Callable[[], int]]:
    """Count the bytes that this process reads below a place by `os.pread` and `os.sendfile`."""
    total = 0
    pread, sendfile = os.pread, os.sendfile

    def is_there(descriptor: int) -> bool:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith(f"{place}/")

    def counting_pread(descriptor: int, size: int, offset: int) -> bytes:
        nonlocal total
        data = pread(descriptor, size, offset)
        total += len(data) if is_there(descriptor) else 0
        return data

    def counting_sendfile(out: int, source: int, offset: int, size: int) -> int:
        nonlocal total
        sent = sendfile(out, source, offset, size)
        total += sent if is_there(source) else 0
        return sent

    os.pread, os.sendfile = counting_pread, counting_sendfile  # type: ignore[assignment]
    try:
        yield lambda: total
    finally:
        os.pread, os.sendfile = pread, sendfile


def read_in_all() -> int:
    """Tell the bytes that the system has counted as read by this process."""
    lines = Path("/proc/self/io").read_text().splitlines()
    (told,) = (line for line in lines if line.startswith("rchar:"))
    return int(told.split()[1])


@dataclass(frozen=True)
class Counted:
    """A task that is opened while reads are counted; each shard tells what it took."""

    task: TileTask
    shared: Path
    local: Path
    opened: Path

    def open(self) -> Callable[[int], dict[str, object]]:
        """Open the task; a shard is done when all workers have opened theirs."""
        before, begun = read_in_all(), time.monotonic()
        with counted_reads(self.shared) as reads:
            work = self.task.open()
            asked = reads() + mapped_bytes(self.shared, "Rss")
        told = {
            "pid": os.getpid(),
            "node": os.environ.get(VARIABLE, "") or os.environ["CISRAY_BENCH_NODE"],
            "asked": asked,
            "read": read_in_all() - before,
            "open_s": time.monotonic() - begun,
        }
        (self.opened / str(os.getpid())).touch()

        def score(shard: int) -> dict[str, object]:
            deadline = time.monotonic() + WAIT_S
            while len(list(self.opened.iterdir())) < NODES * WORKERS_PER_NODE:
                assert time.monotonic() < deadline, "not all workers have opened the task"
                time.sleep(0.05)
            weights = sum(mapped_bytes(at, "Pss") for at in (self.shared, self.local))
            return {**work(shard), **told, "weights": weights}

        return score


@contextmanager
def cluster(nodes: list[dict[str, str]]) -> Iterator[str]:
    """Start a head without CPUs and a node for each set of variables; give the address."""
    head = {"num_cpus": 0, "include_dashboard": False}
    started = Cluster(initialize_head=True, head_node_args=head)
    try:
        for variables in nodes:
            started.add_node(num_cpus=WORKERS_PER_NODE, env_vars=variables)
        yield started.address
    finally:
        started.shutdown()


def measure(folder: Path, config: ScoreGenome, local: Path | None) -> list[dict[str, Any]]:
    """Open the job's task on every worker of the cluster; what each of them tells."""
    disks = local or folder / "none"
    variables = [
        {VARIABLE: str(disks / f"node{number}") if local else "", "CISRAY_BENCH_NODE": str(number)}
        for number in range(NODES)
    ]
    opened = folder / f"opened-{bool(local)}"
    opened.mkdir()
    prepared = config.prepare()
    said: dict[object, dict[str, Any]] = {}
    with (
        prepared.begin(restart=True) as sink,
        cluster(variables) as address,
        connect(address) as connection,
    ):
        task = Counted(prepared.task(now()), folder / "shared", disks, opened)
        workers = NODES * WORKERS_PER_NODE
        policy = PoolPolicy(workers=workers, queue=1, num_cpus=1, threads=1)
        RayExecutor(policy, connection).run(
            task, sink.pending(), on_done=lambda shard, told: said.setdefault(told["pid"], told)
        )
    assert len(said) == workers, f"{len(said)} of {workers} workers did anything"
    return list(said.values())


def rows_of(name: str, inputs: int, weights: int, said: list[dict[str, Any]]) -> list[list[str]]:
    """Lay out what the workers of each node read; sizes in MB."""
    rows = []
    for number, node in enumerate(sorted({told["node"] for told in said})):
        here = [told for told in said if told["node"] == node]
        asked = sum(told["asked"] for told in here)
        rows.append(
            [
                f"{name}, node {number + 1}, {len(here)} workers",
                f"{asked / 1e6:.1f}",
                f"{asked / inputs:.2f}",
                " ".join(f"{told['read'] / 1e6:.1f}" for told in here),
                f"{sum(told['weights'] for told in here) / weights:.2f}",
                " ".join(f"{told['open_s']:.1f}" for told in here),
            ]
        )
    return rows


def make_inputs(folder: Path, genome_mb: int) -> ScoreGenome:
    """Write model, genome and regions; give the job, of which each worker does a few shards."""
    shared = folder / "shared"
    shared.mkdir()
    write_random_model(shared / "model.safetensors", SIZE, "per_feature")
    write_fasta(shared / "genome.fa", genome_mb * 1_000_000)
    tile_bp = SIZES[SIZE].target_bins * SIZES[SIZE].bin_bp
    tiles = 2 * NODES * WORKERS_PER_NODE
    (folder / "tiles.bed").write_text(f"made_up\t{tile_bp}\t{(1 + tiles) * tile_bp}\n")
    return ScoreGenome(
        model=shared / "model.safetensors", fasta=shared / "genome.fa", out=folder / "run",
        bed=folder / "tiles.bed", tiles_per_shard=1, workers=1, threads=1, device="cpu",
        self_check="off",
    )  # fmt: skip


def with_surroundings() -> None:
    """Start this script anew with what Ray reads when it is imported, unless that is set.

    The cluster is closed by a token, and its files lie in a folder of their own.
    """
    if MARK in os.environ:
        return
    with tempfile.TemporaryDirectory(prefix="cr") as folder:
        environment = {name: text for name, text in os.environ.items() if name != "RAY_ADDRESS"}
        environment |= {
            MARK: "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": folder,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        done = subprocess.run([sys.executable, *sys.argv], env=environment, check=False)
    sys.exit(done.returncode)


def main() -> None:
    """Make inputs, run with copies and without, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--genome-mb", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="a trial: a genome of 20 MB")
    options = parser.parse_args()
    with_surroundings()
    before = load_average()
    with tempfile.TemporaryDirectory(prefix="cisray-bench-") as name:
        folder = Path(name)
        config = make_inputs(folder, 20 if options.quick else options.genome_mb)
        without = measure(folder, config, None)
        copies = measure(folder, config, folder / "disks")
        kept = [NodeCache.below(disk).copies() for disk in sorted((folder / "disks").iterdir())]
        inputs = sum(path.stat().st_size for path in (folder / "shared").iterdir())
        weights = (folder / "shared" / "model.safetensors").stat().st_size
    header = [
        "inputs where they lie, or copied", "of the shared place, MB", "times the inputs",
        "read in all by each, MB", "weights in memory, times their size", "opened in, s",
    ]  # fmt: skip
    rows = [
        header,
        *rows_of("where they lie", inputs, weights, without),
        *rows_of("copied", inputs, weights, copies),
    ]
    text = (
        f"Inputs of {inputs / 1e6:.1f} MB, weights {weights / 1e6:.1f} MB of them; two Ray nodes "
        f"of two workers on one machine:\n\n{table(rows)}"
    )
    facts = {
        "benchmark": "node_reads",
        "inputs_bytes": inputs,
        "weights_bytes": weights,
        "without": [{**told, "node": None} for told in without],
        "copies": [{**told, "node": None} for told in copies],
        "copies_per_node": [len(found) for found in kept],
        "machine": machine_facts(1),
        "load_average": [before, load_average()],
    }
    publish("node_reads", text, facts, keep=not options.quick)


if __name__ == "__main__":
    main()
