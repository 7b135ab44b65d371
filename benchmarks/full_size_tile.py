"""One window of 196,608 bp through cisray and through enformer-pytorch, in one run.

Knows both libraries and gives them the same weights, the same bases and the same number of
threads. Each lives in a process of its own, so that its peak memory is its own (but for some tens
of megabytes, as both processes import both libraries), and they take turns (A B A B), so that a
busier minute of the machine does not meet only one of them.

Both compute all 5,313 human tracks in float32 under inference mode. cisray is timed from base
codes to a numpy array (one-hot encoding and selection included), enformer-pytorch from a ready
one-hot tensor to its output tensor; it also computes the mouse head, as its forward always does.

    python benchmarks/full_size_tile.py [--rounds 3] [--threads N] [--size enformer]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from measuring import (
    FULL_SIZE,
    HEAD,
    load_average,
    machine_facts,
    process,
    publish,
    random_codes,
    table,
    timed,
    write_random_model,
)
from numpy.typing import NDArray
from peers import PEER, their_pass

from cisray.inference.predictor import PlainPredictor
from cisray.model.registry import load_model
from cisray_jobs.models import SIZES
from cisray_jobs.worker import peak_rss_bytes

SIDES = ("cisray", PEER)


def our_pass(weights: Path) -> Callable[[], NDArray[np.float32]]:
    """Load the weights into cisray; return one prediction, pred_NT."""
    model = load_model(weights, verify=False)
    predictor = PlainPredictor(model, model.tracks[HEAD], device=torch.device("cpu"))
    codes_BL = random_codes(model.input_bp)[None]
    return lambda: predictor.predict(codes_BL)[0]


@cache
def ready(side: str, weights: Path, threads: int) -> Callable[[], NDArray[np.float32]]:
    """Load once per process."""
    torch.set_num_threads(threads)
    return (our_pass if side == "cisray" else their_pass)(weights)


def one_pass(side: str, weights: Path, threads: int, out: Path) -> tuple[float, float, int]:
    """Predict once, leave pred_NT in `out`.

    Return the seconds by the clock, those of all threads on a core, and the peak memory so far.
    """
    predict = ready(side, weights, threads)
    predictions: list[NDArray[np.float32]] = []
    on_cores = time.process_time()
    seconds = timed(lambda: predictions.append(predict()))
    on_cores = time.process_time() - on_cores
    peak = peak_rss_bytes()
    np.save(out, predictions[0])
    return round(seconds, 3), round(on_cores, 3), peak


@dataclass(frozen=True, slots=True)
class Measured:
    """The timed passes of one side, in seconds, and the peak memory of its process.

    `cpu_seconds` add up the threads; time for which other work held the cores is not in them.
    """

    warm_up_s: float
    seconds: list[float]
    cpu_seconds: list[float]
    peak_rss_bytes: int


def take_turns(weights: Path, threads: int, rounds: int) -> dict[str, Measured]:
    """Warm both up, then time them alternately; leave their predictions beside the weights."""
    passes: dict[str, list[tuple[float, float, int]]] = {side: [] for side in SIDES}
    with process() as ours, process() as theirs:
        for turn in range(1 + rounds):
            for side, pool in zip(SIDES, (ours, theirs), strict=True):
                out = weights.with_name(f"{side}.npy")
                done = pool.submit(one_pass, side, weights, threads, out).result()
                print(f"{f'round {turn}' if turn else 'warm-up'}  {side:<17} {done[0]:7.2f} s")
                passes[side].append(done)
    return {side: _summed_up(passes[side]) for side in SIDES}


def _summed_up(passes: list[tuple[float, float, int]]) -> Measured:
    seconds, cpu_seconds, peaks = (list(column) for column in zip(*passes, strict=True))
    return Measured(seconds[0], seconds[1:], cpu_seconds[1:], peaks[-1])


@dataclass(frozen=True, slots=True)
class Compared:
    """How far two predictions lie apart; `relative` is each difference over its value."""

    shape_NT: tuple[int, ...]
    largest_absolute: float
    largest_relative: float
    smallest_value: float
    median_value: float
    largest_value: float


def compare(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> Compared:
    """Compare two predictions, pred_NT each; all values are positive (softplus)."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    assert np.isfinite(ours).all()
    assert np.isfinite(theirs).all()
    apart = np.abs(ours.astype(np.float64) - theirs)
    return Compared(
        shape_NT=ours.shape,
        largest_absolute=float(apart.max()),
        largest_relative=float((apart / theirs).max()),
        smallest_value=float(theirs.min()),
        median_value=float(np.median(theirs)),
        largest_value=float(theirs.max()),
    )


def report(sides: dict[str, Measured], compared: Compared, size: str) -> str:
    """Lay the two out side by side."""
    a, b = (sides[side] for side in SIDES)
    median = statistics.median
    lines = [
        ("median pass, s", median(a.seconds), median(b.seconds)),
        ("fastest pass, s", min(a.seconds), min(b.seconds)),
        ("median pass, s of all threads", median(a.cpu_seconds), median(b.cpu_seconds)),
        ("peak memory, GB", a.peak_rss_bytes / 1e9, b.peak_rss_bytes / 1e9),
    ]
    rows = [("", *SIDES, "ratio")]
    rows += [(label, f"{x:.2f}", f"{y:.2f}", f"{x / y:.2f}") for label, x, y in lines]
    every = "; ".join(f"{side} {', '.join(map(str, sides[side].seconds))}" for side in SIDES)
    return (
        f"One window through the `{size}` model, float32, the same weights in both:\n\n"
        f"{table(rows)}\n\n"
        f"Every pass after one warm-up, s: {every}.\n"
        f"Largest difference of the outputs: {compared.largest_absolute:.2e} absolute, "
        f"{compared.largest_relative:.2e} relative; the outputs run from "
        f"{compared.smallest_value:.3g} over a median of {compared.median_value:.3g} to "
        f"{compared.largest_value:.3g}."
    )


def main() -> None:
    """Build the weights, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="timed passes of each")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--size", choices=SIZES, default=FULL_SIZE, help="smaller: a trial")
    options = parser.parse_args()
    before = load_average()
    with tempfile.TemporaryDirectory(prefix="cisray-bench-") as folder:
        weights = Path(folder) / "model.safetensors"
        with process() as builder:
            builder.submit(write_random_model, weights, options.size, "per_position").result()
        sides = take_turns(weights, options.threads, options.rounds)
        predictions = [np.load(weights.with_name(f"{side}.npy")) for side in SIDES]
    compared = compare(*predictions)
    facts = {
        "benchmark": "full_size_tile",
        "model": options.size,
        "input_bp": SIZES[options.size].input_bp,
        "sides": {side: asdict(measured) for side, measured in sides.items()},
        "differences": asdict(compared),
        "machine": machine_facts(options.threads) | {PEER: version(PEER)},
        "load_average": [before, load_average()],
    }
    text = report(sides, compared, options.size)
    publish("full_size_tile", text, facts, keep=options.size == FULL_SIZE)


if __name__ == "__main__":
    main()
