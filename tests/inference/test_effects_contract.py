"""What everything that computes effects promises, whatever it does inside.

The truth is subtraction of two direct calls of the model in float64. A plain float32 effect may be
off by CLOSE of the signal; one by differences by CLOSER of the effect itself.
"""

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_enformers import small_enformer

from cisray.errors import UnknownHead
from cisray.inference.effects import PlainEffects
from cisray.inference.fast.effects import DeltaEffects
from cisray.inference.predictor import window_spec
from cisray.tracks import TrackSet

CPU = torch.device("cpu")
CLOSE = 3e-6
CLOSER = 1e-3
EFFECTS = {"plain": PlainEffects, "fast": DeltaEffects}
BASES, BINS = 4096, 16


@pytest.fixture(params=EFFECTS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def build(kind: str, tiny):
    def build(tracks: TrackSet | None = None, **options):
        return EFFECTS[kind](tiny, tracks or tiny.tracks["human"], device=CPU, **options)

    return build


@pytest.fixture(scope="module")
def exact(tiny):
    return copy.deepcopy(tiny).double()


@pytest.fixture
def window() -> NDArray[np.uint8]:
    """Known bases but for 1,500 to 1,900."""
    codes_L = np.random.default_rng(8).integers(0, 4, BASES).astype(np.uint8)
    codes_L[1500:1900] = 4
    return codes_L


def substituted(codes_L: NDArray[np.uint8], at: int, *, bases: int = 1) -> NDArray[np.uint8]:
    """Every base of a run becomes the next one, A to C, C to G, ..., unknown to A."""
    codes_L = codes_L.copy()
    codes_L[at : at + bases] = (codes_L[at : at + bases] + 1) % 4
    return codes_L


def inserted(codes_L: NDArray[np.uint8], at: int, bases: int) -> NDArray[np.uint8]:
    """The rest shifts to the right, out of the window."""
    return np.concatenate([codes_L[:at], np.full(bases, 2, np.uint8), codes_L[at:]])[:BASES]


def deleted(codes_L: NDArray[np.uint8], at: int, bases: int) -> NDArray[np.uint8]:
    """The rest shifts to the left, and bases A fill the end."""
    return np.concatenate([codes_L[:at], codes_L[at + bases :], np.zeros(bases, np.uint8)])


EDITS = {
    "first base": lambda x: substituted(x, 0),
    "last base": lambda x: substituted(x, BASES - 1),
    "centre": lambda x: substituted(x, BASES // 2),
    "left of a token's border": lambda x: substituted(x, 1023),
    "right of a token's border": lambda x: substituted(x, 1024),
    "next to unknown bases": lambda x: substituted(x, 1499),
    "within unknown bases": lambda x: substituted(x, 1700),
    "several bases": lambda x: substituted(x, 2500, bases=7),
    "two far apart": lambda x: substituted(substituted(x, 100), 4000),
    "insertion": lambda x: inserted(x, 2049, 3),
    "insertion of many": lambda x: inserted(x, 1000, 130),
    "deletion": lambda x: deleted(x, 2047, 5),
    "deletion at the start": lambda x: deleted(x, 0, 1),
    "unknown bases": lambda x: np.where(np.arange(BASES) // 100 == 30, 4, x).astype(np.uint8),
    "every base": lambda x: substituted(x, 0, bases=BASES),
}


@torch.no_grad()
def direct(model, codes_L: NDArray[np.uint8], head: str = "human") -> torch.Tensor:
    """One call in float64, the one-hot rows written out; (N, T)."""
    rows = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    return model(rows.double()[torch.from_numpy(codes_L).long()][None], head=head)[0]


def assert_close(kind: str, ours: torch.Tensor, truth: torch.Tensor, signal: torch.Tensor) -> None:
    """Lane by lane."""
    assert ours.dtype == torch.float32
    assert ours.shape == truth.shape
    for one, true in zip(ours, truth, strict=True):
        allowed = CLOSE * signal.norm() if kind == "plain" else CLOSER * true.norm()
        assert (one - true).norm() <= allowed


@pytest.mark.parametrize("edit", EDITS)
def test_an_effect_is_the_difference_of_two_predictions(kind, build, exact, window, edit) -> None:
    alternate = EDITS[edit](window)
    assert (alternate != window).any()
    opened = build().open(window)
    signal = direct(exact, window)
    assert_close(
        kind,
        opened.differences(alternate[None]),
        (direct(exact, alternate) - signal)[None],
        signal,
    )
    assert opened.prediction_NT.dtype == torch.float32
    torch.testing.assert_close(opened.prediction_NT.double(), signal, rtol=1e-5, atol=1e-5)


@pytest.fixture
def alternates(window) -> NDArray[np.uint8]:
    """Some of the edits, the reference itself among them, one of them twice."""
    edits = ["centre", "first base", "insertion", "centre", "several bases"]
    rows = [EDITS[edit](window) for edit in edits]
    return np.stack([*rows[:2], window, *rows[2:], window])


def test_a_row_for_every_alternate_in_order(kind, build, exact, window, alternates) -> None:
    signal = direct(exact, window)
    found = build().open(window).differences(alternates)
    assert_close(kind, found, torch.stack([direct(exact, x) for x in alternates]) - signal, signal)
    assert not found[[2, 6]].any()
    assert torch.equal(found[0], found[4])
    assert found[0].any()


@pytest.mark.parametrize("batch_size", [2, 3, 100])
def test_the_batch_size_changes_rounding_only(window, tiny, alternates, batch_size: int) -> None:
    one, several = (
        DeltaEffects(tiny, tiny.tracks["human"], device=CPU, batch_size=size)
        .open(window)
        .differences(alternates)
        for size in (1, batch_size)
    )
    for ours, theirs in zip(several, one, strict=True):
        assert (ours - theirs).norm() <= CLOSER * theirs.norm()


@pytest.mark.parametrize("cache_bytes", [0, 100_000])
def test_memory_changes_no_bit(window, tiny, alternates, cache_bytes: int) -> None:
    ample, scarce = (
        DeltaEffects(tiny, tiny.tracks["human"], device=CPU, **options)
        .open(window)
        .differences(alternates)
        for options in ({}, {"cache_bytes": cache_bytes})
    )
    assert torch.equal(ample, scarce)


@pytest.mark.parametrize("bins", [range(1), range(15, 16), range(3, 11), range(16)])
def test_bins_are_a_slice(kind, build, exact, window, alternates, bins: range) -> None:
    part = slice(bins.start, bins.stop)
    opened = build().open(window, bins)
    signal = direct(exact, window)
    truth = torch.stack([direct(exact, x) for x in alternates]) - signal
    assert opened.prediction_NT.shape == (len(bins), 8)
    assert_close(kind, opened.differences(alternates), truth[:, part], signal)
    torch.testing.assert_close(opened.prediction_NT.double(), signal[part], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bins", [range(0), range(-1, 4), range(10, 17), range(0, 8, 2)])
def test_bins_that_are_not_there_are_refused(build, window, bins: range) -> None:
    with pytest.raises(ValueError, match="neighbours of 0 to 15"):
        build().open(window, bins)
    with pytest.raises(ValueError, match="neighbours of 0 to 15"):
        next(iter(build().open_along(window, [0], bins)))


@pytest.mark.parametrize(
    ("head", "indices"), [("human", [7]), ("human", [1, 2, 6]), ("mouse", [0, 3])]
)
def test_tracks_are_a_slice(kind, build, tiny, exact, window, alternates, head, indices) -> None:
    opened = build(tiny.tracks[head].select([str(i) for i in indices])).open(window)
    signal = direct(exact, window, head)[:, indices]
    truth = torch.stack([direct(exact, x, head) for x in alternates])[:, :, indices] - signal
    assert_close(kind, opened.differences(alternates), truth, signal)


def test_windows_along_a_stretch_are_those_opened_alone(kind, build, window) -> None:
    stretch = np.concatenate([window[:700], window, window[::-1]])
    starts = [0, 128, 640, 645, 4000, 300]
    along = build().open_along(stretch, starts, range(2, 14))
    alone = build()
    for start, opened in zip(starts, along, strict=True):
        assert not torch.is_inference_mode_enabled()
        reference = stretch[start : start + BASES]
        other = alone.open(reference, range(2, 14))
        torch.testing.assert_close(opened.prediction_NT, other.prediction_NT)
        lanes = np.stack([substituted(reference, 2000), inserted(reference, 60, 2)])
        ours, theirs = opened.differences(lanes), other.differences(lanes)
        allowed = CLOSE * other.prediction_NT.norm() if kind == "plain" else CLOSER * theirs.norm()
        assert (ours - theirs).norm() <= allowed


def test_windows_along_a_stretch_may_each_have_bins_of_their_own(kind, build, window) -> None:
    stretch = np.concatenate([window, window[:256]])
    bins = [range(2, 14), range(7, 8), range(16), range(9, 10)]
    along = build().open_along(stretch, [0, 128, 256, 256], bins)
    alone = build()
    for start, chosen, opened in zip([0, 128, 256, 256], bins, along, strict=True):
        reference = stretch[start : start + BASES]
        other = alone.open(reference)
        part = slice(chosen.start, chosen.stop)
        torch.testing.assert_close(opened.prediction_NT, other.prediction_NT[part])
        lanes = substituted(reference, 2000)[None]
        ours, theirs = opened.differences(lanes), other.differences(lanes)[:, part]
        allowed = CLOSE * other.prediction_NT.norm() if kind == "plain" else CLOSER * theirs.norm()
        assert (ours - theirs).norm() <= allowed
    with pytest.raises(ValueError, match="bins of 3 windows are given for 4"):
        build().open_along(stretch, [0, 128, 256, 256], bins[:3])
    with pytest.raises(ValueError, match="neighbours of 0 to 15"):
        build().open_along(stretch, [0, 128], [range(3), range(10, 17)])


def test_records_of_a_reference_serve_the_next_one_whatever_its_bins() -> None:
    model = small_enformer()
    effects = DeltaEffects(model, model.tracks["human"], device=CPU)
    window = np.zeros(model.input_bp, np.uint8)
    effects.open(window, range(3))
    before = [effects.reference.record(index) for index in range(3)]
    effects.open(window, range(5))
    after = [effects.reference.record(index) for index in range(3)]
    assert [one is two for one, two in zip(before, after, strict=True)] == [True, True, False]
    assert len(after[2].mixed_QC) == 5


def test_a_window_that_leaves_its_stretch_is_refused(build, window) -> None:
    with pytest.raises(ValueError, match="leaves a stretch of 4096"):
        next(iter(build().open_along(window, [1])))


def test_swapped_alleles_change_the_sign(kind, build, window) -> None:
    alternate = substituted(window, 2100, bases=2)
    there = build().open(window).differences(alternate[None])
    back = build().open(alternate).differences(window[None])
    signal = build().open(window).prediction_NT
    allowed = CLOSE * signal.norm() if kind == "plain" else CLOSER * there.norm()
    assert (there + back).norm() <= allowed


def test_the_same_question_twice_gives_the_same_bits(build, window, alternates) -> None:
    effects = build()
    opened = effects.open(window)
    first = opened.differences(alternates)
    assert torch.equal(opened.differences(alternates), first)
    effects.open(alternates[0]).differences(window[None])
    assert torch.equal(effects.open(window).differences(alternates), first)


def test_nothing_in_nothing_out(build, window) -> None:
    opened = build().open(window, range(4, 9))
    assert opened.differences(np.empty((0, BASES), np.uint8)).shape == (0, 5, 8)


def test_callers_may_use_their_arrays_again(build, window, alternates) -> None:
    mine = window.copy()
    effects = build()
    before = effects.open(window).differences(alternates)
    opened = effects.open(mine)
    mine[:] = 0
    assert torch.equal(opened.differences(alternates), before)


@pytest.mark.parametrize("shape", [(1, 4095), (4096,), (1, 4097)])
def test_another_width_is_refused(build, window, shape) -> None:
    with pytest.raises(ValueError, match="4096"):
        build().open(window).differences(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="4096"):
        build().open(np.zeros(4095, np.uint8))


def test_an_unknown_code_is_refused(build, window) -> None:
    wrong = np.full(BASES, 5, np.uint8)
    with pytest.raises(ValueError, match="got 5"):
        build().open(window).differences(wrong[None])
    with pytest.raises(ValueError, match="got 5"):
        build().open(wrong)


def test_an_unknown_head_is_refused(build) -> None:
    with pytest.raises(UnknownHead, match="'rat'"):
        build(TrackSet.unnamed("rat", 8))


def test_its_geometry_is_that_of_the_model(build, tiny) -> None:
    effects = build()
    assert effects.spec == window_spec(tiny)
    assert effects.tracks is tiny.tracks["human"]


def test_a_window_that_has_gone_says_so(tiny, window) -> None:
    effects = DeltaEffects(tiny, tiny.tracks["human"], device=CPU)
    first = effects.open(window)
    effects.open(window)
    with pytest.raises(RuntimeError, match="has gone"):
        first.differences(window[None])
    along = list(effects.open_along(window, [0, 0]))
    with pytest.raises(RuntimeError, match="has gone"):
        along[0].differences(window[None])
    assert not along[1].differences(window[None]).any()


def test_a_failure_leaves_no_window_open(tiny, window, monkeypatch) -> None:
    effects = DeltaEffects(tiny, tiny.tracks["human"], device=CPU)
    opened = effects.open(window)

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(effects.reference, "run", fail)
    with pytest.raises(MemoryError):
        effects.open(window)
    with pytest.raises(RuntimeError, match="has gone"):
        opened.differences(window[None])


class ExactDelta(DeltaEffects):
    wide = torch.float64


@pytest.mark.parametrize("pooling", ["attention", "max"])
def test_trunk_and_transformer_together_are_exact(pooling: str) -> None:
    """Both give float32 at the end: 2**-24 of each value."""
    model = copy.deepcopy(small_enformer(pooling)).double()
    rng = np.random.default_rng(3)
    window = rng.integers(0, 5, model.input_bp).astype(np.uint8)
    alternates = np.stack([window] * 4)
    alternates[0, 0] = (window[0] + 1) % 4
    alternates[1, 1200:1203] = (window[1200:1203] + 2) % 4
    alternates[2, 1001:] = window[1000:-1]
    alternates[3, -1] = (window[-1] + 1) % 4
    tracks = model.tracks["human"]
    plain = PlainEffects(model, tracks, device=CPU, dtype=torch.float64).open(window)
    truth = plain.differences(alternates)
    ours = ExactDelta(model, tracks, device=CPU, batch_size=3).open(window)
    assert torch.equal(ours.prediction_NT, plain.prediction_NT)
    torch.testing.assert_close(ours.differences(alternates), truth, rtol=2**-23, atol=1e-14)


def test_changes_too_large_for_differences_are_subtracted(window, tiny, caplog) -> None:
    """With sharp attention; the small change in the same batch is not."""
    model = copy.deepcopy(tiny)
    attention = model.transformer[0][0].fn[1]
    attention.to_q.weight.data *= 20
    attention.to_k.weight.data *= 20
    lanes = np.stack([substituted(window, 0, bases=BASES), substituted(window, 2048)])
    exact = copy.deepcopy(model).double()
    signal = direct(exact, window)
    truth = torch.stack([direct(exact, lane) for lane in lanes]) - signal
    opened = DeltaEffects(model, model.tracks["human"], device=CPU, batch_size=2).open(window)
    with caplog.at_level("INFO", logger="cisray"):
        found = opened.differences(lanes)
    assert 1 <= caplog.text.count("it is subtracted") <= 2
    assert (found - truth).norm() < 1e-3 * truth.norm()
    assert torch.isfinite(found).all()


def test_what_was_released_is_opened_anew(kind, tiny, window, alternates) -> None:
    effects = EFFECTS[kind](tiny, tiny.tracks["human"], device=CPU)
    before = effects.open(window).differences(alternates)
    effects.release()
    assert torch.equal(effects.open(window).differences(alternates), before)


def test_a_released_window_of_the_fast_way_has_gone(tiny, window, alternates) -> None:
    effects = EFFECTS["fast"](tiny, tiny.tracks["human"], device=CPU)
    opened = effects.open(window)
    effects.release()
    with pytest.raises(RuntimeError, match="has gone"):
        opened.differences(alternates)


@pytest.mark.gpu
def test_cuda_computes_what_the_cpu_does(kind, tiny, window, alternates) -> None:
    tracks, cuda = tiny.tracks["human"], torch.device("cuda")
    cpu = EFFECTS[kind](tiny, tracks, device=CPU).open(window).differences(alternates)
    try:
        opened = EFFECTS[kind](tiny.to(cuda), tracks, device=cuda).open(window)
        found = opened.differences(alternates).cpu()
        signal = opened.prediction_NT.cpu()
    finally:
        tiny.to(CPU)
    assert_close(kind, found, cpu, signal)
