"""The fast engine beside enformer-pytorch: tiles, saturation, variants; speed, accuracy, memory.

Knows both libraries, gives them the same full-size weights and the same number of threads, and
makes them take turns: in every round, each kind of work of cisray (`fast_cases`) and one float32
pass of enformer-pytorch over one window. Ratios are of medians over the rounds. cisray works in a
fresh process for each kind of work, so that peak memory is that of this work alone (but for some
tens of megabytes, as every process imports both libraries); enformer-pytorch keeps one process and
computes both heads, as its forward always does.

A ratio says how often cisray does a unit of work in the time that enformer-pytorch needs for the
passes which the same unit takes there: one for a tile; one for an alternate whose reference is
shared, two where each variant has its own. Products are counted as they are executed (`counting`),
in the warm-up round, which is not timed; their rate is set against plain matrix products of the
same types and threads. The memory of a worker of a run is measured besides (`worker_memory`); its
time is not. How exact effects are is measured by benchmarks/effect_accuracy.py.

    python benchmarks/fast_engine.py [--rounds 3] [--threads 2] [--size enformer] [--only CASE ...]
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from fast_cases import CASES, Case, Ledger, Part, Workload
from fast_report import (
    Measured,
    Results,
    agreement,
    flops_per_unit,
    largest_relative,
    per_unit,
    report,
    spelt,
    summary,
)
from measuring import (
    FULL_SIZE,
    HEAD,
    load_average,
    machine_facts,
    process,
    publish,
    timed,
    write_random_model,
)
from numpy.typing import NDArray
from peers import PEER, their_pass
from worker_memory import worker_peak_bytes

from cisray.inference.fast.products import linear
from cisray.inference.precision import arithmetic
from cisray.model.registry import load_model
from cisray_jobs.models import SIZES
from cisray_jobs.worker import peak_rss_bytes

TIMED = [case for case in CASES if case != "tiles_plain"]
WORKER = "worker"  # of a run on Ray: its memory is measured, not its time
RATE_SHAPE = (4096, 1536, 3072)  # rows, summed, columns: what most of the network's products are
RATE_TRIALS = 10


@cache
def ready(case: str, weights: Path, threads: int, load: Workload) -> Case:
    """Load once per process."""
    torch.set_num_threads(threads)
    return CASES[case](load_model(weights, verify=False), load)


@dataclass(frozen=True, slots=True)
class Done:
    """One round of a case: its parts, and the peak memory of its process so far."""

    parts: list[Part]
    peak_rss_bytes: int


def our_round(
    case: str, weights: Path, threads: int, load: Workload, keep: Path | None = None
) -> Done:
    """Do a case once; a warm-up is counted, and leaves the predictions of tiles in `keep`."""
    ledger = Ledger(count=keep is not None, keep=keep)
    ready(case, weights, threads, load)(ledger)
    return Done(ledger.parts, peak_rss_bytes())


@cache
def their_ready(weights: Path, threads: int) -> Callable[[], NDArray[np.float32]]:
    """Load once per process."""
    torch.set_num_threads(threads)
    return their_pass(weights)


def their_round(weights: Path, threads: int) -> tuple[float, int]:
    """Pass one window through enformer-pytorch; tell the seconds and the peak memory so far."""
    predict = their_ready(weights, threads)
    return timed(predict), peak_rss_bytes()


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured with: the weights, the threads, the amount of work, the rounds."""

    weights: Path
    threads: int
    load: Workload
    rounds: int

    def measure(self, case: str, theirs: ProcessPoolExecutor) -> Measured:
        """Warm up and count, then take turns."""
        with process() as ours:
            args = (our_round, case, self.weights, self.threads, self.load)
            done = warm = ours.submit(*args, self.predictions(case)).result()
            seconds, their_seconds = [], []
            for turn in range(1, 1 + self.rounds):
                done = ours.submit(*args).result()
                seconds.append(per_unit(done.parts))
                passed, _ = theirs.submit(their_round, self.weights, self.threads).result()
                their_seconds.append(round(passed, 4))
                print(f"{case}, round {turn}: {spelt(seconds[-1])}; {PEER} {passed:.2f} s")
        return Measured(seconds, flops_per_unit(warm.parts), their_seconds, done.peak_rss_bytes)

    def predict_plainly(self) -> None:
        """Leave the plain predictions of the first tiles."""
        with process() as ours:
            args = ("tiles_plain", self.weights, self.threads, self.load)
            ours.submit(our_round, *args, self.predictions("tiles_plain")).result()

    def worker_peak(self) -> int:
        """Let a worker of a run score a little; tell its peak memory."""
        with process() as driver:
            args = (self.weights, self.threads, self.load.worker_tiles)
            return driver.submit(worker_peak_bytes, *args).result()

    def predictions(self, case: str) -> Path:
        """Name the folder for the predictions of a case's tiles."""
        return self.weights.with_name(case)


def products_per_second(threads: int) -> dict[str, float]:
    """Time plain matrix products: operations per second by type and by way."""
    torch.set_num_threads(threads)
    rows, summed, columns = RATE_SHAPE
    rates = {}
    for dtype in (torch.float32, torch.bfloat16):
        x, weight = (torch.randn(n, summed).to(dtype) for n in (rows, columns))
        name = str(dtype).removeprefix("torch.")
        rates[f"{name}, torch.mm"] = _rate(lambda a, b: torch.mm(a, b.T), x, weight)
        rates[f"{name}, products.linear"] = _rate(linear, x, weight)
    return rates


def _rate(multiply: Callable[..., torch.Tensor], x: torch.Tensor, weight: torch.Tensor) -> float:
    """Multiply again and again; tell the operations per second of the median trial."""
    with arithmetic(torch.device("cpu"), "float32"):
        multiply(x, weight)
        taken = [timed(lambda: multiply(x, weight)) for _ in range(RATE_TRIALS)]
    return 2 * x.numel() * len(weight) / statistics.median(taken)


def compare(bench: Bench, cases: Sequence[str]) -> dict[str, float]:
    """Compare fast tiles with plain ones, and bfloat16 with float32, as far as they were made."""
    facts: dict[str, float] = {}
    exact, rounded, plain = (
        bench.predictions(f"tiles_{kind}") for kind in ("float32", "bfloat16", "plain")
    )
    if "tiles_float32" in cases:
        bench.predict_plainly()
        facts["float32_largest_relative_error"] = largest_relative(exact, plain)
    if {"tiles_float32", "tiles_bfloat16"} <= set(cases):
        found = agreement(rounded, exact)
        facts["bfloat16_pearson_smallest"] = float(found.pearson.min())
        facts["bfloat16_pearson_1st_percentile"] = float(np.percentile(found.pearson, 1))
        facts["bfloat16_pearson_median"] = float(np.median(found.pearson))
        facts["bfloat16_error_largest"] = float(found.error.max())
        facts["bfloat16_error_median"] = float(np.median(found.error))
        facts["variation_median"] = float(np.median(found.variation))
    return facts


def measure_all(bench: Bench, cases: Sequence[str]) -> Results:
    """Take turns case by case, then compare predictions; products are timed before and after."""
    rates = []
    measured: dict[str, Measured] = {}
    with process() as other:
        rates.append(other.submit(products_per_second, bench.threads).result())
    with process() as theirs:
        theirs.submit(their_round, bench.weights, bench.threads).result()  # a warm-up
        for case in (name for name in TIMED if name in cases):
            measured[case] = bench.measure(case, theirs)
        _, their_peak = theirs.submit(their_round, bench.weights, bench.threads).result()
    with process() as other:
        rates.append(other.submit(products_per_second, bench.threads).result())
    return Results(
        measured=measured,
        accuracy=compare(bench, cases),
        products={way: statistics.mean(rate[way] for rate in rates) for way in rates[0]},
        their_peak_rss_bytes=their_peak,
        worker_peak_rss_bytes=bench.worker_peak() if WORKER in cases else None,
    )


def main() -> None:
    """Build the weights, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds of each kind of work")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--size", choices=SIZES, default=FULL_SIZE, help="smaller: a trial")
    every = [*TIMED, WORKER]
    parser.add_argument("--only", choices=every, nargs="+", default=every, help="a trial of some")
    options = parser.parse_args()
    load = Workload()
    before = load_average()
    with tempfile.TemporaryDirectory(prefix="cisray-bench-") as folder:
        weights = Path(folder) / "model.safetensors"
        with process() as builder:
            builder.submit(write_random_model, weights, options.size, "per_position").result()
        bench = Bench(weights, options.threads, load, options.rounds)
        results = measure_all(bench, options.only)
    facts = {
        "benchmark": "fast_engine",
        "model": options.size,
        "work": asdict(load),
        "results": asdict(results),
        "table": summary(results, load),
        "machine": machine_facts(options.threads) | {PEER: version(PEER)},
        "load_average": [before, load_average()],
    }
    flops = SIZES[options.size].forward_flops(HEAD)
    text = report(results, load, options.size, peer=PEER, peer_flops=flops)
    whole = options.size == FULL_SIZE and set(options.only) == set(every)
    publish("fast_engine", text, facts, keep=whole)


if __name__ == "__main__":
    main()
