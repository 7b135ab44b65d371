"""The fast engine on one GPU beside the plain passes of the same model there.

Knows cisray's predictors; knows nothing of other libraries, which a GPU machine may lack. All ways
take turns in one process, with the same full-size weights and all tracks of the human head, from
base codes to results in memory; ratios are of medians over the rounds. The plain pass in IEEE
float32 is what published scores are held to; the plain pass in bfloat16 products is the quickest
that a user would get from the model as it is, and of no use for effects.

    python benchmarks/gpu_engine.py [--rounds 5] [--batches 1 4 16] [--as-written] [--keep]

`--as-written` does without torch.compile (docs/decisions/0011).
"""

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from fast_cases import changed
from measuring import (
    FULL_SIZE,
    HEAD,
    SEED,
    load_average,
    machine_facts,
    publish,
    random_codes,
    table,
    timed,
)

from cisray.inference.fast.effects import DeltaEffects
from cisray.inference.fast.predictor import FastPredictor
from cisray.inference.precision import Precision, arithmetic
from cisray.inference.predictor import PlainPredictor
from cisray.model.enformer.initialise import initialise
from cisray.model.enformer.network import Enformer
from cisray_jobs.models import SIZES

TILES = 16  # of one stretch
BASELINE = "plain pass, float32, batches of 1"
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
RATE_SHAPE = (12_288, 1536, 3072)  # of plain products, for their speed

Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds for each unit of a kind of work, by round, and the memory it took at its peak."""

    name: str
    units: int
    seconds: list[float]
    peak_bytes: int

    @property
    def median(self) -> float:
        """Seconds for one unit."""
        return statistics.median(self.seconds)


def plain_passes(model: Enformer, precision: Precision, batch: int) -> tuple[int, Work]:
    """Predict windows that share nothing, a batch of them."""
    predictor = PlainPredictor(
        model, model.tracks[HEAD], device=_device(model), precision=precision, batch_size=batch
    )
    codes_BL = random_codes(batch * model.input_bp).reshape(batch, -1)
    return batch, lambda: predictor.predict(codes_BL)


def fast_tiles(model: Enformer, precision: Precision, batch: int) -> tuple[int, Work]:
    """Predict neighbouring tiles, as a shard of a genome-wide run does."""
    predictor = FastPredictor(
        model, model.tracks[HEAD], device=_device(model), precision=precision, batch_size=batch
    )
    starts = [index * predictor.spec.target_bp for index in range(TILES)]
    codes_S = random_codes(starts[-1] + model.input_bp)
    return TILES, lambda: [pred_NT.shape for pred_NT in predictor.predict_along(codes_S, starts)]


def alternates(model: Enformer, precision: Precision, batch: int) -> tuple[int, Work]:
    """Carry substitutions next to each other through the network, from a reference kept open."""
    effects = DeltaEffects(
        model, model.tracks[HEAD], device=_device(model), precision=precision, batch_size=batch
    )
    codes_L = random_codes(model.input_bp)
    window = effects.open(codes_L)
    first = model.input_bp // 2
    lanes_BL = np.stack(
        [changed(codes_L, first + lane // 3, 1 + lane % 3) for lane in range(batch)]
    )
    return batch, lambda: window.differences(lanes_BL)


def references(model: Enformer, precision: Precision, batch: int) -> tuple[int, Work]:
    """Open reference windows far from one another."""
    effects = DeltaEffects(
        model, model.tracks[HEAD], device=_device(model), precision=precision, batch_size=batch
    )
    windows = [random_codes(model.input_bp, seed=seed) for seed in range(2)]
    return len(windows), lambda: [effects.open(codes_L).prediction_NT.shape for codes_L in windows]


KINDS = {
    "plain pass": plain_passes,
    "tile, fast": fast_tiles,
    "reference of effects": references,
    "alternate, differences": alternates,
}


def measure(model: Enformer, batches: Sequence[int], rounds: int) -> list[Timing]:
    """Take turns round by round; the first round warms up and is not counted."""
    found = []
    for kind, build in KINDS.items():
        for precision in PRECISIONS:
            for batch in (1,) if kind == "reference of effects" else batches:
                name = f"{kind}, {precision}, batches of {batch}"
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
                try:
                    units, work = build(model, precision, batch)
                    _finished(work)
                    seconds = [timed(lambda work=work: _finished(work)) for _ in range(rounds)]
                except torch.OutOfMemoryError:
                    print(f"{name}: out of memory")
                    continue
                peak = torch.cuda.max_memory_allocated()
                found.append(Timing(name, units, [s / units for s in seconds], peak))
                print(f"{name}: {1e3 * found[-1].median:.2f} ms")
                del work
    return found


def products_per_second(device: torch.device) -> Mapping[str, float]:
    """Time plain matrix products: operations per second by type."""
    rates = {}
    rows, summed, columns = RATE_SHAPE
    for dtype in (torch.float32, torch.bfloat16):
        x, weight = (torch.randn(n, summed, device=device).to(dtype) for n in (rows, columns))
        with arithmetic(device, "float32"):
            trials = [_multiply(x, weight) for _ in range(6)]
        flops = 2 * rows * summed * columns
        rates[str(dtype).removeprefix("torch.")] = flops / statistics.median(trials[1:])
    return rates


def _multiply(x: torch.Tensor, weight: torch.Tensor, times: int = 20) -> float:
    """Multiply so many times; tell the seconds of one product."""
    return timed(lambda: _finished(lambda: [x @ weight.T for _ in range(times)])) / times


def report(timings: Sequence[Timing], rates: Mapping[str, float], size: str) -> str:
    """Lay the rows out; ratios are to the plain float32 pass of one window."""
    base = next(timing.median for timing in timings if timing.name == BASELINE)
    rows = [
        (
            timing.name,
            f"{1e3 * timing.median:.2f}",
            f"{base / timing.median:.1f}",
            f"{timing.peak_bytes / 1e9:.1f}",
        )
        for timing in timings
    ]
    plain = "; ".join(f"{dtype} {rate / 1e12:.0f} TFLOP/s" for dtype, rate in rates.items())
    return (
        f"The fast engine on a GPU with the `{size}` model, all bins and tracks of one head, "
        f"medians; how often in the time of one {BASELINE}:\n\n"
        f"{table([('for each', 'ms', 'ratio', 'peak GB'), *rows])}\n\n"
        f"Plain matrix products of {' x '.join(map(str, RATE_SHAPE))}: {plain}."
    )


def _device(model: Enformer) -> torch.device:
    return next(model.parameters()).device


def _finished(work: Work) -> None:
    work()
    torch.cuda.synchronize()


def main() -> None:
    """Build the weights, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", choices=SIZES, default=FULL_SIZE)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--as-written", action="store_true", help="compile nothing")
    parser.add_argument("--keep", action="store_true", help="write a result file")
    options = parser.parse_args()
    if options.as_written:
        torch.compiler.set_stance("force_eager")
    device = torch.device("cuda")
    before = load_average()
    model = initialise(Enformer(SIZES[options.size]), SEED, randomise_all=True).eval().to(device)
    rates = products_per_second(device)
    timings = measure(model, options.batches, options.rounds)
    facts = {
        "benchmark": "gpu_engine",
        "model": options.size,
        "compiled": not options.as_written,
        "timings": [asdict(timing) for timing in timings],
        "products": dict(rates),
        "machine": machine_facts(torch.get_num_threads(), device),
        "load_average": [before, load_average()],
    }
    name = "gpu_engine-as_written" if options.as_written else "gpu_engine"
    publish(name, report(timings, rates, options.size), facts, keep=options.keep)


if __name__ == "__main__":
    main()
