"""Contribution scores by hand, and first order against what substitutions really do."""

import copy

import numpy as np
import pytest
import torch
from small_enformers import small_enformer_64

from cisray.errors import CoordinateError
from cisray.genome.encode import encode, onehot, reverse_complement
from cisray.genome.interval import Interval
from cisray.genome.windows import Window
from cisray.inference.effects import PlainEffects
from cisray.inference.ensemble_gradients import reverse_complement_gradient
from cisray.inference.gradients import TRACK_OBJECTIVES, PlainGradients, joined
from cisray.scoring.contribution import (
    centred_gradient_times_input,
    first_order,
    gradient_times_input,
    pool_absolute,
    spread_tokens,
    sum_within,
)
from cisray.scoring.statistics import compute
from cisray.tracks import TrackSet

CPU = torch.device("cpu")
CODES = encode("GNT")
GRADIENT = np.array([[1, 2, 4, 8], [3, 5, 7, 9], [-1, 0, 2, -5]], np.float32)


def test_gradient_times_input() -> None:
    assert gradient_times_input(CODES, GRADIENT).tolist() == [4, 0, -5]
    assert gradient_times_input(CODES, np.stack([GRADIENT, 2 * GRADIENT])).tolist() == [
        [4, 0, -5],
        [8, 0, -10],
    ]


def test_the_mean_of_the_letters_is_taken_off() -> None:
    # G: 4 - 15 / 4; T: -5 - (-4) / 4.
    assert centred_gradient_times_input(CODES, GRADIENT).tolist() == [0.25, 0, -4]
    shifted = GRADIENT + np.array([[10], [20], [-30]], np.float32)
    np.testing.assert_array_equal(
        centred_gradient_times_input(CODES, shifted), centred_gradient_times_input(CODES, GRADIENT)
    )


def test_centred_scores_are_the_mean_loss_by_substitution() -> None:
    lost = -np.nan_to_num(first_order(CODES, GRADIENT)).sum(axis=-1) / 3
    np.testing.assert_allclose(centred_gradient_times_input(CODES, GRADIENT), 0.75 * lost)


def test_first_order_is_alternate_minus_reference() -> None:
    nan = np.nan
    expected = [[-3, -2, 0, 4], [nan] * 4, [4, 5, 7, 0]]
    found = first_order(CODES, GRADIENT)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(first_order(CODES, np.stack([GRADIENT] * 2)), [expected] * 2)
    assert GRADIENT[1, 0] == 3  # what came in is left alone


@pytest.mark.parametrize("score", [gradient_times_input, first_order, centred_gradient_times_input])
def test_scores_follow_the_strand(score) -> None:
    codes_L = np.random.default_rng(0).integers(0, 5, 50).astype(np.uint8)
    gradient_LA = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    there = score(codes_L, gradient_LA)
    back = score(reverse_complement(codes_L), reverse_complement_gradient(gradient_LA))
    turned = back[::-1, ::-1] if back.ndim == 2 else back[::-1]
    np.testing.assert_allclose(turned, there, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 4), (3, 5), (4, 3), (3,)])
def test_a_gradient_of_other_bases_is_refused(shape) -> None:
    for score in (gradient_times_input, first_order, centred_gradient_times_input):
        with pytest.raises(ValueError, match="does not fit"):
            score(CODES, np.zeros(shape, np.float32))


class LinearModel:
    """A SequenceModel of 32 bp in and 2 bins of 8 bp out: weighted sums of the one-hot input."""

    input_bp, bin_bp, target_bins = 32, 8, 2

    def __init__(self) -> None:
        self.tracks = {"human": TrackSet.unnamed("human", 3)}
        # Small integers: every sum is exact in float32, and no signal is negative.
        generator = torch.Generator().manual_seed(6)
        self.weight_LANT = torch.randint(0, 100, (32, 4, 2, 3), generator=generator).float()

    def check_head(self, head: str) -> None:
        assert head == "human"

    def forward_flops(self, head: str) -> float:
        return 2.0 * self.weight_LANT.numel()

    def __call__(self, onehot_BLA: torch.Tensor, head: str) -> torch.Tensor:
        return torch.einsum("bla,lant->bnt", onehot_BLA, self.weight_LANT)


def substitutions(codes_R: np.ndarray, region: range) -> list[tuple[int, int, np.ndarray]]:
    """Each base of a region and each letter there, with the window that has it."""
    found = []
    for base in region:
        for letter in range(4):
            alternate = codes_R.copy()
            alternate[base] = letter
            found.append((base, letter, alternate))
    return found


def test_first_order_is_the_effect_itself_for_a_linear_model() -> None:
    model = LinearModel()
    tracks, region = model.tracks["human"], range(5, 29)
    codes_L = np.random.default_rng(2).integers(0, 4, 32).astype(np.uint8)
    codes_L[11] = 4
    gradient = PlainGradients(model, tracks, device=CPU).gradient(
        codes_L, TRACK_OBJECTIVES["SAD"], region=region
    )
    ours = first_order(codes_L[region.start : region.stop], gradient.gradient_BRA)
    opened = PlainEffects(model, tracks, device=CPU).open(codes_L)
    listed = substitutions(codes_L, region)
    differences = opened.differences(np.stack([alternate for *_, alternate in listed]))
    sad_BT = compute(["SAD"], opened.prediction_NT, differences)["SAD"].numpy()
    assert ours.shape == (3, 24, 4)
    compared = 0
    for (base, letter, _), effect_T in zip(listed, sad_BT, strict=True):
        if codes_L[base] == 4:
            assert np.isnan(ours[:, base - 5, letter]).all()
            continue
        assert ours[:, base - 5, letter].tolist() == effect_T.tolist()
        compared += 1
    assert compared == 23 * 4
    assert np.count_nonzero(sad_BT) > 200


def test_first_order_is_the_slope_from_reference_to_alternate() -> None:
    """Between the two letters the statistics are followed in float64, a small step either way."""
    model = copy.deepcopy(small_enformer_64())
    tracks, region, step = model.tracks["human"].select(["3", "8"]), range(1001, 1004), 1e-5
    codes_L = np.random.default_rng(7).integers(0, 4, model.input_bp).astype(np.uint8)
    found = PlainGradients(model, tracks, device=CPU, dtype=torch.float64).gradient(
        codes_L, joined(list(TRACK_OBJECTIVES.values())), region=region
    )
    # Of each statistic two tracks, three bases and four letters.
    every = first_order(codes_L[region.start : region.stop], found.gradient_BRA)
    ours = dict(zip(TRACK_OBJECTIVES, every.reshape(3, 2, 3, 4), strict=True))
    listed = substitutions(codes_L, region)
    reference_LA = torch.from_numpy(onehot(codes_L)).double()
    with torch.no_grad():
        pred_NT = model(reference_LA[None], head="human")[0, :, [3, 8]]
        for base, letter, alternate in listed:
            if letter == codes_L[base]:
                assert (every[:, base - 1001, letter] == 0).all()
                continue
            way_LA = torch.from_numpy(onehot(alternate)).double() - reference_LA
            mixed = torch.stack([reference_LA + step * way_LA, reference_LA - step * way_LA])
            moved_BNT = model(mixed, head="human")[:, :, [3, 8]] - pred_NT
            for statistic, moved in compute(list(ours), pred_NT, moved_BNT).items():
                ahead, behind = moved.double()
                slope_T = ((ahead - behind) / (2 * step)).numpy()
                noise = 1e-5 * np.abs(ours[statistic]).max()
                mine_T = ours[statistic][:, base - 1001, letter]
                np.testing.assert_allclose(mine_T, slope_T, rtol=1e-4, atol=noise)
    assert (np.abs(every).max(axis=(1, 2)) > 0).all()


def test_sizes_are_averaged_over_bins() -> None:
    scores = np.array([[1, -3, 2, 2, 0, -1], [0, 0, 0, 0, -8, 4]], np.float32)
    assert pool_absolute(scores, 2).tolist() == [[2, 2, 0.5], [0, 0, 6]]
    with pytest.raises(ValueError, match="6 bases are no whole number of bins of 4"):
        pool_absolute(scores, 4)


def window_at(start: int) -> Window:
    """32 bp from `start` on, of which the middle 16 are predicted."""
    return Window(Interval("chr21", start, start + 32), Interval("chr21", start + 8, start + 24), 8)


@pytest.mark.parametrize(
    ("start", "end", "bases"),
    [
        (1000, 1032, range(32)),
        (1003, 1007, range(3, 7)),
        (990, 1001, range(1)),
        (1031, 1050, range(31, 32)),
        (500, 2000, range(32)),
        (500, 1000, range(0)),
        (1032, 1040, range(0)),
        (1010, 1010, range(0)),
    ],
)
def test_scores_within_an_interval(start: int, end: int, bases: range) -> None:
    scores_L = (2.0 ** np.arange(-16, 16)).astype(np.float32)
    found = sum_within(
        np.stack([scores_L, -scores_L]), Interval("chr21", start, end), window_at(1000)
    )
    expected = sum(2.0 ** (base - 16) for base in bases)
    assert found.dtype == np.float64
    assert found.tolist() == [expected, -expected]


def test_a_window_that_begins_before_its_chromosome() -> None:
    scores_L = np.arange(32, dtype=np.float32)
    assert sum_within(scores_L, Interval("chr21", 0, 2), window_at(-5)) == 5 + 6


def test_tokens_are_shared_out_among_their_bases() -> None:
    scores_L = spread_tokens(np.array([1, 0, 2, 5], np.float32), 8)
    assert scores_L.shape == (32,)
    # Three of eight bases of token 0, all of token 1, one of token 2.
    found = sum_within(scores_L, Interval("chr21", 1005, 1017), window_at(1000))
    assert found == 3 / 8 + 0 + 2 / 8
    assert sum_within(scores_L, Interval("chr21", 0, 5000), window_at(1000)) == 8


def test_other_chromosomes_and_other_windows_are_refused() -> None:
    with pytest.raises(CoordinateError, match="one chromosome"):
        sum_within(np.zeros(32, np.float32), Interval("chr2", 1000, 1010), window_at(1000))
    with pytest.raises(ValueError, match="31 scores are not those of 32 bases"):
        sum_within(np.zeros(31, np.float32), Interval("chr21", 1000, 1010), window_at(1000))
