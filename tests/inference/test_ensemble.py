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
from cisray.inference.ensemble import Ensemble, EnsemblePredictor, Member, OtherStrand
from cisray.inference.fast.effects import DeltaEffects
from cisray.inference.fast.predictor import FastPredictor
from cisray.inference.predictor import PlainPredictor

CPU = torch.device("cpu")
# The length of a counting model's window, its bins, and where the target begins in it.
L, BIN, CROP, BINS = 64, 8, 16, 4


def counting(ensemble: Ensemble) -> EnsemblePredictor:
    model = CountingModel()
    return EnsemblePredictor(PlainPredictor(model, model.tracks["human"], device=CPU), ensemble)


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
    values = torch.arange(24.0).reshape(2, 4, 3)
    assert torch.equal(Member(True, 0).undone(Member(True, 0).undone(values)), values)


@pytest.mark.parametrize("shifts", [(), (0, 0), (-43, 0, 43, 0)])
def test_shifts_that_make_no_ensemble_are_refused(shifts: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="different numbers"):
        Ensemble(True, shifts)


def test_shifts_beyond_half_a_bin_are_refused() -> None:
    counting(Ensemble(False, (-4, 4)))  # half of 8 is allowed
    for shift in (5, -5):
        with pytest.raises(ConfigError, match=r"A shift of 5 bp .* at most 4 bp"):
            counting(Ensemble(False, (0, shift)))


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
    with pytest.raises(ValueError, match=r"4182\), which is 4096 and a flank of 43"):
        predictor.predict(np.zeros((1, width), np.uint8))


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


# The other strand.


def test_counted_effects_of_the_other_strand() -> None:
    model = CountingModel()
    reader = OtherStrand(PlainEffects(model, model.tracks["human"], device=CPU))
    assert (reader.spec.target_bins, reader.tracks) == (BINS, model.tracks["human"])
    # Target bins begin at base 16 of a window: base 18 is in the first, 46 in the last.
    reference_L = encode("C" * L)
    alternates_BL = np.stack([reference_L] * 3)
    alternates_BL[0, 18] = 0  # C to A, on the other strand G to T
    alternates_BL[1, 46] = 2  # C to G, there G to C
    opened = reader.open(reference_L)
    assert torch.equal(opened.prediction_NT, torch.tensor([[0.0, 0, 8, 0]] * 4))
    expected = torch.zeros(3, 4, 4)
    expected[0, 0] = torch.tensor([0.0, 0, -1, 1])
    expected[1, 3] = torch.tensor([0.0, 1, -1, 0])
    assert torch.equal(opened.differences(alternates_BL), expected)
    part = reader.open(reference_L, range(3))
    assert torch.equal(part.differences(alternates_BL), expected[:, :3])


@pytest.mark.parametrize("kind", [PlainEffects, DeltaEffects])
def test_windows_of_the_other_strand_are_those_of_the_turned_sequence(kind, tiny) -> None:
    predictor = kind(tiny, tiny.tracks["human"], device=CPU)
    codes_S = np.random.default_rng(6).integers(0, 5, 4096 + 700).astype(np.uint8)
    starts, bins = [0, 128, 700, 256], [range(2, 9), range(16), range(15, 16), range(2, 9)]
    along = OtherStrand(predictor).open_along(codes_S, starts, bins)
    plain = PlainEffects(tiny, tiny.tracks["human"], device=CPU)
    for start, chosen, opened in zip(starts, bins, along, strict=True):
        reference_L = codes_S[start : start + 4096]
        alternates_BL = np.stack([reference_L] * 2)
        alternates_BL[0, 2000] = (alternates_BL[0, 2000] + 1) % 4
        alternates_BL[1, 1001:] = reference_L[1000:-1]
        turned = plain.open(reverse_complement(reference_L))
        part = slice(chosen.start, chosen.stop)
        signal = turned.prediction_NT.flip(0)[part]
        torch.testing.assert_close(opened.prediction_NT, signal, rtol=1e-5, atol=1e-5)
        expected = turned.differences(reverse_complement(alternates_BL)).flip(1)[:, part]
        found = opened.differences(alternates_BL)
        assert found.shape == (2, len(chosen), 8)
        for ours, theirs in zip(found, expected, strict=True):
            assert (ours - theirs).norm() <= 1e-3 * theirs.norm() + 3e-6 * signal.norm()


def test_the_other_strand_refuses_what_is_not_there(tiny) -> None:
    reader = OtherStrand(PlainEffects(tiny, tiny.tracks["human"], device=CPU))
    codes_S = np.zeros(4100, np.uint8)
    with pytest.raises(ValueError, match="neighbours of 0 to 15"):
        reader.open(codes_S[:4096], range(10, 17))
    with pytest.raises(ValueError, match="leaves a stretch"):
        reader.open_along(codes_S, [5])
    with pytest.raises(ValueError, match="1 windows are given for 2"):
        reader.open_along(codes_S, [0, 4], [range(3)])
