"""How far bfloat16 products move tracks that vary as real ones do: a model trained for this.

Random weights cannot tell: their tracks vary along the sequence by a hundredth of their mean, so
that a correlation along the sequence sees mostly rounding. Published weights are not always at hand
where benchmarks run. So a model of the published size is trained here for some minutes, on random
sequences whose targets follow from their 5-mers: 64 programs, each the smoothed count of a few
5-mers of either strand in every bin, mixed sparsely into all tracks of the human head. Then fresh
sequences are predicted in float32 and in bfloat16 by the fast predictor, and compared track by
track, before and after training.

    python benchmarks/bfloat16_tracks.py [--device cuda] [--steps 1500] [--size enformer] [--keep]
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from measuring import (
    FULL_SIZE,
    HEAD,
    SEED,
    load_average,
    machine_facts,
    publish,
    random_codes,
    table,
)
from torch.nn import functional

from cisray.inference.fast.predictor import FastPredictor
from cisray.inference.precision import Precision
from cisray.inference.predictor import onehot_table
from cisray.model.enformer.initialise import initialise
from cisray.model.enformer.network import Enformer
from cisray_jobs.models import SIZES

KMER = 5
PROGRAMS = 64
KMERS_EACH = 8
PROGRAMS_PER_TRACK = 3
REACHES = (0, 1, 2, 4)  # bins over which a program is smoothed, by turns
BATCH = 4
RATE, WARM_UP, CLIP = 5e-4, 200, 0.2
COMPARED_TILES = 4


class Targets:
    """Targets of random sequences: what their 5-mers add up to, bin by bin and track by track."""

    def __init__(self, model: Enformer, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(SEED)
        weights = torch.zeros(4**KMER, PROGRAMS)
        for program in range(PROGRAMS):
            for kmer in torch.randint(0, 4**KMER, (KMERS_EACH,), generator=generator).tolist():
                weights[[kmer, _other_strand(kmer)], program] = 1.0
        tracks = model.config.heads[HEAD]
        self._mix = torch.zeros(PROGRAMS, tracks)
        for track in range(tracks):
            chosen = torch.randperm(PROGRAMS, generator=generator)[:PROGRAMS_PER_TRACK]
            self._mix[chosen, track] = torch.rand(PROGRAMS_PER_TRACK, generator=generator) + 0.2
        self._mix = self._mix.to(device)
        self._weights = weights.to(device)
        self._model = model

    def of(self, codes_BL: torch.Tensor) -> torch.Tensor:
        """Compute targets (B, N, T) of base codes 0 to 3, (B, L)."""
        spec = self._model.config
        index = sum(codes_BL.long().roll(-i, 1) * 4**i for i in range(KMER))
        counts = self._weights[index].unflatten(1, (-1, spec.bin_bp)).sum(2)  # (B, K, programs)
        smoothed = torch.stack(
            [_smooth(counts[..., p], REACHES[p % len(REACHES)]) for p in range(PROGRAMS)], dim=-1
        )
        crop = spec.crop_bins
        return smoothed[:, crop : crop + spec.target_bins] @ self._mix


def _other_strand(kmer: int) -> int:
    """Number the reverse complement of a k-mer; the first base is the lowest digit."""
    digits = [kmer // 4**i % 4 for i in range(KMER)]
    return sum((3 - digit) * 4**i for i, digit in enumerate(reversed(digits)))


def _smooth(counts_BK: torch.Tensor, reach: int) -> torch.Tensor:
    if not reach:
        return counts_BK
    width = 2 * reach + 1
    return functional.avg_pool1d(
        counts_BK[:, None], width, stride=1, padding=reach, count_include_pad=True
    )[:, 0]


def train(model: Enformer, steps: int) -> list[float]:
    """Fit a model to the targets with the published loss and optimiser; return the losses."""
    device = next(model.parameters()).device
    targets, lookup = Targets(model, device), onehot_table(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda n: min(1, (n + 1) / WARM_UP))
    generator = torch.Generator(device).manual_seed(SEED + 1)
    losses = []
    model.train()
    for step in range(steps):
        codes = torch.randint(0, 4, (BATCH, model.input_bp), generator=generator, device=device)
        with torch.autocast(device.type, torch.bfloat16):
            pred_BNT = model(lookup[codes], head=HEAD)
        loss = functional.poisson_nll_loss(
            pred_BNT.float(), targets.of(codes), log_input=False, eps=1e-7
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        schedule.step()
        losses.append(loss.detach())
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.4f}", flush=True)
    model.eval()
    return [float(loss) for loss in losses]


@dataclass(frozen=True, slots=True)
class Compared:
    """bfloat16 against float32, by quantiles over tracks: worst, 1 %, median."""

    what: str
    variation: float  # standard deviation along the sequence over the mean, median over tracks
    error: tuple[float, float]  # norm of the difference over that of the track: median, largest
    pearson: tuple[float, float, float]
    fit: float  # Pearson correlation with the targets, median over tracks


def compare(model: Enformer, what: str) -> Compared:
    """Predict fresh tiles both ways."""
    device = next(model.parameters()).device
    codes_S = random_codes(
        model.input_bp + (COMPARED_TILES - 1) * model.target_bins * model.bin_bp, seed=SEED + 2
    )
    starts = [index * model.target_bins * model.bin_bp for index in range(COMPARED_TILES)]
    exact_NT, rounded_NT = (_predict(model, precision, codes_S, starts) for precision in _BOTH)
    windows = np.stack([codes_S[start : start + model.input_bp] for start in starts])
    truth_NT = Targets(model, device).of(torch.from_numpy(windows).to(device)).flatten(0, 1)
    truth_NT = truth_NT.cpu().double().numpy()
    agreement = _pearson(exact_NT, rounded_NT)
    error = np.linalg.norm(rounded_NT - exact_NT, axis=0) / np.linalg.norm(exact_NT, axis=0)
    return Compared(
        what,
        variation=float(np.median(exact_NT.std(axis=0) / exact_NT.mean(axis=0))),
        error=(float(np.median(error)), float(error.max())),
        pearson=(
            float(agreement.min()),
            float(np.percentile(agreement, 1)),
            float(np.median(agreement)),
        ),
        fit=float(np.median(_pearson(exact_NT, truth_NT))),
    )


_BOTH: tuple[Precision, Precision] = ("float32", "bfloat16")


def _predict(
    model: Enformer, precision: Precision, codes_S: np.ndarray, starts: Sequence[int]
) -> np.ndarray:
    predictor = FastPredictor(
        model, model.tracks[HEAD], device=next(model.parameters()).device, precision=precision
    )
    return np.concatenate(list(predictor.predict_along(codes_S, starts))).astype(np.float64)


def _pearson(one_NT: np.ndarray, other_NT: np.ndarray) -> np.ndarray:
    a, b = (x - x.mean(axis=0) for x in (one_NT, other_NT))
    return (a * b).sum(axis=0) / np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))


def report(rows: Sequence[Compared], size: str, steps: int, seconds: float) -> str:
    """Lay both rows out."""
    header = (
        "weights",
        "variation",
        "error, median",
        "error, largest",
        "Pearson, smallest",
        "Pearson, 1st percentile",
        "Pearson, median",
        "fit",
    )
    body = [
        (
            row.what,
            f"{row.variation:.2g}",
            *(f"{x:.1e}" for x in row.error),
            *(f"{x:.6f}" for x in row.pearson),
            f"{row.fit:.2f}",
        )
        for row in rows
    ]
    return (
        f"bfloat16 tracks against float32 ones, fast predictor, `{size}` model, "
        f"{COMPARED_TILES} fresh tiles; {steps} training steps of {BATCH} sequences in "
        f"{seconds:.0f} s. Variation: standard deviation of a track along the sequence over its "
        "mean, median over tracks. Error: norm over bins of the difference over that of the track. "
        "Fit: Pearson correlation with the targets, median over tracks.\n\n"
        f"{table([header, *body])}"
    )


def main() -> None:
    """Compare, train, compare again, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--size", choices=SIZES, default=FULL_SIZE)
    parser.add_argument("--keep", action="store_true", help="write a result file")
    options = parser.parse_args()
    device = torch.device(options.device)
    before = load_average()
    torch.manual_seed(SEED)
    drawn = initialise(Enformer(SIZES[options.size]), SEED, randomise_all=True).eval().to(device)
    rows = [compare(drawn, "random")]
    del drawn
    model = initialise(Enformer(SIZES[options.size]), SEED).to(device)
    begun = time.perf_counter()
    losses = train(model, options.steps)
    seconds = time.perf_counter() - begun
    rows.append(compare(model, "trained"))
    facts = {
        "benchmark": "bfloat16_tracks",
        "model": options.size,
        "steps": options.steps,
        "training_seconds": seconds,
        "losses": losses[:: max(1, len(losses) // 50)],
        "rows": [asdict(row) for row in rows],
        "machine": machine_facts(torch.get_num_threads(), device),
        "load_average": [before, load_average()],
    }
    text = report(rows, options.size, options.steps, seconds)
    publish("bfloat16_tracks", text, facts, keep=options.keep)


if __name__ == "__main__":
    main()
