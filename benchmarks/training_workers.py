"""Examples per second of two Ray workers beside one, a thread each, in one run.

Knows the job `cisray train` and what it records. The model is the demo's, the examples are made up;
starts of Ray and of workers are not counted. The two take turns.

    python benchmarks/training_workers.py [--steps 30] [--rounds 3] [--batch-size 16]
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from measuring import load_average, machine_facts, publish, table
from training_input import write

from cisray.genome.windows import WindowSpec
from cisray_jobs.demo.setting import ARCHITECTURE, INPUT_BP, TARGET_BINS
from cisray_jobs.train import train_model
from cisray_jobs.train_settings import TrainModel

BIN_BP, EXAMPLES, TRACKS = 128, 64, 5
WORKERS = (1, 2)


def examples_per_s(dataset: Path, out: Path, workers: int, steps: int, batch_size: int) -> float:
    """Train, and give the median over steps; the first ones, which warm up, are left out."""
    job = TrainModel(
        dataset=dataset, out=out, architecture=dict(ARCHITECTURE), steps=steps,
        batch_size=batch_size, workers=workers, threads=1, device="cpu", valid_every=steps,
        checkpoint_every=steps,
    )  # fmt: skip
    train_model(job)
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    rates = [record["examples_per_s"] for record in records if record["kind"] == "train"]
    return statistics.median(rates[len(rates) // 5 :])


def main() -> None:
    """Write a dataset, train with one and with two workers in turn, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=16, help="over all workers")
    options = parser.parse_args()
    before = load_average()
    rates: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    with tempfile.TemporaryDirectory(prefix="cisray-bench-") as folder:
        dataset = Path(folder) / "dataset"
        write(dataset, EXAMPLES, TRACKS, WindowSpec(INPUT_BP, BIN_BP, TARGET_BINS))
        for turn in range(options.rounds):
            for workers in WORKERS:
                out = Path(folder) / f"{workers}-{turn}"
                rates[workers].append(
                    examples_per_s(dataset, out, workers, options.steps, options.batch_size)
                )
    medians = {workers: statistics.median(found) for workers, found in rates.items()}
    rows = [("workers", "examples/s", "ratio")]
    for workers, rate in medians.items():
        rows.append((str(workers), f"{rate:.1f}", f"{rate / medians[1]:.2f}"))
    text = (
        f"The demo's model, {INPUT_BP:,} bp, {options.batch_size} examples a step over all "
        f"workers, a thread each; medians of {options.rounds} rounds:\n\n{table(rows)}"
    )
    facts = {
        "benchmark": "training_workers",
        "examples_per_s": rates,
        "batch_size": options.batch_size,
        "machine": machine_facts(1),
        "load_average": [before, load_average()],
    }
    publish("training_workers", text, facts, keep=options.rounds >= 3)


if __name__ == "__main__":
    main()
