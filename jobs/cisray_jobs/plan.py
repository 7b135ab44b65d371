"""What a scoring run will cost, said before it starts: rows, bytes, time and memory.

Knows arithmetic on sizes and rough speeds; knows nothing of how a run is made. Rows are exact,
bytes good to some 20 %, times an order of magnitude until the first shards are done.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from cisray.inference.batching import physical_memory
from cisray.inference.choose import Method
from cisray.inference.precision import Precision

# Sustained speeds, operations per second. CPU, per thread: the plain pass between the median and
# the fastest of benchmarks/results (full_size_tile), the fast one on a processor that multiplies
# bfloat16. CUDA: an H200 without TensorFloat-32, benchmarks/results (gpu_engine); tiles in bfloat16
# reach more, differences less.
CPU_FLOPS_PER_THREAD: Mapping[tuple[Method, Precision], float] = {
    ("plain", "float32"): 40e9,
    ("plain", "bfloat16"): 40e9,
    ("fast", "float32"): 150e9,
    ("fast", "bfloat16"): 350e9,
}
CUDA_FLOPS: Mapping[tuple[Method, Precision], float] = {
    ("plain", "float32"): 25e12,
    ("plain", "bfloat16"): 90e12,
    ("fast", "float32"): 35e12,
    ("fast", "bfloat16"): 90e12,
}
# A processor without instructions for products of bfloat16 does so little of what one with them
# does: assumed, an order of magnitude.
EMULATED_BFLOAT16 = 0.1

FLOAT32_BYTES = 4

# Memory of a worker at its fullest: Python with torch, the weights, and either a pass, beside which
# the shard's values are held once, or the values twice, as they are scored and as they are encoded.
# A plain pass holds about five activations of the stem's width at full length: within 15 % of the
# peaks in benchmarks/results (full_size_tile).
BASE_BYTES = 400_000_000
STEM_ACTIVATIONS = 5
MEMORY_SHARE = 0.8

MAX_THREADS_PER_WORKER = 4


@dataclass(frozen=True, slots=True)
class Resources:
    """How the work is spread: `workers` 0 is this process; `threads` are torch's, per worker.

    A `batch_size` of None is for each worker to choose when it has its device. Costs count it as 1:
    on a CPU it is, and on a GPU, whose memory is measured, a plan has nothing to say about it.
    """

    device: str
    workers: int
    threads: int
    num_gpus: float
    batch_size: int | None


def spread(
    *,
    device: str,
    workers: int | None,
    threads: int | None,
    num_gpus: float | None,
    batch: int | None,
) -> Resources:
    """Choose what was left to us: one worker per GPU, or up to four threads per CPU worker.

    None means auto. On CUDA a worker takes a whole GPU unless told otherwise; those that share one
    would each measure memory that is the others' too, so that their batches are of one window.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    on_gpu = device.startswith("cuda")
    share = num_gpus if num_gpus is not None else float(on_gpu)
    if threads is None:
        threads = cores if workers == 0 else max(1, min(MAX_THREADS_PER_WORKER, cores // 2))
    if workers is None:
        local = torch.cuda.device_count() / share if on_gpu and share else cores / threads
        workers = max(1, int(local))
    if on_gpu and share < 1:
        batch = batch or 1
    return Resources(device, workers, threads, share, batch)


def worker_bytes(*, weights: int, copied: int, passing: int, shard_values: int) -> int:
    """Estimate the most memory that a worker needs.

    `weights` is a count of float32, `copied` the bytes of them that are kept in another form, and
    `passing` the bytes of the activations of a pass; `shard_values` counts the float32 of the
    largest shard, rows x tracks.

    No pass runs while values are encoded, which is when there are two copies of them.

    >>> plain = plain_bytes(batch=1, input_bp=196_608, base_channels=768)
    >>> worker_bytes(weights=251_251_002, copied=0, passing=plain, shard_values=0)
    4424902888
    """
    held = FLOAT32_BYTES * shard_values
    return BASE_BYTES + FLOAT32_BYTES * weights + copied + max(passing + held, 2 * held)


def plain_bytes(*, batch: int, input_bp: int, base_channels: int) -> int:
    """Estimate the bytes of the activations of a plain pass over a batch of windows."""
    return FLOAT32_BYTES * STEM_ACTIVATIONS * batch * input_bp * base_channels


def fit_memory(resources: Resources, bytes_each: int) -> Resources:
    """Take as many CPU workers as there is memory for, at least one: for numbers left to us."""
    room = int(MEMORY_SHARE * physical_memory() / bytes_each)
    return replace(resources, workers=max(1, min(resources.workers, room)))


def speed(
    resources: Resources, method: Method, precision: Precision, *, native: bool = True
) -> float:
    """Estimate the operations that one worker does in a second.

    `native`: the device has instructions for products of that precision.
    """
    share = 1.0 if native else EMULATED_BFLOAT16
    if resources.device.startswith("cuda"):
        return share * CUDA_FLOPS[method, precision]
    return share * CPU_FLOPS_PER_THREAD[method, precision] * resources.threads
