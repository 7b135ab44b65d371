"""Every statistic against its definition in float64, by hand, and at effects near the noise."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cisray.errors import ConfigError, ResultsError
from cisray.scoring import statistics
from cisray.scoring.statistics import STATISTICS, compute, find

NAMES = ["REF", "ALT", "SAD", "SADR", "logSAD", "SAX", "D1", "D2", "JS"]


def by_definition(name: str, ref_NT: np.ndarray, alt_NT: np.ndarray) -> np.ndarray:
    """The formulas as people write them, on alternate and reference: (T,) in extended precision."""
    ref, alt = ref_NT.astype(np.longdouble), alt_NT.astype(np.longdouble)
    match name:
        case "REF":
            return ref.sum(0)
        case "ALT":
            return alt.sum(0)
        case "SAD":
            return alt.sum(0) - ref.sum(0)
        case "SADR":
            return np.log2(alt.sum(0) + 1) - np.log2(ref.sum(0) + 1)
        case "logSAD":
            return (np.log2(alt + 1) - np.log2(ref + 1)).sum(0)
        case "SAX":
            return np.array([c[np.argmax(np.abs(c))] for c in (alt - ref).T])
        case "D1":
            return np.abs(alt - ref).sum(0)
        case "D2":
            return np.sqrt(((alt - ref) ** 2).sum(0))
        case "JS":
            pseudo = np.percentile(ref, 25, axis=0)
            p, q = ref + pseudo, alt + pseudo
            p, q = p / p.sum(0), q / q.sum(0)
            return ((p * np.log(p / q)).sum(0) + (q * np.log(q / p)).sum(0)) / 2
    raise AssertionError(name)


def signals(seed: int, bins: int = 12, tracks: int = 5) -> np.ndarray:
    """Signals as models have them: most bins low, some high; each track at its own height."""
    rng = np.random.default_rng(seed)
    shape = rng.gamma(0.3, 2.0, (bins, tracks)) + 0.01
    return (shape * rng.uniform(0.1, 100, tracks)).astype(np.float32)


def computed(name: str, ref_NT: np.ndarray, difference_BNT: np.ndarray) -> np.ndarray:
    return compute([name], torch.from_numpy(ref_NT), torch.from_numpy(difference_BNT))[name].numpy()


def test_the_names_are_those_of_the_field_in_order() -> None:
    assert list(STATISTICS) == NAMES
    assert all(STATISTICS[name].name == name for name in NAMES)
    assert [s.name for s in find(["JS", "SAD"])] == ["JS", "SAD"]


# Two tracks of four bins. Track 0: ref 1 3 0 7, alt 3 1 0 8; track 1: ref 2 2 2 2, alt 2 2 2 6.
REF = np.array([[1, 2], [3, 2], [0, 2], [7, 2]], np.float32)
DIFFERENCE = np.array([[[2, 0], [-2, 0], [0, 0], [1, 4]]], np.float32)
BY_HAND = {
    "REF": [11, 8],  # 1+3+0+7, 4 x 2
    "ALT": [12, 12],  # 3+1+0+8, 3 x 2 + 6
    "SAD": [1, 4],  # 2-2+0+1, 4
    "SADR": [math.log2(13 / 12), math.log2(13 / 9)],
    # log2 4/2 + log2 2/4 + 0 + log2 9/8; log2 7/3
    "logSAD": [1 - 1 + math.log2(9 / 8), math.log2(7 / 3)],
    "SAX": [2, 4],  # of 2 and -2 the first
    "D1": [5, 4],  # 2+2+0+1
    "D2": [3, 4],  # sqrt(4+4+0+1)
    # Track 0: sorted 0 1 3 7, 25 % lies at place 0.75, so c = 0.75.
    # p = (1.75 3.75 0.75 7.75) / 14, q = (3.75 1.75 0.75 8.75) / 15.
    # Track 1: c = 2, p = (4 4 4 4) / 16, q = (4 4 4 8) / 20: three bins fall by 1/20, one
    # grows by 3/20, so JS = (3 x -1/20 ln(4/5) + 3/20 ln(8/5)) / 2.
    "JS": [
        0.5
        * sum(
            (q / 15 - p / 14) * math.log((q / 15) / (p / 14))
            for p, q in zip((1.75, 3.75, 0.75, 7.75), (3.75, 1.75, 0.75, 8.75), strict=True)
        ),
        0.5 * (0.15 * math.log(5 / 4) + 0.15 * math.log(8 / 5)),
    ],
}


@pytest.mark.parametrize("name", NAMES)
def test_by_hand(name: str) -> None:
    found = computed(name, REF, DIFFERENCE)
    assert found.dtype == np.float32
    assert found.shape == (1, 2)
    np.testing.assert_allclose(found[0], BY_HAND[name], rtol=1e-6)
    np.testing.assert_allclose(
        by_definition(name, REF, REF + DIFFERENCE[0]).astype(float), found[0], rtol=1e-6
    )


@pytest.mark.parametrize("name", NAMES)
def test_against_the_definition_for_large_effects(name: str) -> None:
    ref = signals(1)
    alts = np.stack([signals(seed) for seed in (2, 3, 4)])
    difference = alts - ref
    found = computed(name, ref, difference)
    for lane in range(3):
        expected = by_definition(name, ref, ref.astype(np.float64) + difference[lane])
        np.testing.assert_allclose(found[lane], expected.astype(float), rtol=3e-7)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"REF", "ALT"}))
@pytest.mark.parametrize("size", [1e-3, 1e-8, 1e-12])
def test_no_digit_is_lost_however_small_the_effect(name: str, size: float) -> None:
    """Differences of 1e-8 of a float32 signal vanish when added to it; the statistic keeps them."""
    ref = signals(5)
    share = np.random.default_rng(6).uniform(-1, 1, (2, *ref.shape))
    difference = (size * ref * share).astype(np.float32)
    if size < 1e-7:
        assert all(np.array_equal(ref + lane, ref) for lane in difference)
    found = computed(name, ref, difference)
    for lane in range(2):
        d, r = difference[lane].astype(np.longdouble), ref.astype(np.longdouble)
        expected = first_order(name, r, d) if size < 1e-7 else by_definition(name, r, r + d)
        np.testing.assert_allclose(found[lane], expected.astype(float), rtol=2e-7)


def first_order(name: str, r: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The leading terms in d: written as defined, even extended precision loses digits here."""
    match name:
        case "SADR":
            return d.sum(0) / (r.sum(0) + 1) / np.log(np.longdouble(2))
        case "logSAD":
            x = d / (r + 1)
            return (x - x * x / 2).sum(0) / np.log(np.longdouble(2))
        case "JS":
            raised = r + np.percentile(r, 25, axis=0)
            w = d / raised - d.sum(0) / raised.sum(0)
            return (raised / raised.sum(0) * w * w).sum(0) / 2
    return by_definition(name, np.zeros_like(d), d)


def test_js_where_all_bins_change_by_nearly_one_factor() -> None:
    """What is left of the digits: d is good to 6e-8 of itself, its departure from 1e-6 ref to more.

    With d = 1e-6 (ref + c) (1 + 1e-4 s), w is 1e-4 of each of its two terms, so that rounding d to
    float32 costs up to 6e-8 / 1e-4 = 6e-4 of w. Given the rounded d, float64 costs 1e-12 more.
    """
    ref = signals(7)
    r = ref.astype(np.longdouble)
    raised = r + np.percentile(r, 25, axis=0)
    wobble = np.random.default_rng(8).uniform(-1, 1, ref.shape)
    exact = 1e-6 * raised * (1 + 1e-4 * wobble)
    given_d = exact.astype(np.float32)
    w = given_d / raised - given_d.astype(np.longdouble).sum(0) / raised.sum(0)
    expected = (raised / raised.sum(0) * w * w).sum(0) / 2  # to first order in 1e-6
    found = computed("JS", ref, given_d[None])[0]
    np.testing.assert_allclose(found, expected.astype(float), rtol=3e-6)
    w = exact / raised - exact.sum(0) / raised.sum(0)
    unrounded = (raised / raised.sum(0) * w * w).sum(0) / 2
    np.testing.assert_allclose(found, unrounded.astype(float), rtol=2e-3)


@pytest.mark.parametrize("name", NAMES)
def test_no_statistic_is_constant(name: str) -> None:
    """Over alternates (REF: over references) and over tracks, also where only one bin changes."""
    found = []
    for seed in range(4):
        ref = signals(10 + seed)
        difference = np.zeros((1, *ref.shape), np.float32)
        difference[0, seed + 3] = 0.1 * ref[seed + 3]
        found.append(computed(name, ref, difference)[0])
    values = np.stack(found)
    assert len(np.unique(values)) == values.size
    assert np.all(values != 0)


ALLELES = arrays(
    np.float32, (5, 3), elements=st.floats(0, 2**20, width=32, allow_subnormal=False)
).filter(lambda a: a.sum() > 0)


@settings(max_examples=100, deadline=None)
@given(ALLELES, ALLELES)
def test_swapped_alleles(ref: np.ndarray, alt: np.ndarray) -> None:
    # In float64 the difference is exact here or rounded far below float32.
    one, other = torch.from_numpy(ref).double(), torch.from_numpy(alt).double()
    there = compute(NAMES, one, (other - one)[None])
    back = compute(NAMES, other, (one - other)[None])
    for name in NAMES:
        first, second = there[name].numpy(), back[name].numpy()
        match STATISTICS[name].swap:
            case "flips":
                np.testing.assert_allclose(second, -first, rtol=1e-6, atol=1e-9)
            case "keeps":
                np.testing.assert_array_equal(second, first)
    for name, traded in (("REF", "ALT"), ("ALT", "REF")):
        assert torch.allclose(there[name], back[traded], rtol=1e-6, atol=1e-9)
    assert (there["JS"] >= 0).all()
    assert (back["JS"] >= 0).all()


def test_which_statistics_flip() -> None:
    assert {n: s.swap for n, s in STATISTICS.items()} == {
        "REF": "none", "ALT": "none", "SAD": "flips", "SADR": "flips", "logSAD": "flips",
        "SAX": "flips", "D1": "keeps", "D2": "keeps", "JS": "none",
    }  # fmt: skip
    # JS is none of both because the pseudocount is the reference's: of 0 0 8 about nothing, of
    # 4 4 4 it is 4.
    ref, alt = np.array([[0], [0], [8]], np.float32), np.array([[4], [4], [4]], np.float32)
    there, back = computed("JS", ref, (alt - ref)[None]), computed("JS", alt, (ref - alt)[None])
    assert there[0, 0] > 10 * back[0, 0] > 0


@settings(max_examples=100, deadline=None)
@given(ALLELES, ALLELES)
def test_any_signals_give_finite_numbers(ref: np.ndarray, alt: np.ndarray) -> None:
    difference = torch.from_numpy(alt - ref)[None]
    for name, values in compute(NAMES, torch.from_numpy(ref), difference).items():
        assert values.isfinite().all(), name


def test_a_signal_that_appears_or_vanishes() -> None:
    ones, zeros = np.ones((4, 1), np.float32), np.zeros((4, 1), np.float32)
    half = np.array([[1], [1], [0], [0]], np.float32)
    for ref, alt in ((zeros, ones), (ones, zeros), (zeros, half), (half, zeros), (half, 1 - half)):
        difference = torch.from_numpy(alt - ref)[None]
        for name, values in compute(NAMES, torch.from_numpy(ref), difference).items():
            assert values.isfinite().all(), name
    # A flat signal stays flat, whatever its height.
    assert computed("JS", zeros, (ones - zeros)[None]) == 0
    assert computed("JS", ones, (zeros - ones)[None]) == 0
    # p = 1/2 1/2 t t, q = t t 1/2 1/2, with t = 1.2e-38 / 2: four terms of 1/2 ln(1 / 2t), halved.
    expected = 4 * 0.5 * math.log(1 / 1.1754944e-38) / 2
    np.testing.assert_allclose(
        computed("JS", half, (1 - 2 * half)[None])[0, 0], expected, rtol=1e-6
    )


def test_equal_sequences_have_no_effect() -> None:
    ref = signals(20)
    zero = torch.zeros(2, *ref.shape)
    found = compute(NAMES, torch.from_numpy(ref), zero)
    for name in NAMES:
        if name in ("REF", "ALT"):
            np.testing.assert_allclose(found[name], [ref.sum(0)] * 2, rtol=1e-6)
        else:
            assert torch.count_nonzero(found[name]) == 0


def test_many_bins_are_summed_without_drift() -> None:
    # 2^25 of signal and 1e5 bins of 1/4: float32 would drop each quarter.
    ref = np.full((100_001, 1), 0.25, np.float32)
    ref[0] = 2**25
    assert computed("REF", ref, np.zeros((1, 100_001, 1), np.float32))[0, 0] == np.float32(
        2**25 + 25_000
    )


def test_alternates_do_not_depend_on_their_company(monkeypatch: pytest.MonkeyPatch) -> None:
    ref = torch.from_numpy(signals(30))
    difference = torch.from_numpy(np.stack([signals(s) for s in range(31, 38)])) - ref
    alone = [compute(NAMES, ref, lane[None]) for lane in difference]
    together = compute(NAMES, ref, difference)
    monkeypatch.setattr(statistics, "_LANE_VALUES", 3 * ref.numel())  # pieces of 3, 3 and 1
    pieces = compute(NAMES, ref, difference)
    for name in NAMES:
        assert torch.equal(torch.cat([one[name] for one in alone]), together[name])
        assert torch.equal(pieces[name], together[name])


def test_no_alternates() -> None:
    found = compute(NAMES, torch.ones(4, 3), torch.empty(0, 4, 3))
    assert {values.shape for values in found.values()} == {(0, 3)}


def test_nothing_is_written_into_the_arguments() -> None:
    ref, difference = torch.ones(4, 3).double(), -1.001 * torch.ones(2, 4, 3).double()
    kept = ref.clone(), difference.clone()
    compute(NAMES, ref, difference)
    assert torch.equal(ref, kept[0])
    assert torch.equal(difference, kept[1])


def test_an_alternate_below_zero_by_rounding_counts_as_zero() -> None:
    ref = np.full((3, 1), 2000, np.float32)
    # 0.1 % below zero: log1p of -2002 / 2001 would not exist.
    difference = np.full((1, 3, 1), -2002, np.float32)
    assert computed("ALT", ref, difference)[0, 0] == 0
    assert computed("SAD", ref, difference)[0, 0] == -6000
    np.testing.assert_allclose(computed("logSAD", ref, difference)[0, 0], -3 * math.log2(2001))


def test_an_alternate_below_zero_by_more_is_an_error() -> None:
    with pytest.raises(ResultsError, match="prediction is -100, "):
        computed("SAD", np.full((3, 1), 2000, np.float32), np.full((1, 3, 1), -2100, np.float32))
    with pytest.raises(ResultsError, match="reference prediction is -1"):
        computed("SAD", np.full((3, 1), -1, np.float32), np.zeros((1, 3, 1), np.float32))


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"REF"}))
def test_nan_is_not_hidden(name: str) -> None:
    ref, difference = signals(40), np.zeros((2, 12, 5), np.float32)
    difference[1, 7, 2] = np.nan
    found = computed(name, ref, difference)
    assert np.argwhere(np.isnan(found)).tolist() == [[1, 2]]


@pytest.mark.parametrize("name", NAMES)
def test_nan_in_the_reference_is_not_hidden(name: str) -> None:
    ref, difference = signals(41), np.full((1, 12, 5), 1e-3, np.float32)
    ref[3, 4] = np.nan
    found = computed(name, ref, difference)
    assert np.isnan(found[0, 4])
    assert np.isfinite(found[0, :4]).all()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["sad"], "no statistic 'sad'.*Did you mean SAD"),
        (["SAD", "logSADD"], "Did you mean logSAD"),
        (["SAR"], "SADR.*logSAD"),
        (["SAD", "SAD"], "twice"),
        ([], "choose from REF, ALT"),
    ],
)
def test_names_that_are_none(names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find(names)


@pytest.mark.parametrize(
    ("prediction", "difference"),
    [
        (torch.ones(4, 3), torch.ones(4, 3)),
        (torch.ones(4, 3), torch.ones(2, 3, 4)),
        (torch.ones(0, 3), torch.ones(2, 0, 3)),
        (torch.ones(2, 4, 3), torch.ones(2, 4, 3)),
        (torch.ones(4, 3).bfloat16(), torch.ones(2, 4, 3)),
        (torch.ones(4, 3), torch.ones(2, 4, 3).half()),
    ],
)
def test_shapes_and_types_that_do_not_fit(
    prediction: torch.Tensor, difference: torch.Tensor
) -> None:
    with pytest.raises(ValueError, match=r"expected|float32"):
        compute(["SAD"], prediction, difference)
