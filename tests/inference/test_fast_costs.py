"""The operations that a plan foresees are those that the fast way does: each product is counted."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cisray.inference.fast import products
from cisray.inference.fast.costs import TileFlops, copied_bytes, tile_flops
from cisray.inference.fast.predictor import FastPredictor
from cisray.model.enformer.config import EnformerConfig
from cisray.model.registry import load_model
from cisray_jobs.models import SIZES, init_model

SMALL = SIZES["small"]  # the published geometry: 1,536 tokens, 896 of them new from tile to tile
TARGET_BP = 896 * 128


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], float]:
    """Count what so many neighbouring tiles with so many tracks do, by torch's own counter."""
    # torch does not count what it hands to oneDNN by a name of that library.
    monkeypatch.setattr(products, "_ONEDNN_TYPES", ())
    path = tmp_path / "small.safetensors"
    init_model(path, "small", seed=1)
    model = load_model(path)
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
    # The two are not near each other, nor to the plain pass: 3.3 TFLOP become 3.0 and 2.0.
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
