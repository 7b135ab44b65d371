"""How exact the effect of a variant is, computed in each of five ways, from large effects to tiny.

Knows cisray's plain and fast passes and holds them to float64. The model's weights are random, so
the size of an effect means nothing in biology; what counts is how the error goes with it. Effects
of one base shrink with its distance from the bins; below what that gives, differences of the trunk
tokens of the base in the centre are scaled down before the transformer.

    python benchmarks/effect_accuracy.py [--size small] [--device cpu] [--threads N] [--keep]

`--size enformer` is the published size: 12 GB of memory, and half an hour of two cores.
"""

import argparse
import copy
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from measuring import (
    load_average,
    machine_facts,
    publish,
    random_codes,
    table,
    write_random_model,
)
from numpy.typing import NDArray

from cisray.inference.effects import PlainEffects
from cisray.inference.fast.delta import DeltaTransformer
from cisray.inference.fast.effects import DeltaEffects
from cisray.inference.fast.reference import ReferencePass
from cisray.inference.fast.transformer import Transformer
from cisray.inference.fast.trunk import Trunk
from cisray.inference.fast.weights import (
    fold_blocks,
    fold_tail,
    fold_trunk,
    round_block,
    round_tail,
)
from cisray.inference.precision import Precision, arithmetic
from cisray.inference.predictor import PlainPredictor, codes_on, onehot_table
from cisray.model.enformer.network import Enformer
from cisray.model.registry import load_model
from cisray_jobs.models import SIZES

HEAD = "human"
F32, F64, BF16 = torch.float32, torch.float64, torch.bfloat16
TWO_PASSES_32 = "float32, two passes"
TWO_PASSES_PRODUCTS = "bfloat16 products, two passes"
TWO_PASSES_16 = "all bfloat16, two passes"
DELTA_32 = "differences, float32"
DELTA_16 = "differences, bfloat16 products"
WAYS = (TWO_PASSES_32, TWO_PASSES_PRODUCTS, TWO_PASSES_16, DELTA_32, DELTA_16)
SCALES = (1e-3, 1e-6)

Effects = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Row:
    """Errors of one effect; all numbers are norms over bins and tracks, relative to other norms.

    `size` is the effect over the signal, `errors` are those of each way over the effect.
    """

    what: str
    size: float
    errors: dict[str, float]


def measure(model: Enformer) -> list[Row]:
    """Compute all rows of the table for a model in float32."""
    exact = copy.deepcopy(model).double()
    reference_L = random_codes(model.input_bp)
    centre, edge = model.input_bp // 2, 0
    alternates_BL = np.stack([substituted(reference_L, at) for at in (centre, edge)])
    signal_NT, truth_BNT = true_effects(exact, reference_L, alternates_BL)
    found = from_sequences(model, reference_L, alternates_BL)
    eighth = model.target_bins // 8
    cases = [
        ("base in the centre, all bins", 0, slice(None)),
        ("base in the centre, first eighth of the bins", 0, slice(eighth)),
        ("first base of the window, last eighth of the bins", 1, slice(-eighth, None)),
    ]
    rows = [
        row_of(
            what,
            signal_NT[bins],
            truth_BNT[lane, bins],
            {way: found[way][lane, bins] for way in WAYS},
        )
        for what, lane, bins in cases
    ]
    return rows + scaled_rows(model, exact, reference_L, alternates_BL[:1])


def row_of(what: str, signal: torch.Tensor, truth: torch.Tensor, found: Effects) -> Row:
    """Take the norms."""
    errors = {way: float((found[way].double() - truth).norm() / truth.norm()) for way in WAYS}
    return Row(what, float(truth.norm() / signal.norm()), errors)


def device_of(model: Enformer) -> torch.device:
    """Tell where a model lies."""
    return next(model.parameters()).device


def substituted(codes_L: NDArray[np.uint8], at: int) -> NDArray[np.uint8]:
    """Change one base into the next one of A, C, G, T."""
    codes_L = codes_L.copy()
    codes_L[at] = (codes_L[at] + 1) % 4
    return codes_L


def true_effects(
    exact: Enformer, reference_L: NDArray[np.uint8], alternates_BL: NDArray[np.uint8]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute signal (N, T) and effects (B, N, T) by two passes in float64."""
    plain = PlainEffects(exact, exact.tracks[HEAD], device=device_of(exact), dtype=F64)
    bins = range(exact.target_bins)
    signal_NT = plain.predict(reference_L, bins)
    return signal_NT, torch.stack([plain.predict(x, bins) for x in alternates_BL]) - signal_NT


def from_sequences(
    model: Enformer, reference_L: NDArray[np.uint8], alternates_BL: NDArray[np.uint8]
) -> Effects:
    """Compute effects (B, N, T) in every way, trunk included."""
    tracks, device = model.tracks[HEAD], device_of(model)
    every_BL = np.concatenate([reference_L[None], alternates_BL])
    precisions: dict[str, Precision] = {
        TWO_PASSES_32: "float32",
        TWO_PASSES_PRODUCTS: "bfloat16",
    }
    found = {}
    for way, precision in precisions.items():
        plain = PlainPredictor(model, tracks, device=device, precision=precision)
        pred_BNT = torch.from_numpy(plain.predict(every_BL)).to(device).double()
        found[way] = pred_BNT[1:] - pred_BNT[0]
    rounded = copy.deepcopy(model).bfloat16()
    lookup = onehot_table(device, BF16)
    with arithmetic(device, "float32"):
        pred_BNT = torch.cat(
            [rounded(lookup[codes_on(device, x).int()][None], head=HEAD) for x in every_BL]
        ).double()
    found[TWO_PASSES_16] = pred_BNT[1:] - pred_BNT[0]
    for way, precision in ((DELTA_32, "float32"), (DELTA_16, "bfloat16")):
        effects = DeltaEffects(model, tracks, device=device, precision=precision)
        found[way] = effects.open(reference_L).differences(alternates_BL)
    return found


def scaled_rows(
    model: Enformer,
    exact: Enformer,
    reference_L: NDArray[np.uint8],
    alternates_BL: NDArray[np.uint8],
) -> list[Row]:
    """Scale the differences of an alternate's trunk tokens, and compute the rest in every way.

    The truth is the differences' algebra in float64: subtraction has too few digits even there for
    the smallest, and the tests hold one to the other for those in between.
    """
    device = device_of(model)
    with arithmetic(device, "float32"):
        trunk = Trunk(fold_trunk(exact, F64))
        codes_L, codes_BL = (codes_on(device, x) for x in (reference_L, alternates_BL))
        x_KD = trunk.tokens(codes_L[None])[0]
        d_KD = trunk.differences(codes_L, codes_BL, x_KD)[0]
        d_BKD = torch.stack([scale * d_KD for scale in SCALES])
        signal_NT, truth_BNT = by_differences(exact, F64, x_KD, d_BKD)
        found = {
            TWO_PASSES_32: by_two_passes(model, F32, x_KD, d_BKD),
            TWO_PASSES_PRODUCTS: by_two_passes(model, BF16, x_KD, d_BKD),
            TWO_PASSES_16: all_bfloat16(model, x_KD, d_BKD),
            DELTA_32: by_differences(model, F32, x_KD, d_BKD)[1],
            DELTA_16: by_differences(model, BF16, x_KD, d_BKD)[1],
        }
    return [
        row_of(
            f"base in the centre, scaled by {scale:g}, all bins",
            signal_NT,
            truth_BNT[lane],
            {way: found[way][lane] for way in WAYS},
        )
        for lane, scale in enumerate(SCALES)
    ]


def folded(model: Enformer) -> Transformer:
    """Prepare blocks and tail in the model's own type."""
    dtype = next(model.parameters()).dtype
    columns = torch.arange(len(model.tracks[HEAD]), device=device_of(model))
    return Transformer(fold_blocks(model, dtype), fold_tail(model, HEAD, columns, dtype))


def wanted(model: Enformer) -> range:
    """Locate the target bins among the tokens."""
    crop = model.config.crop_bins
    return range(crop, crop + model.target_bins)


def by_two_passes(
    model: Enformer, products: torch.dtype, x_KD: torch.Tensor, d_BKD: torch.Tensor
) -> torch.Tensor:
    """Predict from tokens with and without the differences, and subtract."""
    whole = folded(model)
    dtype = whole.tail.before.scale.dtype
    rounded = Transformer(
        [round_block(block, products) for block in whole.blocks], round_tail(whole.tail, products)
    )
    signal_BNT, *others = (
        rounded.predict(x_BKD.to(dtype), wanted(model))
        for x_BKD in (x_KD[None], *(x_KD + d_BKD)[:, None])
    )
    return torch.cat(others) - signal_BNT


def all_bfloat16(model: Enformer, x_KD: torch.Tensor, d_BKD: torch.Tensor) -> torch.Tensor:
    """Run the model's own modules, converted as a whole, and subtract."""
    rounded = copy.deepcopy(model).bfloat16()
    bins = slice(wanted(model).start, wanted(model).stop)
    signal_BNT, *others = (
        rounded._heads[HEAD](
            rounded.final_pointwise(rounded.transformer(x.to(BF16)[None])[:, bins])
        )
        for x in (x_KD, *(x_KD + d_BKD))
    )
    return torch.cat(others).double() - signal_BNT


def by_differences(
    model: Enformer, products: torch.dtype, x_KD: torch.Tensor, d_BKD: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Carry differences; return the signal (N, T) too."""
    whole = folded(model)
    dtype = whole.tail.before.scale.dtype
    reference = ReferencePass(whole, products, cache_bytes=2_000_000_000)
    signal_NT = reference.run(x_KD.to(dtype), wanted(model))
    carried = DeltaTransformer(
        [round_block(block, products) for block in whole.blocks], round_tail(whole.tail, products)
    )
    return signal_NT, carried.differences(reference, d_BKD.to(dtype)).difference_BNT


def report(rows: list[Row], size: str) -> str:
    """Lay the rows out."""
    header = ("effect", "effect / signal", *WAYS)
    body = [
        (row.what, f"{row.size:.1e}", *(f"{row.errors[way]:.2g}" for way in WAYS)) for row in rows
    ]
    return (
        f"Error of an effect relative to the effect, by the way it is computed; `{size}` model "
        "with random weights. 1 means that nothing of the effect is left.\n\n"
        f"{table([header, *body])}"
    )


def main() -> None:
    """Build the weights, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--keep", action="store_true", help="write a result file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    before = load_average()
    with tempfile.TemporaryDirectory(prefix="cisray-bench-") as folder:
        weights = Path(folder) / "model.safetensors"
        write_random_model(weights, options.size, "per_feature")
        rows = measure(load_model(weights, verify=False).to(options.device))
    facts = {
        "benchmark": "effect_accuracy",
        "model": options.size,
        "rows": [asdict(row) for row in rows],
        "machine": machine_facts(options.threads, torch.device(options.device)),
        "load_average": [before, load_average()],
    }
    name = f"effect_accuracy-{options.size}-{torch.device(options.device).type}"
    publish(name, report(rows, options.size), facts, keep=options.keep)


if __name__ == "__main__":
    main()
