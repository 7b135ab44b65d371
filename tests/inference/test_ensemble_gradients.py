"""An ensemble's gradient, held to autograd through all of its members at once in float64."""

import copy

import numpy as np
import pytest
import torch
from small_enformers import BINS, small_enformer_64

from cisray.errors import ConfigError
from cisray.inference.ensemble import Ensemble, Member
from cisray.inference.ensemble_gradients import EnsembleGradients, reverse_complement_gradient
from cisray.inference.gradients import TRACK_OBJECTIVES, PlainGradients, weighted_sum

CPU = torch.device("cpu")
ROWS = torch.eye(5, 4, dtype=torch.float64)
FLANK = 4
BASES = 2432
OBJECTIVES = {
    "logSAD": TRACK_OBJECTIVES["logSAD"],
    # Unlike for the two ends of the target: it matters that bins are turned round.
    "weights": weighted_sum(
        np.random.default_rng(4).normal(size=(BINS - 10, 2)).astype(np.float32)
    ),
}
CHOSEN = range(7, BINS - 3)


@pytest.fixture(scope="module")
def codes_S() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 5, BASES + 2 * FLANK).astype(np.uint8)


@pytest.fixture(scope="module")
def predictor() -> PlainGradients:
    model = copy.deepcopy(small_enformer_64())
    tracks = model.tracks["human"].select(["2", "9"])
    return PlainGradients(model, tracks, device=CPU, dtype=torch.float64)


def by_autograd(codes_S, ensemble: Ensemble, objective) -> tuple[np.ndarray, np.ndarray]:
    """The mean objective and its gradient for all bases, flanks too: (B,) and (B, S, A)."""
    model = small_enformer_64()
    onehot_SA = ROWS[torch.from_numpy(codes_S).long()].requires_grad_()
    total_B = 0
    for member in ensemble.members:
        first = FLANK + member.shift_bp
        lane_LA = onehot_SA[first : first + BASES]
        lane_LA = lane_LA.flip(0, 1) if member.reverse else lane_LA
        pred_NT = model(lane_LA[None], head="human")[0][:, [2, 9]]
        pred_NT = pred_NT.flip(0) if member.reverse else pred_NT
        total_B = total_B + objective(pred_NT[CHOSEN.start : CHOSEN.stop])
    mean_B = total_B / len(ensemble.members)
    grads = [torch.autograd.grad(value, onehot_SA, retain_graph=True)[0] for value in mean_B]
    return mean_B.detach().numpy(), torch.stack(grads).numpy()


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(
    ("ensemble", "region"),
    [
        (Ensemble(True, (-4, 0, 3)), range(BASES)),
        (Ensemble(True, (4,)), range(2)),  # not read by the shifted members
        (Ensemble(False, (-4, 1)), range(BASES - 6, BASES)),
        (Ensemble(True, (0, 4)), range(1000, 1033)),
    ],
)
def test_it_is_the_gradient_of_the_mean(predictor, codes_S, ensemble, region, objective) -> None:
    # Whatever the ensemble's own flank, the window is that between FLANK bases on either side.
    cut = FLANK - ensemble.flank_bp
    mine = codes_S[cut : len(codes_S) - cut]
    values_B, gradient_BSA = by_autograd(codes_S, ensemble, OBJECTIVES[objective])
    found = EnsembleGradients(predictor, ensemble).gradient(
        mine, OBJECTIVES[objective], bins=CHOSEN, region=region
    )
    np.testing.assert_allclose(found.values_B, values_B, rtol=1e-12)
    theirs = gradient_BSA[:, FLANK + region.start : FLANK + region.stop]
    assert found.gradient_BRA.dtype == np.float32
    assert found.region == region
    np.testing.assert_allclose(
        found.gradient_BRA, theirs, rtol=1e-6, atol=1e-6 * np.abs(gradient_BSA).max()
    )


def test_the_prediction_is_the_mean(predictor, codes_S) -> None:
    objective = TRACK_OBJECTIVES["SAD"]
    found = EnsembleGradients(predictor, Ensemble(True, (0,))).gradient(
        codes_S[FLANK:-FLANK], objective, region=range(5)
    )
    forward = predictor.gradient(codes_S[FLANK:-FLANK], objective, region=range(5))
    other = np.array([3, 2, 1, 0, 4], np.uint8)[codes_S[FLANK:-FLANK][::-1]]
    backward = predictor.gradient(other, objective, region=range(5))
    mean_NT = (forward.prediction_NT + backward.prediction_NT[::-1]) / 2
    np.testing.assert_allclose(found.prediction_NT, mean_NT, rtol=1e-6)


def test_one_member_is_itself(predictor, codes_S) -> None:
    objective, codes_L = TRACK_OBJECTIVES["SAD"], codes_S[:BASES]
    alone = predictor.gradient(codes_L, objective)
    found = EnsembleGradients(predictor, Ensemble(False)).gradient(codes_L, objective)
    np.testing.assert_array_equal(found.gradient_BRA, alone.gradient_BRA)
    np.testing.assert_array_equal(found.prediction_NT, alone.prediction_NT)


def test_the_other_strand_of_a_gradient() -> None:
    gradient = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    # Base 0 as T is base 2 as A.
    assert reverse_complement_gradient(gradient)[0, 0].tolist() == [11, 10, 9, 8]
    assert reverse_complement_gradient(gradient)[0, 2].tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize(
    ("member", "region", "lane"),
    [
        (Member(False, 0), range(3, 9), range(3, 9)),
        (Member(False, 2), range(3, 9), range(1, 7)),
        (Member(False, 5), range(3, 9), range(4)),
        (Member(False, -5), range(90, 100), range(95, 100)),
        (Member(True, 0), range(1), range(99, 100)),
        (Member(True, -5), range(90, 98), range(5)),
        (Member(True, 5), range(4), range(100, 100)),
    ],
)
def test_where_a_member_has_the_bases(member: Member, region: range, lane: range) -> None:
    assert member.bases(region, 100) == lane


def test_a_window_of_another_width_is_refused(predictor, codes_S) -> None:
    with pytest.raises(ValueError, match="a flank of 3"):
        EnsembleGradients(predictor, Ensemble(True, (3,))).gradient(
            codes_S, TRACK_OBJECTIVES["SAD"]
        )


def test_a_shift_beyond_half_a_bin_is_refused(predictor) -> None:
    with pytest.raises(ConfigError, match="more than half"):
        EnsembleGradients(predictor, Ensemble(True, (5,)))
