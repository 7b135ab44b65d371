"""The operations that a plan foresees are those that the fast way does: each product is counted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cisray.inference.fast import products
from cisray.inference.fast.costs import (
    TileFlops,
    copied_bytes,
    effect_bytes,
    effect_flops,
    gradient_bytes,
    gradient_flops,
    lane_bytes,
    tile_flops,
)
from cisray.inference.fast.effects import DeltaEffects
from cisray.inference.fast.gradients import FastGradients
from cisray.inference.fast.predictor import FastPredictor
from cisray.inference.gradients import total
from cisray.model.enformer.config import EnformerConfig
from cisray.model.enformer.network import Enformer
from cisray.model.registry import load_model
from cisray_jobs.models import SIZES, init_model

SMALL = SIZES["small"]  # the published geometry: 1,536 tokens, 896 of them new from tile to tile
TARGET_BP = 896 * 128


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Enformer:
    # torch does not count what it hands to oneDNN by a name of that library.
    monkeypatch.setattr(products, "_ONEDNN_TYPES", ())
    path = tmp_path / "small.safetensors"
    init_model(path, "small", seed=1)
    return load_model(path)


@pytest.fixture
def counted(model: Enformer) -> Callable[[int, int], float]:
    """Count what so many neighbouring tiles with so many tracks do, by torch's own counter."""
    codes_S = np.random.default_rng(1).integers(0, 4, 196_608 + TARGET_BP).astype(np.uint8)

    @cache
    def count(tiles: int, tracks: int) -> float:
        chosen = model.tracks["human"].select([str(track) for track in range(tracks)])
        predictor = FastPredictor(model, chosen, device=torch.device("cpu"))
        with FlopCounterMode(display=False) as counter:
            list(predictor.predict_along(codes_S, [TARGET_BP * i for i in range(tiles)]))
        return float(counter.get_total_flops())

    return count


def test_the_operations_of_tiles(counted) -> None:
    foreseen = tile_flops(SMALL, tracks=16)
    first, both = counted(1, 16), counted(2, 16)
    # Borders of blocks, chunks and windows are computed twice: some per cent more, never less.
    assert foreseen.first <= first <= 1.04 * foreseen.first
    assert foreseen.following <= both - first <= 1.06 * foreseen.following
    # The two are not near each other: of 3.0 TFLOP, 3.0 and 2.0 are left.
    assert both - first < 0.8 * first < 0.8 * SMALL.forward_flops("human")


def test_tracks_that_are_not_asked_for_cost_nothing(counted) -> None:
    # 14 rows of the head, 192 wide, over 896 bins: 2 x 14 x 192 x 896.
    assert counted(1, 16) - counted(1, 2) == 2 * 14 * 192 * 896
    assert tile_flops(SMALL, 16).first - tile_flops(SMALL, 2).first == 2 * 14 * 192 * 896


def test_a_model_that_pools_by_maximum_saves_the_logits() -> None:
    config = EnformerConfig(pooling="max")
    saved = tile_flops(EnformerConfig(), 5313).first - tile_flops(config, 5313).first
    # A square per level on half of its positions: 98,304 x 768^2, 49,152 x 768^2, ...
    widths = [768, 768, 896, 1024, 1152, 1280, 1536]
    assert saved == 2 * sum((98_304 >> level) * width**2 for level, width in enumerate(widths))
    assert copied_bytes(EnformerConfig(), 1, "float32") - copied_bytes(
        config, 1, "float32"
    ) == 4 * sum(width**2 for width in widths)


@pytest.mark.parametrize(("tiles", "total"), [(0, 0.0), (1, 5.0), (2, 8.0), (64, 194.0)])
def test_the_sum_over_a_shard(tiles: int, total: float) -> None:
    # 5 + 63 x 3 = 194.
    assert TileFlops(5.0, 3.0).of(tiles) == total


@contextmanager
def counting() -> Iterator[list[float]]:
    """Count the operations of a block; the list gets the total."""
    total: list[float] = []
    with FlopCounterMode(display=False) as counter:
        yield total
    total.append(float(counter.get_total_flops()))


@pytest.mark.parametrize("bins", [range(896), range(446, 450)])
def test_the_operations_of_effects(model: Enformer, bins: range) -> None:
    foreseen = effect_flops(SMALL, tracks=16, bins=len(bins))
    effects = DeltaEffects(model, model.tracks["human"], device=torch.device("cpu"))
    codes_S = np.random.default_rng(1).integers(0, 4, 196_608 + 5 * 128).astype(np.uint8)
    opened = effects.open_along(codes_S, [0, 128, 5 * 128], bins)
    with counting() as first:
        next(opened)
    with counting() as following:
        next(opened)
    with counting() as fourth:
        window = next(opened)
    # Borders of blocks and of the window's ends are computed twice.
    assert foreseen.reference <= first[0] <= 1.04 * foreseen.reference
    assert foreseen.reference_following(1) == pytest.approx(following[0], rel=0.01)
    assert foreseen.reference_following(4) == pytest.approx(fourth[0], rel=0.01)
    assert foreseen.reference_following(1536) == foreseen.reference
    assert 3 * foreseen.token == pytest.approx(fourth[0] - following[0], rel=0.01)

    reference_L = codes_S[5 * 128 :]
    snv_L, moved_L = reference_L.copy(), reference_L.copy()
    snv_L[98_303] = (snv_L[98_303] + 1) % 4
    moved_L[98_304:] = reference_L[98_303:-1]
    for alternate_L, trunk in ((snv_L, None), (moved_L, foreseen.moved_flank)):
        with counting() as whole:
            window.differences(alternate_L[None])
        with counting() as below:
            codes = [torch.from_numpy(x) for x in (reference_L, alternate_L[None])]
            effects.trunk.differences(*codes, effects.reference.inputs_KD[0])
        assert whole[0] - below[0] == pytest.approx(foreseen.alternate, rel=1e-3)
        if trunk is not None:
            assert trunk <= below[0] <= 1.04 * trunk


def test_the_operations_of_gradients(model: Enformer) -> None:
    """Those of a bin of bases, which lies across two tokens."""
    bins = range(446, 450)
    tracks = model.tracks["human"].select(["0", "1"])
    gradients = FastGradients(model, tracks, device=torch.device("cpu"))
    codes_L = np.random.default_rng(1).integers(0, 4, 196_608).astype(np.uint8)
    foreseen = gradient_flops(SMALL, tracks=2, bins=len(bins), region_bp=128)

    def count(region: range, lanes: int) -> int:
        with counting() as found:
            gradients.gradient(codes_L, lambda x: total(x)[:lanes], bins=bins, region=region)
        return found[0]

    cell = range(98_240, 98_368)
    passed, one, two = count(range(0), 2), count(cell, 1), count(cell, 2)
    assert foreseen.reference <= passed <= 1.04 * foreseen.reference
    # What attention leads back of queries to their distances is laid out among zeros.
    assert two - one == pytest.approx(foreseen.objective, rel=0.1)
    assert one - passed == pytest.approx(foreseen.again + foreseen.objective, rel=0.1)


def test_gradients_of_the_published_size_take_what_was_measured() -> None:
    """By docs/decisions/0014: 3.5 GB with the model, and times in these proportions."""
    config = EnformerConfig()
    parts = gradient_bytes(config, 2, 896, batch=2)
    # The model's own 1.0 GB, and 0.4 GB of Python with torch.
    assert parts.total + 4 * 251_251_002 + 400_000_000 == pytest.approx(3.5e9, rel=0.1)
    some, every = (gradient_flops(config, 2, 896, region) for region in (300, 196_608))
    assert every.of(2) / some.of(2) == pytest.approx(160 / 51, rel=0.25)


def test_effects_of_the_published_size_cost_what_was_measured() -> None:
    """By benchmarks/results (fast_engine): 2.987 TFLOP, 0.787, and 0.2206 for each of 3.2 SNVs."""
    costs = effect_flops(EnformerConfig(), 5313, 896)
    assert costs.reference == pytest.approx(2.987e12, rel=0.01)
    assert costs.alternate == pytest.approx(0.7874e12, rel=0.001)
    assert costs.reference_following(1) == pytest.approx(3.2 * 0.2206e12, rel=0.005)


@pytest.mark.parametrize(
    ("precision", "cache_bytes", "bins"),
    [
        ("float32", 10**12, range(896)),
        ("bfloat16", 10**12, range(446, 450)),
        ("float32", 60_000_000, range(896)),
        ("bfloat16", 10_000_000, range(446, 450)),
    ],
)
def test_the_bytes_of_effects_are_those_that_are_held(
    model: Enformer, precision, cache_bytes: int, bins: range
) -> None:
    """Of what stays: the reference's buffers, and weights that are not the model's own."""
    effects = DeltaEffects(
        model,
        model.tracks["human"],
        device=torch.device("cpu"),
        precision=precision,
        cache_bytes=cache_bytes,
    )
    codes_L = np.zeros(196_608, np.uint8)
    alternate_L = codes_L.copy()
    alternate_L[98_000] = 1
    effects.open(codes_L, bins).differences(alternate_L[None])
    effects.reference.record(0)  # if it is not cached, it is the largest that is computed again
    foreseen = effect_bytes(SMALL, 16, len(bins), precision, batch=3, cache_bytes=cache_bytes)
    kept = storages(effects.reference.__dict__)
    own = storages(list(model.parameters()) + list(model.buffers()))
    weights = storages([effects.trunk, effects.transformer, effects.delta])
    reference = sum(size for place, size in kept.items() if place not in {**weights, **own})
    copied = sum(size for place, size in weights.items() if place not in own)
    assert reference == pytest.approx(foreseen.reference, rel=0.02)
    assert copied == pytest.approx(foreseen.copied, rel=0.05)
    assert foreseen.working >= 3 * lane_bytes(SMALL, 16, len(bins))
    assert foreseen.total == foreseen.copied + foreseen.reference + foreseen.working


def storages(thing: object, seen: set[int] | None = None) -> dict[int, int]:
    """Find all tensors within a thing: where their memory begins, and its bytes."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return {}
    seen.add(id(thing))
    if isinstance(thing, torch.Tensor):
        storage = thing.untyped_storage()
        return {storage.data_ptr(): storage.nbytes()}
    if isinstance(thing, dict):
        parts = list(thing.values())
    elif isinstance(thing, list | tuple):
        parts = list(thing)
    elif hasattr(thing, "__slots__") or hasattr(thing, "__dict__"):
        names = [*getattr(thing, "__slots__", ()), *getattr(thing, "__dict__", ())]
        parts = [getattr(thing, name) for name in names]
    else:
        return {}
    return {place: size for part in parts for place, size in storages(part, seen).items()}
