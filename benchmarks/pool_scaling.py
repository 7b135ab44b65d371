"""Two workers beside one, a thread each, and what a worker's time goes into beside the model.

Knows `cisray score genome`, which it runs as it is, and the records that a run leaves: who finished
which shard (its process), how long the device was busy with it, how long it was written, and when
its record appeared (the time of the file). The genome is made up, the model is random.

Counted is what lies between a worker's first record and its last one, so that starts are not, nor
the end, when one worker may wait for the other; starts are told beside it. The time of a shard is
that between two records of one worker, and what it is made of:

- the model: fetching bases, one-hot, the network (`device_s`; self-checks are off)
- writing: rounding, encoding, hashing, publishing (`wall_s`)
- the pool: all the rest, such as waiting for the next shard

Shards are made of so many tiles that they take about `--shard-s` seconds. Runs of one and of two
workers take turns; numbers are medians over the rounds.

    python benchmarks/pool_scaling.py [--rounds 3] [--shards 24] [--shard-s 1.0] [--quick]
"""

import argparse
import statistics
import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from measuring import load_average, machine_facts, publish, table, write_random_model
from worker_memory import write_fasta

from cisray.engine.progress import Display
from cisray.store.run import ShardSink
from cisray_jobs.models import SIZES
from cisray_jobs.score_genome import ScoreGenome

SIZE = "small"
WORKERS = (1, 2)
TRIAL_TILES = 4
TRIAL_SHARDS = 4


@dataclass(frozen=True, slots=True)
class Done:
    """A finished shard: by which process, at which second, and for how long at what."""

    pid: int
    at: float
    device_s: float
    write_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """A run: shards a second while all worked, shares of their time, seconds of the start."""

    workers: int
    shards_per_s: float
    shard_s: float
    model: float
    writing: float
    pool: float
    start_s: float


def shards_of(run: Path) -> list[Done]:
    """Read what a run's records say, in the order in which they appeared."""
    sink = ShardSink.attach(run)
    appeared = {
        int(path.name.partition(".")[0]): path.stat().st_mtime
        for path in (run / "_commits").iterdir()
    }
    found = [
        Done(
            pid=int(str(receipt.info["pid"])),
            at=appeared[receipt.shard],
            device_s=float(str(receipt.info["device_s"])),
            write_s=receipt.wall_s,
        )
        for receipt in sink.receipts()
    ]
    return sorted(found, key=lambda shard: shard.at)


def began(run: Path) -> float:
    """Tell the second at which the command began that made a run."""
    (session,) = {str(receipt.info["session"]) for receipt in ShardSink.attach(run).receipts()}
    return datetime.fromisoformat(session).timestamp()


def measured(run: Path, workers: int) -> Measured:
    """Work out from a run's records how fast it was, and what its workers' time went into."""
    by_worker: dict[int, list[Done]] = defaultdict(list)
    shards = shards_of(run)
    for shard in shards:
        by_worker[shard.pid].append(shard)
    assert len(by_worker) == workers, f"{len(by_worker)} of {workers} workers did anything"
    begin = max(mine[0].at for mine in by_worker.values())
    end = min(mine[-1].at for mine in by_worker.values())
    later = [shard for mine in by_worker.values() for shard in mine[1:]]
    spent = sum(mine[-1].at - mine[0].at for mine in by_worker.values())
    model = sum(shard.device_s for shard in later) / spent
    writing = sum(shard.write_s for shard in later) / spent
    first = shards[0]
    return Measured(
        workers=workers,
        shards_per_s=sum(_rate(mine, begin, end) for mine in by_worker.values()),
        shard_s=spent / len(later),
        model=model,
        writing=writing,
        pool=1 - model - writing,
        start_s=first.at - first.device_s - first.write_s - began(run),
    )


def _rate(mine: list[Done], begin: float, end: float) -> float:
    """Tell how many shards a second one worker did while all were at work."""
    inside = [shard.at for shard in mine if begin <= shard.at <= end]
    return (len(inside) - 1) / (inside[-1] - inside[0])


def score(folder: Path, name: str, *, workers: int, tiles: int, shards: int) -> Path:
    """Score a made-up chromosome of so many shards, with a thread for each worker."""
    fasta, run = folder / f"{name}.fa", folder / name
    write_fasta(fasta, shards * tiles * SIZES[SIZE].target_bins * SIZES[SIZE].bin_bp)
    ScoreGenome(
        model=folder / "model.safetensors",
        fasta=fasta,
        out=run,
        tiles_per_shard=tiles,
        workers=workers,
        threads=1,
        device="cpu",
        self_check="off",
    ).run(Display.NONE)
    return run


def fitting_tiles(folder: Path, shard_s: float) -> int:
    """Choose how many tiles take so long, by a run that is not counted."""
    trial = score(folder, "trial", workers=1, tiles=TRIAL_TILES, shards=TRIAL_SHARDS)
    each = statistics.median(shard.device_s for shard in shards_of(trial)[1:]) / TRIAL_TILES
    return max(1, round(shard_s / each))


def middle(rounds: list[Measured]) -> Measured:
    """Give the medians over rounds of as many workers."""
    told = [asdict(one) for one in rounds]
    return Measured(
        workers=rounds[0].workers,
        **{
            name: statistics.median(one[name] for one in told)
            for name in told[0]
            if name != "workers"
        },
    )


def report(medians: list[Measured], tiles: int) -> str:
    """Lay one and two workers side by side."""
    lines = {
        "shards a second": [f"{m.shards_per_s:.3f}" for m in medians],
        "ratio": [f"{m.shards_per_s / medians[0].shards_per_s:.2f}" for m in medians],
        "a shard, s": [f"{m.shard_s:.2f}" for m in medians],
        "in the model": [f"{m.model:.2%}" for m in medians],
        "writing": [f"{m.writing:.2%}" for m in medians],
        "in the pool": [f"{m.pool:.2%}" for m in medians],
        "not in the model": [f"{1 - m.model:.2%}" for m in medians],
        "start to the first shard, s": [f"{m.start_s:.1f}" for m in medians],
    }
    header = ("workers", *(str(m.workers) for m in medians))
    rows = table([header, *((name, *cells) for name, cells in lines.items())])
    return (
        f"`cisray score genome` with the `{SIZE}` model, {tiles} tiles a shard, workers of one "
        f"thread each on an embedded Ray:\n\n{rows}"
    )


def main() -> None:
    """Choose the size of a shard, run one and two workers in turn, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shards", type=int, default=24, help="for each worker")
    parser.add_argument("--shard-s", type=float, default=1.0)
    parser.add_argument("--quick", action="store_true", help="a trial: 1 round of 10 shards")
    options = parser.parse_args()
    rounds, shards = (1, 10) if options.quick else (options.rounds, options.shards)
    before = load_average()
    found: dict[int, list[Measured]] = {workers: [] for workers in WORKERS}
    with tempfile.TemporaryDirectory(prefix="cisray-bench-") as name:
        folder = Path(name)
        write_random_model(folder / "model.safetensors", SIZE, "per_feature")
        tiles = fitting_tiles(folder, options.shard_s)
        for turn in range(rounds):
            for workers in WORKERS:
                run = score(
                    folder, f"{workers}-{turn}",
                    workers=workers, tiles=tiles, shards=workers * shards,
                )  # fmt: skip
                found[workers].append(measured(run, workers))
    medians = [middle(found[workers]) for workers in WORKERS]
    facts = {
        "benchmark": "pool_scaling",
        "model": SIZE,
        "tiles_per_shard": tiles,
        "shards_per_worker": shards,
        "rounds": [asdict(one) for workers in WORKERS for one in found[workers]],
        "ratio": round(medians[1].shards_per_s / medians[0].shards_per_s, 3),
        "not_in_the_model": {m.workers: round(1 - m.model, 4) for m in medians},
        "machine": machine_facts(1),
        "load_average": [before, load_average()],
    }
    publish("pool_scaling", report(medians, tiles), facts, keep=not options.quick and rounds >= 3)


if __name__ == "__main__":
    main()
