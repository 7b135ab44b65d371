"""Right gradients agree with plain passes on either side of a window; wrong ones do not."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cisray.genome.reference import Genome
from cisray.genome.variant import Variant
from cisray.inference.central_difference import CentralDifference
from cisray.inference.ensemble import Ensemble
from cisray.inference.fast.gradients import FastGradients
from cisray.model.enformer.network import Enformer
from cisray.model.registry import load_model
from cisray.scoring.first_order import GradientScorer, WindowGradients
from cisray.scoring.gradient_check import GradientCheck
from cisray.scoring.variants import EffectOptions, ScoredRow
from cisray_jobs.models import init_model

CPU = torch.device("cpu")
TEXT = "".join(np.random.default_rng(4).choice(list("ACGT"), 9_000))
TEXT = TEXT[:4060] + "NN" + TEXT[4062:]
STATS = ("SAD", "logSAD")
LANES = 6  # of two statistics and three tracks
ONE, SIX = Ensemble(False), Ensemble(True, (-43, 0, 43))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Enformer:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    init_model(path, "tiny", seed=5, randomise_all=True)
    torch.set_num_threads(1)
    return load_model(path)


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Genome:
    path = Path(tmp_path_factory.mktemp("genome")) / "g.fa"
    path.write_text(f">chr1\n{TEXT}\n")
    return Genome.open(path)


@pytest.fixture(scope="module")
def windows(tiny: Enformer, genome: Genome) -> dict[str, WindowGradients]:
    """One window of 70 bases on the grid, unknown ones among them, as one and as six members."""
    tracks = tiny.tracks["human"].select(["1", "4", "6"])
    fast = FastGradients(tiny, tracks, device=CPU)
    rows = [
        ScoredRow(Variant("chr1", at + 1, TEXT[at], "A" if TEXT[at] != "A" else "C"), range(16))
        for at in (4040, 4109)
    ]
    found: dict[str, WindowGradients] = {}
    for name, ensemble in (("one", ONE), ("six", SIX)):
        options = EffectOptions(stats=STATS, placement="grid", ensemble=ensemble)
        GradientScorer(fast, genome, options).score(
            rows, watch=lambda _, seen, name=name: found.update({name: seen})
        )
    return found


def check_of(tiny: Enformer, name: str) -> GradientCheck:
    tracks = tiny.tracks["human"].select(["1", "4", "6"])
    ensemble = ONE if name == "one" else SIX
    return GradientCheck(CentralDifference(tiny, tracks, ensemble, device=CPU), STATS)


@pytest.mark.parametrize("name", ["one", "six"])
def test_sound_gradients_are_within_the_tolerance(tiny, windows, name: str) -> None:
    check = check_of(tiny, name)
    for lane in (0, 2, 3, LANES + 4):
        deviation = check.check(windows[name], lane)
        assert deviation.is_within
        assert deviation.error < 1e-2
        assert deviation.reference.error < 1e-5
        # It is no noise that agrees.
        assert abs(deviation.slope) > 1e-6
        assert deviation.found == pytest.approx(deviation.slope, rel=0.1)


def test_in_float64_nothing_is_taken_for_rounding(tiny, windows) -> None:
    exact = copy.deepcopy(tiny).double()
    tracks = tiny.tracks["human"].select(["1", "4", "6"])
    plain = CentralDifference(exact, tracks, SIX, device=CPU, dtype=torch.float64)
    deviation = GradientCheck(plain, STATS).check(windows["six"], 1)
    assert deviation.is_within
    # What the curve leaves of a step that is a finite one.
    assert 1e-6 < deviation.error < 1e-2


def a_base_off(seen: WindowGradients) -> WindowGradients:
    return replace(seen, gradient_BRA=np.roll(seen.gradient_BRA, 1, axis=1))


def other_letters(seen: WindowGradients) -> WindowGradients:
    return replace(seen, gradient_BRA=seen.gradient_BRA[..., ::-1].copy())


def other_tracks(seen: WindowGradients) -> WindowGradients:
    return replace(seen, gradient_BRA=np.roll(seen.gradient_BRA, 1, axis=0))


def stronger(seen: WindowGradients) -> WindowGradients:
    return replace(seen, gradient_BRA=seen.gradient_BRA * np.float32(1.15))


def against(seen: WindowGradients) -> WindowGradients:
    return replace(seen, gradient_BRA=-seen.gradient_BRA)


def nothing(seen: WindowGradients) -> WindowGradients:
    return replace(seen, gradient_BRA=np.zeros_like(seen.gradient_BRA))


def not_a_number(seen: WindowGradients) -> WindowGradients:
    gradient_BRA = seen.gradient_BRA.copy()
    gradient_BRA[0, 5, 2] = np.nan
    return replace(seen, gradient_BRA=gradient_BRA)


def another_reference(seen: WindowGradients) -> WindowGradients:
    return replace(seen, prediction_NT=seen.prediction_NT * np.float32(1.001))


@pytest.mark.parametrize(
    "distort",
    [
        a_base_off,
        other_letters,
        other_tracks,
        stronger,
        against,
        nothing,
        not_a_number,
        another_reference,
    ],
)
@pytest.mark.parametrize("name", ["one", "six"])
def test_wrong_ones_are_not(tiny, windows, name: str, distort: Callable) -> None:
    check = check_of(tiny, name)
    for lane in (0, 5):
        assert not check.check(distort(windows[name]), lane).is_within


def test_a_gradient_of_nothing_is_found_out(tiny, windows) -> None:
    """One lane is zero, and is looked at along another one's direction."""
    seen = windows["one"]
    gradient_BRA = seen.gradient_BRA.copy()
    gradient_BRA[1] = 0
    deviation = check_of(tiny, "one").check(replace(seen, gradient_BRA=gradient_BRA), 4)
    assert (deviation.lane, deviation.error) == (1, np.inf)
