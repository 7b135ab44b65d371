"""The contracts of predictors and effects at the published size: 196,608 bp, 11 blocks.

On CUDA where there is a device, else on the CPU, where it takes half an hour and 12 GB.
"""

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cisray.inference.effects import PlainEffects
from cisray.inference.ensemble import OtherStrand
from cisray.inference.fast.effects import DeltaEffects
from cisray.inference.fast.predictor import FastPredictor
from cisray.inference.predictor import PlainPredictor
from cisray.inference.selfcheck import measure
from cisray.model.enformer.initialise import initialise
from cisray.model.enformer.network import Enformer
from cisray.tracks import TrackSet
from cisray_jobs.models import SIZES

pytestmark = [pytest.mark.slow, pytest.mark.gpu, pytest.mark.timeout(7200)]

LENGTH = 196_608
GAP = range(90_000, 91_500)  # without a known base
Codes = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """All threads here, where the folder's other tests take one."""


@pytest.fixture(scope="module")
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="module")
def model(device: torch.device) -> Enformer:
    drawn = initialise(Enformer(SIZES["enformer"]), 0, randomise_all=True)
    return drawn.eval().to(device)


@pytest.fixture(scope="module")
def exact(model: Enformer) -> Enformer:
    return copy.deepcopy(model).double()


@pytest.fixture(scope="module")
def window() -> Codes:
    codes_L = np.random.default_rng(4).integers(0, 4, LENGTH).astype(np.uint8)
    codes_L[GAP.start : GAP.stop] = 4
    return codes_L


@pytest.fixture(scope="module")
def some(model: Enformer) -> TrackSet:
    """Tracks out of all parts of the head."""
    return model.tracks["human"].select(["3", "680", "2000-2010", "4828", "5312"])


def substituted(codes_L: Codes, *places: int) -> Codes:
    changed_L = codes_L.copy()
    for place in places:
        changed_L[place] = (changed_L[place] + 1) % 4
    return changed_L


def alternates(window: Codes) -> dict[str, Codes]:
    border = 24 * 4096 - 40_960  # of blocks of the trunk on a CPU, and of tokens
    deleted = np.concatenate([window[:100_000], window[100_007:], np.full(7, 2, np.uint8)])
    inserted = np.concatenate([window[:60_000], window[59_997:60_000], window[60_000:-3]])
    return {
        "first base": substituted(window, 0),
        "last base": substituted(window, LENGTH - 1),
        "centre": substituted(window, LENGTH // 2 - 1),
        "across a border of blocks": substituted(window, border - 1, border),
        "in a gap": substituted(window, GAP.start + 700),
        "beside a gap": substituted(window, GAP.start - 1, GAP.stop),
        "two places": substituted(window, 1_000, 150_000),
        "deletion": deleted.astype(np.uint8),
        "insertion": inserted.astype(np.uint8),
    }


def test_neighbouring_tiles_equal_plain_passes(
    model: Enformer, device: torch.device, some: TrackSet
) -> None:
    spec_bp = SIZES["enformer"].target_bins * 128
    stretch = np.random.default_rng(5).integers(0, 4, LENGTH + 2 * spec_bp).astype(np.uint8)
    stretch[150_000:290_000] = 4
    starts = [0, spec_bp, 2 * spec_bp]
    fast = FastPredictor(model, some, device=device).predict_along(stretch, starts)
    plain = PlainPredictor(model, some, device=device)
    for start, ours_NT in zip(starts, fast, strict=True):
        plain_NT = plain.predict(stretch[None, start : start + LENGTH])[0]
        deviation = measure(ours_NT.T, plain_NT.T)
        assert deviation.is_within(1e-5), (start, deviation)
        assert deviation.largest_relative < 1e-4


def test_a_batch_of_windows_is_each_of_them(
    model: Enformer, device: torch.device, window: Codes, some: TrackSet
) -> None:
    both = np.stack([window, np.roll(window, 1000)])
    together = FastPredictor(model, some, device=device, batch_size=2).predict(both)
    alone = FastPredictor(model, some, device=device).predict(both)
    for lane in range(2):
        assert measure(together[lane].T, alone[lane].T).is_within(1e-5)


@pytest.fixture(scope="module")
def truth(
    exact: Enformer, device: torch.device, window: Codes, some: TrackSet
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Signal and effects by two passes in float64."""
    bins = range(exact.target_bins)
    plain = PlainEffects(exact, some, device=device, dtype=torch.float64)
    signal_NT = plain.predict(window, bins)
    named = alternates(window)
    return signal_NT, {what: plain.predict(named[what], bins) - signal_NT for what in named}


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 5e-3), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_effects_of_edits_anywhere(
    model: Enformer, device, window, some, truth, precision, tolerance, batch_size
) -> None:
    signal_NT, effects = truth
    fast = DeltaEffects(model, some, device=device, precision=precision, batch_size=batch_size)
    opened = fast.open(window)
    assert measure(
        opened.prediction_NT.T.cpu().numpy(), signal_NT.T.float().cpu().numpy()
    ).is_within(1e-5)
    found_BNT = opened.differences(np.stack(list(alternates(window).values())))
    for (what, truth_NT), found_NT in zip(effects.items(), found_BNT.double(), strict=True):
        error = float((found_NT - truth_NT).norm() / truth_NT.norm())
        assert error < tolerance, (what, error)


def test_bins_and_tracks_are_cut_out_of_the_whole(
    model: Enformer, device, window, some, truth
) -> None:
    _, effects = truth
    fast = DeltaEffects(model, some.select(["4828", "3"]), device=device)
    opened = fast.open(window, range(440, 456))
    found_NT = opened.differences(alternates(window)["centre"][None])[0].double()
    columns = [some.indices.tolist().index(track) for track in (3, 4828)]
    truth_NT = effects["centre"][440:456][:, columns]
    assert (found_NT - truth_NT).norm() < 5e-3 * truth_NT.norm()


def test_the_other_strand(model: Enformer, exact: Enformer, device, window, some) -> None:
    alternate = alternates(window)["centre"][None]
    found, truth = (
        OtherStrand(predictor).open(window).differences(alternate).double()
        for predictor in (
            DeltaEffects(model, some, device=device),
            PlainEffects(exact, some, device=device, dtype=torch.float64),
        )
    )
    error = (found - truth).norm() / truth.norm()
    assert error < 5e-3, float(error)
