"""Both strands and shifts: what members read, how they are undone, and what is averaged.

With CountingModel every expectation is counted in the sequence; with the tiny Enformer the same is
done by hand, window by window.
"""

import numpy as np
import pytest
import torch
from counting_model import CountingModel
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cisray.errors import ConfigError
from cisray.genome.encode import encode, reverse_complement
from cisray.inference.effects import PlainEffects
from cisray.inference.ensemble import Ensemble, EnsembleEffects, EnsemblePredictor, Member
from cisray.inference.fast.effects import DeltaEffects
from cisray.inference.fast.predictor import FastPredictor
from cisray.inference.predictor import PlainPredictor

CPU = torch.device("cpu")
# The length of a counting model's window, its bins, and where the target begins in it.
L, BIN, CROP, BINS = 64, 8, 16, 4


def counting(ensemble: Ensemble) -> EnsemblePredictor:
    model = CountingModel()
    return EnsemblePredictor(PlainPredictor(model, model.tracks["human"], device=CPU), ensemble)


def counting_effects(ensemble: Ensemble) -> EnsembleEffects:
    model = CountingModel()
    return EnsembleEffects(PlainEffects(model, model.tracks["human"], device=CPU), ensemble)


shift_sets = st.lists(st.integers(-4, 4), min_size=1, max_size=4, unique=True).map(tuple)
ensembles = st.builds(Ensemble, st.booleans(), shift_sets)


def windows(data: st.DataObject, ensemble: Ensemble, count: int) -> np.ndarray:
    shape = (count, L + 2 * ensemble.flank_bp)
    return data.draw(arrays.arrays(np.uint8, shape, elements=st.integers(0, 4)))


def test_members_come_in_a_fixed_order() -> None:
    ensemble = Ensemble(True, (-43, 0, 43))
    assert ensemble.members == (
        Member(False, -43), Member(False, 0), Member(False, 43),
        Member(True, -43), Member(True, 0), Member(True, 43),
    )  # fmt: skip
    assert ensemble.flank_bp == 43
    assert Ensemble(False).members == (Member(False, 0),)
    assert Ensemble(False).flank_bp == 0


def test_lanes_are_the_windows_that_begin_so_many_bases_later() -> None:
    # Flank 1, window 4: ACGTTT. Shifted by -1, 0, +1 it begins at the first, second, third base.
    ensemble = Ensemble(True, (-1, 0, 1))
    lanes = ensemble.lanes(np.stack([encode("ACGTTT"), encode("NCAAAG")]))
    expected = ["ACGT", "CGTT", "GTTT", "ACGT", "AACG", "AAAC"]
    expected += ["NCAA", "CAAA", "AAAG", "TTGN", "TTTG", "CTTT"]
    np.testing.assert_array_equal(lanes, np.stack([encode(text) for text in expected]))


def test_a_flank_is_as_wide_as_the_largest_shift_to_either_side() -> None:
    ensemble = Ensemble(False, (-1, 2))
    assert ensemble.flank_bp == 2
    # From ACGTACGT, without flanks GTAC: one base earlier CGTA, two later ACGT.
    np.testing.assert_array_equal(
        ensemble.lanes(encode("ACGTACGT")[None]), np.stack([encode("CGTA"), encode("ACGT")])
    )


@given(st.data())
def test_the_other_strand_of_the_other_strand_is_the_window(data: st.DataObject) -> None:
    codes_BS = windows(data, Ensemble(False, (2,)), 3)
    once = Member(True, 0).lane(codes_BS, 0)
    np.testing.assert_array_equal(Member(True, 0).lane(once, 0), codes_BS)
    bins = range(1, 3)
    assert Member(True, 0).bins(Member(True, 0).bins(bins, BINS), BINS) == bins
    values = torch.arange(24.0).reshape(2, 4, 3)
    assert torch.equal(Member(True, 0).undone(Member(True, 0).undone(values)), values)


@pytest.mark.parametrize("shifts", [(), (0, 0), (-43, 0, 43, 0)])
def test_shifts_that_make_no_ensemble_are_refused(shifts: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="different numbers"):
        Ensemble(True, shifts)


@pytest.mark.parametrize("build", [counting, counting_effects])
def test_shifts_beyond_half_a_bin_are_refused(build) -> None:
    build(Ensemble(False, (-4, 4)))  # half of 8 is allowed
    for shift in (5, -5):
        with pytest.raises(ConfigError, match=r"A shift of 5 bp .* at most 4 bp"):
            build(Ensemble(False, (0, shift)))


def test_counts_of_both_strands() -> None:
    # The third and fourth bin of the input are the first two of the target: 8 A, and 5 C 2 G 1 N.
    text = "T" * 16 + "AAAAAAAA" + "CCCCCGGN" + "T" * 32
    mean, std = counting(Ensemble(True)).predict(encode(text)[None])
    # Forwards 8 A; backwards the same bin has 8 T: each is 4 on average, 4 away from it.
    # Forwards 5 C 2 G, backwards 2 C 5 G: 3.5 on average, 1.5 away.
    np.testing.assert_array_equal(mean[0, :2], [[4, 0, 0, 4], [0, 3.5, 3.5, 0]])
    np.testing.assert_array_equal(std[0, :2], [[4, 0, 0, 4], [0, 1.5, 1.5, 0]])
    assert mean.dtype == std.dtype == np.float32


def test_counts_of_shifts() -> None:
    # One A at offset 20 of the window; its bin of the target is [16, 24), the next [24, 32).
    # With a flank of 4 it is base 24 of what is read.
    codes_S = encode("C" * 24 + "A" + "C" * (L + 8 - 25))
    mean, std = counting(Ensemble(False, (-4, 0, 4))).predict(codes_S[None])
    # Bins begin 4 bases earlier at -4: [12, 20) and [20, 28), so that the A falls into the second;
    # at +4 it is the first base of [20, 28), which is the first.
    np.testing.assert_allclose(mean[0, :, 0], [2 / 3, 1 / 3, 0, 0], rtol=1e-7)
    # Of 1, 1, 0 the variance is 2/3 x 1/3 = 2/9.
    np.testing.assert_allclose(std[0, :, 0], [np.sqrt(2 / 9), np.sqrt(2 / 9), 0, 0], rtol=1e-7)


@given(st.data(), ensembles)
def test_means_are_those_of_bases_counted_one_by_one(data, ensemble: Ensemble) -> None:
    codes_BS = windows(data, ensemble, 2)
    members = []
    for reverse in (False, True) if ensemble.reverse_complement else (False,):
        for shift in ensemble.shifts:
            first = ensemble.flank_bp + shift + CROP
            bins = [codes_BS[:, first + BIN * n : first + BIN * (n + 1)] for n in range(BINS)]
            letters = (3, 2, 1, 0) if reverse else (0, 1, 2, 3)
            members.append([[(b == letter).sum(axis=1) for letter in letters] for b in bins])
    counted = np.array(members, dtype=np.float64).transpose(0, 3, 1, 2)  # (M, B, N, T)
    mean, std = counting(ensemble).predict(codes_BS)
    np.testing.assert_allclose(mean, counted.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std, counted.std(axis=0), rtol=1e-6, atol=1e-7)


@given(st.data(), st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True))
def test_the_mean_does_not_know_from_which_strand_it_was_read(data, shifts: list[int]) -> None:
    paired = tuple(sorted({s for shift in shifts for s in (-shift, shift)}))
    ensemble = Ensemble(True, paired)
    codes_BS = windows(data, ensemble, 2)
    here = counting(ensemble).predict(codes_BS)
    there = counting(ensemble).predict(reverse_complement(codes_BS))
    for ours, theirs in zip(here, there, strict=True):
        np.testing.assert_allclose(ours, theirs[:, ::-1], rtol=1e-6, atol=1e-7)


finite = st.floats(-1e6, 1e6, width=32)


@given(arrays.arrays(np.float32, (2, 4, 3), elements=finite), st.integers(1, 4))
def test_the_mean_of_equal_lanes_is_that_lane_bit_for_bit(lane_BNT, shifts: int) -> None:
    ensemble = Ensemble(False, tuple(range(shifts)))
    pred = torch.from_numpy(lane_BNT).repeat_interleave(shifts, dim=0)
    mean, std = ensemble.merge(pred)
    assert torch.equal(mean, torch.from_numpy(lane_BNT))
    assert mean.dtype == torch.float32
    assert not std.any()


@given(st.booleans(), shift_sets, st.integers(0, 3), st.randoms(use_true_random=False))
def test_merging_is_numpys_mean_and_standard_deviation(reverse, shifts, windows, random) -> None:
    ensemble = Ensemble(reverse, shifts)
    count = len(ensemble.members)
    generator = np.random.default_rng(random.randrange(2**32))
    # Far from zero, where the difference of two means of squares would keep no digit.
    pred = (1000 + generator.normal(size=(windows * count, 4, 3))).astype(np.float32)
    mean, std = ensemble.merge(torch.from_numpy(pred))
    by_member = pred.astype(np.float64).reshape(windows, count, 4, 3)
    turned = by_member.copy()
    if reverse:
        turned[:, len(shifts) :] = by_member[:, len(shifts) :, ::-1]
    np.testing.assert_allclose(mean, turned.mean(axis=1), rtol=1e-7)
    np.testing.assert_allclose(std, turned.std(axis=1), rtol=1e-6, atol=1e-9)


def test_merging_refuses_lanes_that_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="7 lanes"):
        Ensemble(True).merge(torch.zeros(7, 4, 3))


def test_a_single_member_is_the_predictor_itself(tiny, codes_BL) -> None:
    plain = PlainPredictor(tiny, tiny.tracks["human"], device=CPU)
    mean, std = EnsemblePredictor(plain, Ensemble(False)).predict(codes_BL)
    np.testing.assert_array_equal(mean, plain.predict(codes_BL))
    assert not std.any()


def test_the_tiny_enformer_averaged_by_hand(tiny) -> None:
    plain = PlainPredictor(tiny, tiny.tracks["human"], device=CPU)
    codes_BS = np.random.default_rng(3).integers(0, 5, (2, 4096 + 2 * 43)).astype(np.uint8)
    predictor = EnsemblePredictor(plain, Ensemble(True, (-43, 0, 43)))
    assert (predictor.spec, predictor.tracks) == (plain.spec, plain.tracks)
    assert predictor.flank_bp == 43
    by_hand = []
    for first in (0, 43, 86):
        codes_BL = codes_BS[:, first : first + 4096]
        by_hand.append(plain.predict(codes_BL))
        by_hand.append(plain.predict(reverse_complement(codes_BL))[:, ::-1])
    mean, std = predictor.predict(codes_BS)
    np.testing.assert_allclose(mean, np.mean(by_hand, axis=0, dtype=np.float64), rtol=2e-6)
    np.testing.assert_allclose(std, np.std(by_hand, axis=0, dtype=np.float64), rtol=1e-4, atol=1e-6)
    assert std.min() > 0


@pytest.mark.parametrize("width", [4096, 4096 + 43, 4096 + 87])
def test_another_width_is_refused(tiny, width: int) -> None:
    ensemble = Ensemble(True, (-43, 43))
    predictor = EnsemblePredictor(PlainPredictor(tiny, tiny.tracks["human"], device=CPU), ensemble)
    effects = EnsembleEffects(PlainEffects(tiny, tiny.tracks["human"], device=CPU), ensemble)
    codes_BS = np.zeros((1, width), np.uint8)
    for call in (
        lambda: predictor.predict(codes_BS),
        lambda: effects.effects(codes_BS[0], np.zeros((1, 4182), np.uint8)),
        lambda: effects.effects(np.zeros(4182, np.uint8), codes_BS),
    ):
        with pytest.raises(ValueError, match=r"4182\), which is 4096 and a flank of 43"):
            call()


def test_counted_effects_of_a_variant() -> None:
    # Flank 4, so that base 24 is offset 20 of the window, in bin 0 of the target: C to A.
    reference_S = encode("C" * (L + 8))
    alternate_S = reference_S.copy()
    alternate_S[24] = 0
    got = counting_effects(Ensemble(True, (-4, 4))).effects(
        reference_S, np.stack([alternate_S, reference_S]), range(3)
    )
    # Forwards one A more and one C less: at -4 in bin 1, at +4 in bin 0 (as counted above).
    # Backwards one T more and one G less, in the same bins. Each is 1 in one of 4 members.
    in_one = [0.25, -0.25, -0.25, 0.25]
    expected = torch.tensor([[in_one, in_one, [0.0] * 4], [[0.0] * 4] * 3])
    assert torch.equal(got.difference_BNT, expected)
    # Of 1, 0, 0, 0 the variance is 1/4 x 3/4 = 3/16.
    torch.testing.assert_close(got.difference_std_BNT, expected.abs() / 0.25 * np.sqrt(3 / 16))
    # 8 C forwards, 8 G backwards: 4 of each.
    assert torch.equal(got.prediction_NT, torch.tensor([[0.0, 4, 4, 0]] * 3))


@given(st.data(), ensembles)
def test_effects_are_differences_of_averaged_predictions(data, ensemble: Ensemble) -> None:
    """Averages are linear: a mean difference is the difference of the means, in every bin."""
    codes_BS = windows(data, ensemble, 3)
    mean, _ = counting(ensemble).predict(codes_BS)
    start = data.draw(st.integers(0, BINS - 1))
    bins = range(start, data.draw(st.integers(start + 1, BINS)))
    got = counting_effects(ensemble).effects(codes_BS[0], codes_BS[1:], bins)
    np.testing.assert_allclose(got.prediction_NT, mean[0, bins.start : bins.stop], rtol=1e-6)
    np.testing.assert_allclose(
        got.difference_BNT, (mean[1:] - mean[:1])[:, bins.start : bins.stop], atol=1e-5
    )


def test_effects_of_the_tiny_enformer_by_hand_and_the_other_way_round(tiny) -> None:
    plain = PlainEffects(tiny, tiny.tracks["human"], device=CPU)
    effects = EnsembleEffects(plain, Ensemble(True, (-43, 0, 43)))
    reference_S = np.random.default_rng(4).integers(0, 4, 4096 + 86).astype(np.uint8)
    alternate_S = reference_S.copy()
    alternate_S[2000] = (alternate_S[2000] + 1) % 4
    bins = range(3, 9)
    by_hand = []
    for first in (0, 43, 86):
        for turn, chosen in ((False, bins), (True, range(16 - 9, 16 - 3))):
            pair = np.stack([x[first : first + 4096] for x in (reference_S, alternate_S)])
            pair = reverse_complement(pair) if turn else pair
            difference = plain.open(pair[0], chosen).differences(pair[1:])
            by_hand.append(difference.flip(1) if turn else difference)
    members = torch.stack(by_hand).double()
    there = effects.effects(reference_S, alternate_S[None], bins)
    assert there.difference_BNT.dtype == torch.float32
    near = {"rtol": 1e-6, "atol": 1e-10}
    torch.testing.assert_close(there.difference_BNT, members.mean(dim=0).float(), **near)
    std_BNT = members.std(dim=0, correction=0).float()
    torch.testing.assert_close(there.difference_std_BNT, std_BNT, **near)
    back = effects.effects(alternate_S, reference_S[None], bins)
    assert there.difference_BNT.abs().max() > 1e-4
    # The same passes, subtracted the other way round: the same bits but for the sign.
    assert torch.equal(back.difference_BNT, -there.difference_BNT)
    assert torch.equal(back.difference_std_BNT, there.difference_std_BNT)


def test_fast_and_plain_ensembles_agree(tiny) -> None:
    tracks = tiny.tracks["human"].select(["1", "6"])
    ensemble = Ensemble(True, (-64, 0, 17))
    codes_BS = np.random.default_rng(6).integers(0, 5, (3, 4096 + 2 * 64)).astype(np.uint8)
    fast, plain = (
        EnsemblePredictor(kind(tiny, tracks, device=CPU, batch_size=4), ensemble).predict(codes_BS)
        for kind in (FastPredictor, PlainPredictor)
    )
    for ours, theirs in zip(fast, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * plain[0].max())
    alternates_BS = np.repeat(codes_BS[:1], 3, axis=0)
    alternates_BS[0, 2100:2120] = (alternates_BS[0, 2100:2120] + 1) % 4
    alternates_BS[1, 2101:] = alternates_BS[1, 2100:-1].copy()  # one base inserted
    bins = range(5, 12)
    delta, subtracted = (
        EnsembleEffects(predictor, ensemble).effects(codes_BS[0], alternates_BS, bins)
        for predictor in (
            DeltaEffects(tiny, tracks, device=CPU, batch_size=2),
            PlainEffects(tiny, tracks, device=CPU),
        )
    )
    near = {"rtol": 0, "atol": 5e-6 * float(subtracted.prediction_NT.max())}
    torch.testing.assert_close(delta.prediction_NT, subtracted.prediction_NT, **near)
    torch.testing.assert_close(delta.difference_BNT, subtracted.difference_BNT, **near)
    torch.testing.assert_close(delta.difference_std_BNT, subtracted.difference_std_BNT, **near)
    assert subtracted.difference_BNT[:2].abs().amax(dim=(1, 2)).min() > 2e-4
    assert not delta.difference_BNT[2].any()  # equals the reference
