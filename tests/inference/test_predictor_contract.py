"""What every predictor promises, whatever it does inside. A faster one joins PREDICTORS.

EXACT names those that run the same operations as a direct call of the model and must equal it bit
for bit; the others must come within CLOSE of it, relative to the largest value of a window.
"""

import copy
import warnings

import numpy as np
import pytest
import torch

from cisray.errors import UnknownHead
from cisray.inference.fast.predictor import FastPredictor
from cisray.inference.predictor import PlainPredictor, window_spec
from cisray.tracks import TrackSet

PREDICTORS = {"plain": PlainPredictor, "fast": FastPredictor}
EXACT = {"plain"}
CLOSE = 1e-5
CPU = torch.device("cpu")


@pytest.fixture(params=PREDICTORS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def build(kind: str, tiny):
    def build(tracks: TrackSet | None = None, **options):
        given = {"device": CPU, **options}
        return PREDICTORS[kind](tiny, tracks or tiny.tracks["human"], **given)

    return build


def direct(model, codes_BL, head: str = "human", device: torch.device = CPU) -> np.ndarray:
    """One call per window, the one-hot rows written out: A, C, G, T, and zeros for the rest."""
    rows = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    with torch.no_grad():
        onehot_BLA = rows.float()[torch.from_numpy(codes_BL).long()].to(device)
        return torch.cat([model(x[None], head=head) for x in onehot_BLA]).cpu().numpy()


def assert_as_direct(kind: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.dtype == np.float32
    if kind in EXACT:
        np.testing.assert_array_equal(ours, theirs)
    else:
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=CLOSE * theirs.max())


@pytest.mark.parametrize("head", ["human", "mouse"])
def test_it_predicts_what_the_model_does(kind, build, tiny, codes_BL, head: str) -> None:
    theirs = direct(tiny, codes_BL, head)
    assert theirs.shape == (5, 16, {"human": 8, "mouse": 4}[head])
    assert theirs.std(axis=0).min() > 0  # the windows differ in every bin and track
    assert_as_direct(kind, build(tiny.tracks[head]).predict(codes_BL), theirs)


@pytest.mark.parametrize("batch_size", [2, 3, 5, 64])
def test_the_batch_size_changes_nothing(build, codes_BL, batch_size: int) -> None:
    one = build(batch_size=1).predict(codes_BL)
    np.testing.assert_allclose(build(batch_size=batch_size).predict(codes_BL), one, rtol=1e-6)


@pytest.mark.parametrize("indices", [[0], [7], [1, 3, 7], [2, 5], list(range(8))])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_selection_is_a_slice(kind, build, tiny, codes_BL, indices, precision) -> None:
    """Bit for bit where all tracks are computed; else a product of other rows may round anew."""
    every = build(precision=precision).predict(codes_BL[:2])
    chosen = tiny.tracks["human"].select([str(i) for i in indices])
    assert chosen.indices.tolist() == indices
    some = build(chosen, precision=precision).predict(codes_BL[:2])
    if kind in EXACT or precision == "float32":
        assert_as_direct(kind, some, every[:, :, indices])
    else:
        # The last product gives bfloat16: one unit of its last place, 2**-8, of a logit up to 4.
        np.testing.assert_allclose(some, every[:, :, indices], rtol=0, atol=4 / 256)


def test_a_window_does_not_depend_on_its_neighbours(build, codes_BL) -> None:
    predictor = build(batch_size=5)
    order = [3, 0, 4, 1, 2]
    mixed = predictor.predict(codes_BL[order])
    np.testing.assert_allclose(mixed, predictor.predict(codes_BL)[order], rtol=1e-6)


def test_the_same_call_twice_gives_the_same_bits(build, codes_BL) -> None:
    predictor = build(batch_size=2)
    np.testing.assert_array_equal(predictor.predict(codes_BL), predictor.predict(codes_BL))


def test_unknown_bases_are_rows_of_zeros(build, tiny) -> None:
    codes_BL = np.full((1, 4096), 4, np.uint8)
    ours = build().predict(codes_BL)
    with torch.no_grad():
        theirs = tiny(torch.zeros(1, 4096, 4), head="human").numpy()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=CLOSE * theirs.max())


def test_it_takes_any_memory_layout_and_leaves_it_alone(build, codes_BL) -> None:
    straight = build().predict(codes_BL[::2])
    scattered = np.asfortranarray(codes_BL)[::2]
    scattered.setflags(write=False)
    np.testing.assert_array_equal(build().predict(scattered), straight)
    np.testing.assert_array_equal(scattered, codes_BL[::2])


def test_no_windows_are_no_rows(build) -> None:
    assert build().predict(np.empty((0, 4096), np.uint8)).shape == (0, 16, 8)


@pytest.mark.parametrize("shape", [(1, 4095), (1, 4097), (4096,), (1, 1, 4096), (0, 4095)])
def test_another_width_is_refused(build, shape) -> None:
    with pytest.raises(ValueError, match="4096"):
        build().predict(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("code", [5, 78, 255])
def test_an_unknown_code_is_refused(build, code: int) -> None:
    codes_BL = np.zeros((2, 4096), np.uint8)
    codes_BL[1, 4095] = code
    with pytest.raises(ValueError, match=str(code)):
        build().predict(codes_BL)


def test_an_unknown_head_is_refused(build) -> None:
    with pytest.raises(UnknownHead, match="'rat'"):
        build(TrackSet.unnamed("rat", 8))


def test_its_geometry_is_that_of_the_model(build, tiny) -> None:
    predictor = build()
    assert predictor.spec == window_spec(tiny)
    spec = predictor.spec
    assert (spec.input_bp, spec.bin_bp, spec.target_bins) == (4096, 128, 16)
    assert list(predictor.tracks.columns) == [f"t000{i}" for i in range(8)]


def test_bfloat16_is_near_and_not_the_same(build, codes_BL) -> None:
    exact = build().predict(codes_BL)
    rounded = build(precision="bfloat16").predict(codes_BL)
    assert rounded.dtype == np.float32
    assert not np.array_equal(rounded, exact)
    # bfloat16 keeps 8 bits: each product is off by up to 2**-9 = 0.2 %, a few layers by some more.
    error = np.abs(rounded - exact) / np.abs(exact).max(axis=(0, 1))
    assert 1e-5 < error.max() < 0.02


def test_faint_tracks_keep_their_digits_in_bfloat16(kind, tiny, codes_BL) -> None:
    """A faint track is the exponential of its logit; at -8 those of bfloat16 are 3 % apart."""
    faint = copy.deepcopy(tiny)
    with torch.no_grad():
        faint._heads["human"][0].bias -= 8
    tracks = tiny.tracks["human"]
    exact, rounded = (
        PREDICTORS[kind](faint, tracks, device=CPU, precision=precision).predict(codes_BL)
        for precision in ("float32", "bfloat16")
    )
    assert exact.max() < 0.01
    error = np.linalg.norm(rounded - exact, axis=(0, 1)) / np.linalg.norm(exact, axis=(0, 1))
    assert error.max() < 0.02
    if kind == "fast":
        assert len(np.unique(rounded[..., 0])) > 0.9 * rounded[..., 0].size


@pytest.mark.parametrize("starts", [[-1], [0, 1], [8192]])
def test_windows_that_leave_the_stretch_are_refused_at_once(build, codes_BL, starts) -> None:
    with pytest.raises(ValueError, match="4096"):
        build().predict_along(codes_BL[0], starts)


def test_arrays_may_change_between_windows(build, codes_BL) -> None:
    """And need not be writable: what was given is what is read, or a copy of it."""
    codes_S = codes_BL[:2].reshape(-1).copy()
    expected = list(build().predict_along(codes_S.copy(), [0, 4096]))
    codes_S.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = list(build().predict_along(codes_S, [0, 4096]))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("flag", [True, False])
def test_torch_is_left_as_it_was(build, tiny, codes_BL, precision: str, flag: bool) -> None:
    """Flags, gradient mode, threads, default type, autocast, random state, mode of the model."""

    def state() -> tuple[object, ...]:
        return (
            torch.backends.cudnn.allow_tf32,
            torch.backends.cuda.matmul.allow_tf32,
            torch.backends.cudnn.benchmark,
            torch.get_float32_matmul_precision(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.get_num_threads(),
            torch.get_default_dtype(),
            tuple(torch.random.get_rng_state().tolist()),
            tiny.training,
        )

    kept = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = flag
    try:
        with torch.set_grad_enabled(flag):
            before = state()
            predictor = build(precision=precision)
            predictor.predict(codes_BL[:1])
            assert state() == before
            with pytest.raises(ValueError, match="base codes"):
                predictor.predict(np.full((1, 4096), 9, np.uint8))
            assert state() == before
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = kept


def test_weights_can_still_be_trained_afterwards(build, tiny, codes_BL) -> None:
    """What a prediction caches must not be an inference tensor, which gradients refuse."""
    build().predict(codes_BL[:1])
    onehot_BLA = torch.zeros(1, 4096, 4, requires_grad=True)
    tiny(onehot_BLA, head="human").sum().backward()
    assert onehot_BLA.grad is not None
    assert onehot_BLA.grad.abs().max() > 0


@pytest.mark.gpu
def test_cuda_predicts_what_the_cpu_does(kind, tiny, codes_BL) -> None:
    cpu = PREDICTORS[kind](tiny, tiny.tracks["human"], device=CPU).predict(codes_BL)
    cuda = torch.device("cuda")
    try:
        on_gpu = PREDICTORS[kind](tiny.to(cuda), tiny.tracks["human"], device=cuda, batch_size=2)
        ours = on_gpu.predict(codes_BL)
    finally:
        tiny.to(CPU)
    np.testing.assert_allclose(ours, cpu, rtol=0, atol=1e-4 * cpu.max())
