"""Optimiser steps through cisray and through enformer-pytorch in plain PyTorch, in one run.

Knows both libraries and gives them the same weights, bases, targets, learning rate and number of
threads, and no dropout, so that their losses can be compared. Each lives in a process of its own,
whose peak memory is its own, and they take turns. cisray steps as `cisray train` does: its batch
norm, Sonnet's Adam, clipping; the other side is what its documentation shows: model(x), the
Poisson loss, torch.optim.Adam. Batch 1. All sides at once take 40 GB of memory at full
size; `--apart` has one side begin when the one before has ended.

    python benchmarks/training_step.py [--steps 3] [--device cpu] [--recompute none] [--apart]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Self, get_args

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
from peers import PEER, their_config

from cisray.engine.group import GroupPolicy, InlineSession
from cisray.model.checkpoints.native import read_native
from cisray.model.enformer.network import Enformer
from cisray.training.batches import Batch
from cisray.training.loop import prepare
from cisray.training.recompute import Recompute
from cisray.training.session import TrainSettings
from cisray_jobs.models import SIZES
from cisray_jobs.worker import peak_rss_bytes

SIDES = ("cisray float32", "cisray bfloat16", PEER)
RATE = 5e-4
PLAIN_SHAPE = (1536, 1536, 49_152)  # of a product, for its speed
STILL = {"dropout": 0.0, "attention_dropout": 0.0, "positional_dropout": 0.0}

Step = Callable[[], float]
Told = tuple[float, float, int]  # loss, seconds, peak bytes


def example(weights: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw codes_BL and target_BNT of one example."""
    config = read_native(weights, verify=False).config
    draws = np.random.default_rng(1)
    target_BNT = draws.poisson(1.0, (1, config.target_bins, config.heads[HEAD]))
    codes_BL = random_codes(config.input_bp)[None]
    return torch.from_numpy(codes_BL), torch.from_numpy(target_BNT.astype(np.float32))


@dataclass(frozen=True, slots=True)
class Where:
    """What all sides run on, and whether ours computes activations twice."""

    threads: int
    device: str
    recompute: Recompute


def our_step(weights: Path, precision: str, where: Where) -> Step:
    """Make what takes a step of cisray and gives its loss."""
    checkpoint = read_native(weights, verify=False)
    model = Enformer(checkpoint.config.model_copy(update=STILL))
    model.load_state_dict(dict(checkpoint.state))
    settings = TrainSettings(
        heads=(HEAD,), steps=1, batch_size=1, learning_rate=RATE, warmup_rounds=0, clip_norm=None,
        precision=precision,
    )  # fmt: skip
    session = InlineSession(weights.parent, GroupPolicy(workers=0, device=where.device))
    training = prepare(model, settings, session, recompute=where.recompute)
    training.train_mode()
    batch = Batch(*example(weights))
    numbers = count()
    return lambda: training.take_step(next(numbers), iter([batch])).loss


def their_step(weights: Path, device: str) -> Step:
    """Make what takes a step of enformer-pytorch and gives its loss."""
    from enformer_pytorch import Enformer as TheirEnformer  # noqa: PLC0415

    checkpoint = read_native(weights, verify=False)
    config = their_config(checkpoint.config)
    config.dropout_rate = config.attn_dropout = config.pos_dropout = 0.0
    model = TheirEnformer(config)
    model.load_state_dict(dict(checkpoint.state), strict=False)
    model.to(device).train()
    optimiser = torch.optim.Adam(model.parameters(), RATE)
    codes_BL, target_BNT = (values.to(device) for values in example(weights))
    onehot_BLA = torch.nn.functional.one_hot(codes_BL.long(), 4).float()

    def step() -> float:
        optimiser.zero_grad()
        pred_BNT = model(onehot_BLA, head=HEAD)
        loss = (pred_BNT - target_BNT * torch.log(pred_BNT + 1e-7)).mean()
        loss.backward()
        optimiser.step()
        return float(loss)

    return step


@cache
def ready(side: str, weights: Path, where: Where) -> Step:
    """Load once per process."""
    torch.set_num_threads(where.threads)
    if side == PEER:
        return their_step(weights, where.device)
    return our_step(weights, side.split()[1], where)


def one_step(side: str, weights: Path, where: Where) -> Told:
    """Take a step; return its loss, its seconds, and the peak memory of the process so far."""
    step = ready(side, weights, where)
    on_gpu = where.device == "cuda"
    begun = time.perf_counter()
    loss = step()
    if on_gpu:
        torch.cuda.synchronize()
    seconds = round(time.perf_counter() - begun, 3)
    return loss, seconds, torch.cuda.max_memory_allocated() if on_gpu else peak_rss_bytes()


@dataclass(frozen=True, slots=True)
class Measured:
    """The steps of one side: losses, seconds after the first, and the peak memory in bytes.

    The memory is that of the process, or on a GPU what torch had allocated there.
    """

    losses: list[float]
    seconds: list[float]
    peak_bytes: int

    @classmethod
    def of(cls, rows: list[Told]) -> Self:
        """Leave out the time of the warm-up."""
        losses, seconds, peaks = (list(column) for column in zip(*rows, strict=True))
        return cls(losses, seconds[1:], peaks[-1])


def take_turns(weights: Path, steps: int, where: Where) -> dict[str, Measured]:
    """Step every side once to warm up, then alternately."""
    told: dict[str, list[Told]] = {side: [] for side in SIDES}
    with ExitStack() as stack:
        pools = {side: stack.enter_context(process()) for side in SIDES}
        for turn in range(1 + steps):
            for side, pool in pools.items():
                told[side].append(in_process(pool, turn, side, weights, where))
    return {side: Measured.of(rows) for side, rows in told.items()}


def one_by_one(weights: Path, steps: int, where: Where) -> dict[str, Measured]:
    """Do all steps of a side before the next side takes any memory."""
    found = {}
    for side in SIDES:
        with process() as pool:
            rows = [in_process(pool, turn, side, weights, where) for turn in range(1 + steps)]
        found[side] = Measured.of(rows)
    return found


def in_process(
    pool: ProcessPoolExecutor, turn: int, side: str, weights: Path, where: Where
) -> Told:
    """Have a side's process take a step; turn 0 is the warm-up."""
    done = pool.submit(one_step, side, weights, where).result()
    print(f"{f'step {turn}' if turn else 'warm-up'}  {side:<17} {done[1]:7.2f} s", flush=True)
    return done


def floor(size: str, where: Where) -> dict[str, float]:
    """Tell what a step's products in float32 take at the rate of a plain matrix product.

    A step has three times the products of a forward pass: its own, and those of the gradients of
    inputs and of weights. No way to compute them as products is quicker.
    """
    torch.set_num_threads(where.threads)
    rows, summed, columns = PLAIN_SHAPE
    left, right = torch.randn(rows, summed), torch.randn(summed, columns)
    left, right = left.to(where.device), right.to(where.device)

    def product() -> None:
        left @ right
        if where.device == "cuda":
            torch.cuda.synchronize()

    trials = [timed(product) for _ in range(6)]
    rate = 2 * rows * summed * columns / statistics.median(trials[1:])
    flops = 3 * SIZES[size].forward_flops(HEAD)
    return {"products_flop": flops, "plain_flop_per_s": rate, "seconds": flops / rate}


def report(sides: dict[str, Measured], size: str, least: dict[str, float]) -> str:
    """Lay the sides out beside each other."""
    medians = {side: statistics.median(measured.seconds) for side, measured in sides.items()}
    peer = sides[PEER]
    rows = [("side", "median step, s", "x steps/s", "peak, GB", "x peak", "loss 1", "loss last")]
    for side, measured in sides.items():
        rows.append(
            (
                side,
                f"{medians[side]:.2f}",
                f"{medians[PEER] / medians[side]:.2f}",
                f"{measured.peak_bytes / 1e9:.2f}",
                f"{measured.peak_bytes / peer.peak_bytes:.2f}",
                f"{measured.losses[0]:.6f}",
                f"{measured.losses[-1]:.6f}",
            )
        )
    return (
        f"Optimiser steps of the `{size}` model, batch 1, one head:\n\n{table(rows)}\n\n"
        f"The {least['products_flop'] / 1e12:.2f} TFLOP of products of a step take "
        f"{least['seconds']:.2f} s at the {least['plain_flop_per_s'] / 1e9:.0f} GFLOP/s of a plain "
        f"matrix product in float32, {' x '.join(map(str, PLAIN_SHAPE))}."
    )


def main() -> None:
    """Build the weights, step, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=3, help="timed steps of each")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--size", choices=SIZES, default=FULL_SIZE, help="smaller: a trial")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--recompute", choices=get_args(Recompute), default="none")
    parser.add_argument("--apart", action="store_true", help="one side after the other")
    options = parser.parse_args()
    where = Where(options.threads, options.device, options.recompute)
    before = load_average()
    with tempfile.TemporaryDirectory(prefix="cisray-bench-") as folder:
        weights = Path(folder) / "model.safetensors"
        with process() as builder:
            builder.submit(write_random_model, weights, options.size, "per_position").result()
        measure = one_by_one if options.apart else take_turns
        sides = measure(weights, options.steps, where)
    least = floor(options.size, where)
    facts = {
        "benchmark": "training_step",
        "least": least,
        "model": options.size,
        "recompute": options.recompute,
        "sides": {side: asdict(measured) for side, measured in sides.items()},
        "machine": machine_facts(options.threads, torch.device(options.device))
        | {PEER: version(PEER)},
        "load_average": [before, load_average()],
    }
    name = "training_step" + ("-cuda" if options.device == "cuda" else "")
    name += f"-{options.recompute}" if options.recompute != "none" else ""
    publish(name, report(sides, options.size, least), facts, keep=options.size == FULL_SIZE)


if __name__ == "__main__":
    main()
