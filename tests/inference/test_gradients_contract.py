"""What everything that computes gradients promises, whatever it does inside.

The truth is central differences of direct calls of the model in float64, and where those would be
too many, autograd in float64, which they confirm. A float32 gradient may be off by CLOSE of its
largest entry.
"""

import copy

import numpy as np
import pytest
import torch
from counting_model import CountingModel
from numpy.typing import NDArray
from small_enformers import BINS, TOKENS, small_enformer, small_enformer_64

from cisray.errors import UnknownHead
from cisray.inference.choose import gradient_predictor
from cisray.inference.fast import transformer as transformer_module
from cisray.inference.fast import transformer_gradient
from cisray.inference.fast import trunk as trunk_module
from cisray.inference.fast.gradients import FastGradients
from cisray.inference.fast.trunk import Trunk
from cisray.inference.fast.trunk_gradient import tokens_reading
from cisray.inference.fast.weights import fold_trunk
from cisray.inference.gradients import TRACK_OBJECTIVES, PlainGradients, weighted_sum
from cisray.inference.predictor import window_spec
from cisray.scoring.statistics import compute
from cisray.tracks import TrackSet

CPU = torch.device("cpu")
CLOSE = 1e-5
BASES, N, T = 4096, 16, 8
ROWS = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]])


class ExactPlain(PlainGradients):
    def __init__(self, model, tracks: TrackSet, **options) -> None:
        super().__init__(model, tracks, dtype=torch.float64, **options)


class ExactFast(FastGradients):
    wide = torch.float64


GRADIENTS = {"plain": PlainGradients, "fast": FastGradients}
EXACT = {"plain": ExactPlain, "fast": ExactFast}


@pytest.fixture(params=GRADIENTS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def build(kind: str, tiny):
    def build(tracks: TrackSet | None = None, **options):
        return GRADIENTS[kind](tiny, tracks or tiny.tracks["human"], device=CPU, **options)

    return build


@pytest.fixture(scope="module")
def exact_model(tiny):
    return copy.deepcopy(tiny).double()


@pytest.fixture(scope="module")
def window() -> NDArray[np.uint8]:
    """Known bases but for 1,500 to 1,900."""
    codes_L = np.random.default_rng(8).integers(0, 4, BASES).astype(np.uint8)
    codes_L[1500:1900] = 4
    return codes_L


@pytest.fixture(scope="module")
def weights_NT() -> NDArray[np.float32]:
    """Of both signs, and different in every bin and track."""
    return np.random.default_rng(9).normal(size=(N, T)).astype(np.float32)


# The same numbers as TRACK_OBJECTIVES, written out for predictions (..., N, T) in numpy.
BY_HAND = {
    "SAD": lambda pred: pred.sum(axis=-2),
    "SADR": lambda pred: np.log2(pred.sum(axis=-2) + 1),
    "logSAD": lambda pred: np.log2(pred + 1).sum(axis=-2),
}
STEP = 1e-5
# First and last base, both sides of a token's border, next to and within unknown bases.
PLACES = (0, 1023, 1024, 1499, 1700, BASES - 1)


@pytest.fixture(scope="module")
def nudged(exact_model, window) -> NDArray[np.float64]:
    """Predictions with each entry of PLACES a STEP up and a STEP down: (place, A, 2, N, T)."""
    onehot_LA = ROWS.double()[torch.from_numpy(window).long()]
    found = []
    with torch.no_grad():
        for place in PLACES:
            lanes = onehot_LA.repeat(8, 1, 1)
            for letter in range(4):
                lanes[2 * letter, place, letter] += STEP
                lanes[2 * letter + 1, place, letter] -= STEP
            found.append(exact_model(lanes, head="human").reshape(4, 2, N, T))
    return torch.stack(found).numpy()


@pytest.mark.parametrize("statistic", TRACK_OBJECTIVES)
def test_a_gradient_is_what_small_steps_do(kind, exact_model, window, nudged, statistic) -> None:
    tracks = exact_model.tracks["human"]
    found = EXACT[kind](exact_model, tracks, device=CPU).gradient(
        window, TRACK_OBJECTIVES[statistic]
    )
    values = BY_HAND[statistic](nudged)  # (place, A, 2, T)
    slopes = np.moveaxis((values[:, :, 0] - values[:, :, 1]) / (2 * STEP), -1, 0)
    ours = found.gradient_BRA[:, list(PLACES)]
    assert ours.shape == slopes.shape == (T, len(PLACES), 4)
    # A remainder of the order of STEP squared, and 1e-16 of a value over STEP.
    np.testing.assert_allclose(ours, slopes, rtol=1e-4, atol=1e-6 * np.abs(slopes).max())
    assert np.abs(slopes).max(axis=(0, 2)).min() > 0


def test_weights_are_weights(kind, exact_model, window, nudged, weights_NT) -> None:
    tracks = exact_model.tracks["human"]
    predictor = EXACT[kind](exact_model, tracks, device=CPU)
    values = (nudged * weights_NT).sum(axis=(-2, -1))
    slopes = (values[..., 0] - values[..., 1]) / (2 * STEP)
    found = predictor.gradient(window, weighted_sum(weights_NT))
    assert found.gradient_BRA.shape == (1, BASES, 4)
    ours = found.gradient_BRA[0, list(PLACES)]
    np.testing.assert_allclose(ours, slopes, rtol=1e-4, atol=1e-6 * np.abs(slopes).max())
    mean = predictor.gradient(window, weighted_sum(weights_NT, normalised=True))
    total = weights_NT.sum(dtype=np.float64)
    np.testing.assert_allclose(mean.gradient_BRA * total, found.gradient_BRA, rtol=1e-5)
    np.testing.assert_allclose(mean.values_B * total, found.values_B, rtol=1e-12)


@pytest.mark.parametrize("statistic", TRACK_OBJECTIVES)
def test_it_says_what_the_objective_is(kind, build, exact_model, window, statistic) -> None:
    found = build().gradient(window, TRACK_OBJECTIVES[statistic], bins=range(3, 12))
    with torch.no_grad():
        onehot_LA = ROWS.double()[torch.from_numpy(window).long()]
        signal_NT = exact_model(onehot_LA[None], head="human")[0, 3:12].numpy()
    assert (found.prediction_NT.dtype, found.values_B.dtype) == (np.float32, np.float64)
    assert (found.gradient_BRA.dtype, found.region) == (np.float32, range(BASES))
    np.testing.assert_allclose(found.prediction_NT, signal_NT, rtol=1e-5)
    np.testing.assert_allclose(found.values_B, BY_HAND[statistic](signal_NT), rtol=1e-5)


@pytest.mark.parametrize("statistic", TRACK_OBJECTIVES)
def test_an_objective_is_the_sum_behind_its_statistic(statistic) -> None:
    rng = np.random.default_rng(1)
    before, after = (torch.from_numpy(rng.random((9, 3)) * 5) for _ in range(2))
    difference = compute([statistic], before, (after - before)[None])[statistic][0]
    objective = TRACK_OBJECTIVES[statistic]
    torch.testing.assert_close(
        difference.double(), objective(after) - objective(before), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("at_once", ["one head", "all heads"])
@pytest.mark.parametrize("pooling", ["attention", "max"])
@pytest.mark.parametrize(
    ("bins", "region"),
    [
        (None, None),
        (range(3, 10), range(997, 1061)),
        (range(1), range(1)),
        (range(BINS - 1, BINS), range(8 * TOKENS - 1, 8 * TOKENS)),
    ],
)
def test_both_ways_are_the_same_algebra(monkeypatch, at_once, pooling, bins, region) -> None:
    """To the last bits of float64, of which the roundings to float32 differ by one at most.

    Chunks are small: some tokens or rows each, and of three objectives two come at a time.
    """
    monkeypatch.setattr(trunk_module, "CPU_ROWS", 50)
    monkeypatch.setattr(transformer_module, "CPU_ROWS", 77)
    if at_once == "all heads":
        for module in (transformer_module, transformer_gradient):
            monkeypatch.setattr(module, "head_groups", lambda heads, device: [slice(0, heads)])
    model = small_enformer_64(pooling)
    codes_L = np.random.default_rng(3).integers(0, 5, model.input_bp).astype(np.uint8)
    codes_L[300:700] = 4  # equal pairs for max pooling
    tracks = model.tracks["human"].select(["0", "5", "11"])
    objective = TRACK_OBJECTIVES["logSAD"]
    truth = ExactPlain(model, tracks, device=CPU).gradient(
        codes_L, objective, bins=bins, region=region
    )
    ours = ExactFast(model, tracks, device=CPU, batch_size=2, cache_bytes=9_000_000).gradient(
        codes_L, objective, bins=bins, region=region
    )
    largest = np.abs(truth.gradient_BRA).max()
    assert largest > 0
    np.testing.assert_allclose(
        ours.gradient_BRA, truth.gradient_BRA, rtol=2**-23, atol=1e-13 * largest
    )


def test_float32_is_close(kind, build, exact_model, window) -> None:
    objective = TRACK_OBJECTIVES["SADR"]
    tracks = exact_model.tracks["human"]
    truth = ExactPlain(exact_model, tracks, device=CPU).gradient(window, objective).gradient_BRA
    ours = build().gradient(window, objective).gradient_BRA
    error = np.abs(ours - truth).max(axis=(1, 2)) / np.abs(truth).max(axis=(1, 2))
    assert error.max() < CLOSE


def test_float32_is_close_where_maxima_are_pooled(kind) -> None:
    """A near tie decided the other way moves a gradient; on average they are rare."""
    model, exact = small_enformer("max"), small_enformer_64("max")
    codes_L = np.random.default_rng(3).integers(0, 5, model.input_bp).astype(np.uint8)
    tracks, objective = model.tracks["human"], TRACK_OBJECTIVES["SAD"]
    truth = ExactPlain(exact, tracks, device=CPU).gradient(codes_L, objective).gradient_BRA
    ours = GRADIENTS[kind](model, tracks, device=CPU).gradient(codes_L, objective).gradient_BRA
    largest = np.abs(truth).max()
    per_base = np.abs(ours - truth).max(axis=(0, 2))
    assert (per_base > CLOSE * largest).mean() < 0.05
    assert per_base.max() < 0.05 * largest


@pytest.mark.parametrize(
    "region",
    [range(1), range(BASES - 1, BASES), range(1000, 1300), range(1700, 1701), range(600)],
)
def test_a_region_is_a_slice(build, window, region: range) -> None:
    whole = build().gradient(window, TRACK_OBJECTIVES["SAD"])
    part = build().gradient(window, TRACK_OBJECTIVES["SAD"], region=region)
    assert part.region == region
    theirs = whole.gradient_BRA[:, region.start : region.stop]
    assert np.abs(theirs).max() > 0
    np.testing.assert_allclose(part.gradient_BRA, theirs, rtol=0, atol=CLOSE * np.abs(theirs).max())


@pytest.mark.parametrize("at", [0, 77, BASES])
def test_no_bases_are_no_rows(build, window, at: int) -> None:
    found = build().gradient(window, TRACK_OBJECTIVES["SAD"], region=range(at, at))
    assert found.gradient_BRA.shape == (T, 0, 4)
    assert found.prediction_NT.shape == (N, T)


@pytest.mark.parametrize("width", [1, 2, 127, 128, 129, 400])
def test_which_tokens_read_a_region(tiny, width: int) -> None:
    """Token k reads the bases [128 k - 259, 128 k + 387); wherever a region begins in a token."""
    trunk = Trunk(fold_trunk(tiny, torch.float32))
    for first in (*range(300), *range(2000, 2130), *range(BASES - 420, BASES - width + 1)):
        region = range(first, min(first + width, BASES))
        reading = [
            token
            for token in range(BASES // 128)
            if max(128 * token - 259, region.start) < min(128 * token + 387, region.stop)
        ]
        assert list(tokens_reading(trunk, region, BASES // 128)) == reading, region


@pytest.mark.parametrize("bins", [range(1), range(15, 16), range(3, 11)])
def test_bins_are_a_mask(build, window, bins: range) -> None:
    mask_NT = np.zeros((N, T), np.float32)
    mask_NT[bins.start : bins.stop] = 1
    masked = build().gradient(window, weighted_sum(mask_NT))
    chosen = build().gradient(window, TRACK_OBJECTIVES["SAD"], bins=bins)
    assert chosen.prediction_NT.shape == (len(bins), T)
    theirs = masked.gradient_BRA[0]
    np.testing.assert_allclose(
        chosen.gradient_BRA.sum(axis=0), theirs, rtol=0, atol=CLOSE * np.abs(theirs).max()
    )


@pytest.mark.parametrize("bins", [range(0), range(-1, 4), range(10, 17), range(0, 8, 2)])
def test_bins_that_are_not_there_are_refused(build, window, bins: range) -> None:
    with pytest.raises(ValueError, match="neighbours of 0 to 15"):
        build().gradient(window, TRACK_OBJECTIVES["SAD"], bins=bins)


@pytest.mark.parametrize("region", [range(-1, 4), range(4000, 4097), range(0, 8, 2), range(9, 3)])
def test_bases_that_are_not_there_are_refused(build, window, region: range) -> None:
    with pytest.raises(ValueError, match="neighbours of 0 to 4095"):
        build().gradient(window, TRACK_OBJECTIVES["SAD"], region=region)


@pytest.mark.parametrize(
    ("head", "indices"), [("human", [7]), ("human", [1, 2, 6]), ("mouse", [0, 3])]
)
def test_tracks_are_a_slice(build, tiny, window, head, indices) -> None:
    some = build(tiny.tracks[head].select([str(i) for i in indices]))
    every = build(tiny.tracks[head]).gradient(window, TRACK_OBJECTIVES["SAD"]).gradient_BRA
    found = some.gradient(window, TRACK_OBJECTIVES["SAD"]).gradient_BRA
    assert len(found) == len(indices)
    np.testing.assert_allclose(found, every[indices], rtol=0, atol=CLOSE * np.abs(every).max())


def test_objectives_may_come_in_any_number(tiny, window) -> None:
    tracks = tiny.tracks["human"]
    one, three, many = (
        FastGradients(tiny, tracks, device=CPU, batch_size=size)
        .gradient(window, TRACK_OBJECTIVES["SAD"], region=range(900, 1400))
        .gradient_BRA
        for size in (1, 3, 100)
    )
    for other in (three, many):
        np.testing.assert_allclose(other, one, rtol=0, atol=CLOSE * np.abs(one).max())


def test_it_is_linear_in_the_weights(build, window, weights_NT) -> None:
    other_NT = np.roll(weights_NT, 1, axis=0)
    one, other, both = (
        build().gradient(window, weighted_sum(weights)).gradient_BRA
        for weights in (weights_NT, other_NT, weights_NT - 2 * other_NT)
    )
    np.testing.assert_allclose(both, one - 2 * other, rtol=0, atol=CLOSE * np.abs(both).max())


def test_the_same_question_twice_gives_the_same_bits(build, window) -> None:
    predictor = build()
    mine = window.copy()
    mine.setflags(write=False)
    first = predictor.gradient(mine, TRACK_OBJECTIVES["SAD"])
    predictor.gradient(window[::-1], TRACK_OBJECTIVES["SADR"], bins=range(2))
    again = predictor.gradient(mine, TRACK_OBJECTIVES["SAD"])
    np.testing.assert_array_equal(again.gradient_BRA, first.gradient_BRA)
    np.testing.assert_array_equal(mine, window)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_the_callers_mode_of_torch_does_not_matter(build, tiny, window, mode) -> None:
    """And stays; nor does it matter whether the model's weights ask for gradients."""
    expected = build().gradient(window, TRACK_OBJECTIVES["SAD"]).gradient_BRA
    trained = copy.deepcopy(tiny).requires_grad_()
    predictor = type(build())(trained, tiny.tracks["human"], device=CPU)
    with mode():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        found = predictor.gradient(window, TRACK_OBJECTIVES["SAD"]).gradient_BRA
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before
    np.testing.assert_array_equal(found, expected)
    assert all(weight.grad is None for weight in trained.parameters())


@pytest.mark.parametrize(
    "objective",
    [
        lambda pred: pred.sum(),
        lambda pred: pred,
        lambda pred: torch.ones(3),
        lambda pred: pred[:0, 0],
    ],
)
def test_what_is_no_objective_is_refused(build, window, objective) -> None:
    with pytest.raises(ValueError, match="one axis of numbers that are computed"):
        build().gradient(window, objective)


def test_weights_that_do_not_fit_are_refused(build, window, weights_NT) -> None:
    with pytest.raises(ValueError, match=r"\(16, 8\) do not fit a prediction \(4, 8\)"):
        build().gradient(window, weighted_sum(weights_NT), bins=range(4))
    with pytest.raises(ValueError, match="sum to zero"):
        weighted_sum(np.array([[1, -1]], np.float32), normalised=True)


@pytest.mark.parametrize("width", [4095, 4097])
def test_another_width_is_refused(build, width: int) -> None:
    with pytest.raises(ValueError, match="4096"):
        build().gradient(np.zeros(width, np.uint8), TRACK_OBJECTIVES["SAD"])


def test_an_unknown_code_is_refused(build) -> None:
    with pytest.raises(ValueError, match="got 5"):
        build().gradient(np.full(BASES, 5, np.uint8), TRACK_OBJECTIVES["SAD"])


def test_an_unknown_head_is_refused(build) -> None:
    with pytest.raises(UnknownHead, match="'rat'"):
        build(TrackSet.unnamed("rat", 8))


def test_its_geometry_is_that_of_the_model(build, tiny) -> None:
    assert build().spec == window_spec(tiny)
    assert build().tracks is tiny.tracks["human"]


def test_a_model_that_counts_can_be_differentiated_by_hand() -> None:
    """Each letter within the target adds one to its own track, known bases or not."""
    model = CountingModel()
    predictor = PlainGradients(model, model.tracks["human"], device=CPU)
    codes_L = np.array([4, 0, 1, 2, 3] * 13, np.uint8)[:64]
    found = predictor.gradient(codes_L, TRACK_OBJECTIVES["SAD"], bins=range(1, 3)).gradient_BRA
    expected = np.zeros((4, 64, 4), np.float32)
    expected[:, 24:40] = np.eye(4)[:, None]  # bins 1 and 2 after a crop of 16 bp
    np.testing.assert_array_equal(found, expected)


def test_which_is_built(tiny) -> None:
    tracks, options = tiny.tracks["human"], {"device": CPU, "batch_size": 3}
    fast = gradient_predictor(tiny, tracks, method="fast", **options)
    assert type(fast) is FastGradients
    assert fast.batch_size == 3
    assert type(gradient_predictor(tiny, tracks, method="plain", **options)) is PlainGradients
    counting = CountingModel()
    built = gradient_predictor(counting, counting.tracks["human"], method="fast", **options)
    assert type(built) is PlainGradients


@pytest.mark.gpu
def test_cuda_computes_what_the_cpu_does(kind, tiny, window) -> None:
    tracks, cuda = tiny.tracks["human"], torch.device("cuda")
    objective = TRACK_OBJECTIVES["SAD"]
    cpu = GRADIENTS[kind](tiny, tracks, device=CPU).gradient(window, objective).gradient_BRA
    try:
        on_gpu = GRADIENTS[kind](tiny.to(cuda), tracks, device=cuda)
        found = on_gpu.gradient(window, objective).gradient_BRA
    finally:
        tiny.to(CPU)
    np.testing.assert_allclose(found, cpu, rtol=0, atol=1e-4 * np.abs(cpu).max())
