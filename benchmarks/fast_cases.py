"""What the fast engine is measured at: genome tiles, saturation, single variants.

Knows cisray's predictors and how a job would call them; knows nothing of other libraries. A case
does its work in named parts, such as a reference pass and its alternates; each part is timed, and
its products are counted where that is asked for. All bins of all tracks of the human head are
computed, from base codes to results in memory.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from counting import CountProducts
from measuring import HEAD, random_codes
from numpy.typing import NDArray

from cisray.genome.interval import Interval
from cisray.genome.windows import Window
from cisray.inference.effects import EffectPredictor, ReferenceWindow
from cisray.inference.fast.effects import DeltaEffects
from cisray.inference.fast.predictor import FastPredictor
from cisray.inference.precision import Precision
from cisray.inference.predictor import PlainPredictor, Predictor
from cisray.model.enformer.network import Enformer

SPACING_BP = 40  # between the variants of a dense region
# The first base of a cell of 128 bases that share a window on the grid: 7,813 x 128 - 64. From here
# on, cells hold 4, 3, 3, 3, 3, 4 variants: after the first window, 16 in five, which is 128 / 40.
FIRST_SNV = 1_000_000


@dataclass(frozen=True, slots=True)
class Workload:
    """How much of each kind of work is done in a round.

    `tiles` are as many as a shard of a float32 run has in the plan for the published size on two
    threads; a bfloat16 run has more, over which a shard's first tile weighs less.
    """

    tiles: int = 8
    worker_tiles: int = 3  # of the shard of the worker whose memory is measured
    compared_tiles: int = 2
    positions: int = 8  # of a saturation run, with three alternates each
    sites: int = 2  # far from one another, each with a window of its own
    dense_snvs: int = 20
    batch_size: int = 4  # alternates at once


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a round: `seconds` for `units` of work, `flops` of products by type."""

    name: str
    units: int
    seconds: float
    flops: Mapping[str, int]


class Ledger:
    """Times the parts of a round; counts products and keeps predictions where that is asked for."""

    def __init__(self, *, count: bool = False, keep: Path | None = None) -> None:
        self.parts: list[Part] = []
        self._count = count
        self._keep = keep
        if keep is not None:
            keep.mkdir(exist_ok=True)

    @contextmanager
    def part(self, name: str, units: int = 1) -> Iterator[None]:
        """Time the block, which does so many units of work."""
        begun = time.perf_counter()
        with CountProducts() if self._count else nullcontext() as counter:
            yield
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - begun
        self.parts.append(Part(name, units, seconds, dict(counter.flops) if counter else {}))

    def keep(self, tile: int, pred_NT: NDArray[np.float32]) -> None:
        """Store the prediction of a tile for comparison."""
        if self._keep is not None:
            np.save(self._keep / f"{tile}.npy", pred_NT)


Case = Callable[[Ledger], None]


def tiles_float32(model: Enformer, load: Workload) -> Case:
    """Score neighbouring tiles, as a shard of a genome-wide run does."""
    return _tiles(fast_tiles(model, "float32"), load.tiles)


def tiles_bfloat16(model: Enformer, load: Workload) -> Case:
    """Score neighbouring tiles with bfloat16 products."""
    return _tiles(fast_tiles(model, "bfloat16"), load.tiles)


def tiles_plain(model: Enformer, load: Workload) -> Case:
    """Score the first of the same tiles in the plain way."""
    plain = PlainPredictor(model, model.tracks[HEAD], device=device_of(model))
    return _tiles(plain, load.compared_tiles)


def device_of(model: Enformer) -> torch.device:
    """Tell where a model lies: cases compute there."""
    return next(model.parameters()).device


def fast_tiles(model: Enformer, precision: Precision) -> Predictor:
    """Build the fast predictor of tiles."""
    tracks, device = model.tracks[HEAD], device_of(model)
    return FastPredictor(model, tracks, device=device, precision=precision)


def fast_effects(model: Enformer, load: Workload) -> EffectPredictor:
    """Build the fast predictor of effects: a float32 reference, bfloat16 products after it."""
    return DeltaEffects(
        model,
        model.tracks[HEAD],
        device=device_of(model),
        precision="bfloat16",
        batch_size=load.batch_size,
    )


def _tiles(predictor: Predictor, count: int) -> Case:
    spec = predictor.spec
    starts = [index * spec.target_bp for index in range(count)]
    codes_S = random_codes(starts[-1] + spec.input_bp)

    def run(ledger: Ledger) -> None:
        predictions = predictor.predict_along(codes_S, starts)
        for index in range(count):
            with ledger.part("next tile" if index else "first tile"):
                pred_NT = next(predictions)
            ledger.keep(index, pred_NT)

    return run


def saturation(model: Enformer, load: Workload) -> Case:
    """Open one reference window, and change some neighbouring positions to every other base."""
    effects = fast_effects(model, load)
    codes_L = random_codes(model.input_bp)
    middle = model.input_bp // 2
    alternates_BL = np.stack(
        [
            changed(codes_L, position, by)
            for position in range(middle, middle + load.positions)
            for by in (1, 2, 3)
        ]
    )

    def run(ledger: Ledger) -> None:
        with ledger.part("reference"):
            window = effects.open(codes_L)
        _differences(ledger, window, alternates_BL, load.batch_size)

    return run


def centred(model: Enformer, load: Workload) -> Case:
    """Give every variant a window centred on it, with a reference pass of its own."""
    effects = fast_effects(model, load)
    references = [random_codes(model.input_bp, seed=seed) for seed in range(load.sites)]

    def run(ledger: Ledger) -> None:
        for codes_L in references:
            with ledger.part("reference"):
                window = effects.open(codes_L)
            alternate_L = changed(codes_L, model.input_bp // 2 - 1, 1)
            _differences(ledger, window, alternate_L[None], load.batch_size)

    return run


def grid(model: Enformer, load: Workload) -> Case:
    """Score variants close to one another in windows on the grid, along a stretch of DNA.

    Those of one cell share a window, and neighbouring windows share their trunk. The first window
    of a stretch, which has no neighbour before it, is counted apart.
    """
    effects = fast_effects(model, load)
    snvs = [
        Interval("made_up", start, start + 1)
        for start in range(FIRST_SNV, FIRST_SNV + load.dense_snvs * SPACING_BP, SPACING_BP)
    ]
    by_window = [
        (window, list(group))
        for window, group in groupby(snvs, lambda snv: Window.on_grid(snv, effects.spec))
    ]
    begin = by_window[0][0].input.start
    codes_S = random_codes(by_window[-1][0].input.end - begin)
    starts = [window.input.start - begin for window, _ in by_window]

    def run(ledger: Ledger) -> None:
        opened = effects.open_along(codes_S, starts)
        for index, (placed, inside) in enumerate(by_window):
            which = "next" if index else "first"
            with ledger.part(f"{which} reference", len(inside)):
                window = next(opened)
            codes_L = codes_S[starts[index] : starts[index] + effects.spec.input_bp]
            alternates = [changed(codes_L, snv.start - placed.input.start, 1) for snv in inside]
            with ledger.part(f"{which} alternate", len(inside)):
                window.differences(np.stack(alternates))

    return run


def changed(codes_L: NDArray[np.uint8], index: int, by: int) -> NDArray[np.uint8]:
    """Put another base at an index: the one `by` places on in A, C, G, T, and round."""
    alternate_L = codes_L.copy()
    alternate_L[index] = (alternate_L[index] + by) % 4
    return alternate_L


def _differences(
    ledger: Ledger, window: ReferenceWindow, alternates_BL: NDArray[np.uint8], batch_size: int
) -> None:
    """Compute in batches and let go of each, as a job does that reduces them."""
    for first in range(0, len(alternates_BL), batch_size):
        batch_BL = alternates_BL[first : first + batch_size]
        with ledger.part("alternate", len(batch_BL)):
            window.differences(batch_BL)


CASES: dict[str, Callable[[Enformer, Workload], Case]] = {
    "tiles_float32": tiles_float32,
    "tiles_bfloat16": tiles_bfloat16,
    "saturation": saturation,
    "centred": centred,
    "grid": grid,
    "tiles_plain": tiles_plain,
}
