"""Indels against brute force, in every spelling, and under a model that sees a few bases."""

import gzip
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.errors import ConfigError, CoordinateError
from cisray.genome.encode import decode, encode
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.variant import Variant
from cisray.genome.windows import Window, WindowSpec
from cisray.inference.effects import PlainEffects
from cisray.model.enformer.network import Enformer
from cisray.model.registry import load_model
from cisray.scoring.alignment import (
    AlignedAlternates,
    Policy,
    Stretch,
    align,
    fits_window,
    merge,
    merge_all,
    stack,
)
from cisray.tracks import TrackSet
from cisray_jobs.models import init_model

# 10 bins of 8 bp are read, the 6 in the middle predicted.
SPEC = WindowSpec(input_bp=80, bin_bp=8, target_bins=6)
REACH = 2  # bases on either side of a bin that the toy model sees


class Chromosome:
    """A chromosome in memory, with N beyond its ends: the meaning of Genome.fetch_padded."""

    def __init__(self, text: str, name: str = "chr7") -> None:
        self.text, self.name = text, name

    def fetch(self, interval: Interval) -> np.ndarray:
        assert interval.chrom == self.name
        bases = range(interval.start, interval.end)
        return encode("".join(self.text[i] if 0 <= i < len(self.text) else "N" for i in bases))

    def variant(self, start: int, deleted: int, inserted: str) -> Variant:
        """Replace bases as a VCF record would, with the base before as an anchor if need be."""
        if not deleted or not inserted:
            start, deleted, inserted = start - 1, deleted + 1, self.text[start - 1] + inserted
        ref = self.text[start : start + deleted]
        return Variant(self.name, len(self.text[:start] + "^"), ref, inserted)

    def edited(self, variant: Variant) -> "Chromosome":
        start, end = variant.interval.start, variant.interval.end
        return Chromosome(self.text[:start] + variant.alt + self.text[end:], self.name)


def window_at(start: int) -> Window:
    """The window whose input starts at a base, which may be negative."""
    return Window.for_target("chr7", start + SPEC.crop_bp, SPEC)


def random_chromosome(seed: int, length: int = 400) -> Chromosome:
    return Chromosome("".join(np.random.default_rng(seed).choice(list("ACGT"), length)))


class Local(torch.nn.Module):
    """A model whose bin depends on its own bases and two on either side; in whole numbers, exact.

    Convolve five bases, square, and sum over the bin: sums far below 2^24 have no rounding.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tracks = {"human": TrackSet.unnamed("human", 3)}
        self.input_bp, self.bin_bp, self.target_bins = 80, 8, 6
        weights = np.random.default_rng(1).integers(-4, 5, (3, 4, 2 * REACH + 1))
        self.register_buffer("weight", torch.from_numpy(weights).float())

    def check_head(self, head: str) -> None:
        assert head in self.tracks

    def forward_flops(self, head: str) -> float:
        return 2.0 * 80 * self.weight.numel()

    def forward(self, onehot_BLA: torch.Tensor, head: str) -> torch.Tensor:
        seen = torch.nn.functional.conv1d(onehot_BLA.mT, self.weight.to(onehot_BLA), padding=REACH)
        return 8 * torch.nn.functional.avg_pool1d(seen.square(), 8)[:, :, 2:-2].mT


@pytest.fixture(scope="module")
def local() -> PlainEffects:
    model = Local()
    return PlainEffects(model, model.tracks["human"], device=torch.device("cpu"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Enformer:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    init_model(path, "tiny", seed=5, randomise_all=True)
    return load_model(path)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def effect(
    effects: PlainEffects,
    chromosome: Chromosome,
    variant: Variant,
    window: Window,
    policy: Policy = Policy.STITCH,
    bins: range | None = None,
) -> torch.Tensor:
    aligned = align(variant, window, fetch=chromosome.fetch, policy=policy, bins=bins)
    reference = effects.open(chromosome.fetch(window.input), bins)
    return merge(reference.differences(aligned.codes_BL), aligned)


def texts(aligned: AlignedAlternates) -> list[str]:
    return [decode(codes_L) for codes_L in aligned.codes_BL]


# By hand. The window reads bases 100 to 179; its target is 116 to 163, bins 116, 124, 132, ...


def test_a_deletion_by_hand() -> None:
    here = random_chromosome(2)
    text = here.text
    # Bases 130, 131, 132 go: bin 1 (124 to 131) and bin 2 (132 to 139). Made unambiguous:
    text = text[:129] + "CATGA" + text[134:]
    here = Chromosome(text)
    variant = here.variant(130, 3, "")
    assert (variant.pos, variant.ref, variant.alt) == (130, "CATG", "C")
    aligned = align(variant, window_at(100), fetch=here.fetch)
    # Left in place: 100 to 129, then 133 to 182: three bases come in from beyond the right end.
    # Right in place: 97 to 129, then 133 to 179: three come in from the left.
    assert texts(aligned) == [text[100:130] + text[133:183], text[97:130] + text[133:180]]
    assert aligned.own == range(1, 3)
    left = align(variant, window_at(100), fetch=here.fetch, policy=Policy.LEFT)
    assert texts(left) == [text[100:130] + text[133:183]]


def test_an_insertion_by_hand() -> None:
    text = random_chromosome(3).text
    # GG between the T at 131 and the C at 132: the last base of bin 1 and the first of bin 2.
    here = Chromosome(text[:131] + "TC" + text[133:])
    text = here.text
    variant = here.variant(132, 0, "GG")
    assert (variant.pos, variant.ref, variant.alt) == (132, "T", "TGG")
    aligned = align(variant, window_at(100), fetch=here.fetch)
    assert texts(aligned) == [
        text[100:132] + "GG" + text[132:178],
        text[102:132] + "GG" + text[132:180],
    ]
    assert aligned.own == range(1, 3)
    # Between 132 and 133, both in bin 2.
    here = Chromosome(text[:132] + "TC" + text[134:])
    assert align(here.variant(133, 0, "GG"), window_at(100), fetch=here.fetch).own == range(2, 3)


def test_a_replacement_of_another_length_by_hand() -> None:
    text = random_chromosome(4).text
    text = text[:140] + "CATG" + text[144:]
    here = Chromosome(text)
    # C and G stand for what differs at both ends: 140 to 143 are bin 3 (140 to 147).
    aligned = align(Variant("chr7", 141, "CATG", "GC"), window_at(100), fetch=here.fetch)
    assert texts(aligned) == [
        text[100:140] + "GC" + text[144:182],
        text[98:140] + "GC" + text[144:180],
    ]
    assert aligned.own == range(3, 4)


@pytest.mark.parametrize("policy", Policy)
def test_substitutions_move_nothing(policy: Policy) -> None:
    here = random_chromosome(5)
    for start, ref in ((100, 1), (139, 1), (139, 3), (179, 1)):
        allele = here.text[start : start + ref]
        alt = allele.translate(str.maketrans("ACGT", "CGTA"))
        variant = Variant("chr7", len(here.text[:start]) + 1, allele, alt)
        aligned = align(variant, window_at(100), fetch=here.fetch, policy=policy)
        assert texts(aligned) == [here.text[100:start] + alt + here.text[start + ref : 180]]


def test_an_allele_that_is_the_reference_has_no_effect(local: PlainEffects) -> None:
    here = random_chromosome(6)
    variant = Variant("chr7", 141, here.text[140:144], here.text[140:144])
    assert torch.count_nonzero(effect(local, here, variant, window_at(100))) == 0
    assert align(variant, window_at(100), fetch=here.fetch).own == range(3, 4)


# Every placement, spelling and size, against strings.


@st.composite
def cases(draw: st.DrawFn) -> tuple[Chromosome, Variant, Window]:
    """A chromosome of few letters, so that repeats abound, and a variant whose anchor shows."""
    text = draw(st.text("AC", min_size=60, max_size=200)) + draw(st.text("ACG", max_size=60))
    start = draw(st.integers(1, len(text) - 2))
    deleted = draw(st.integers(0, min(30, len(text) - 1 - start)))
    inserted = draw(st.text("ACG", max_size=12, min_size=0 if deleted else 1))
    here = Chromosome(text)
    variant = here.variant(start, deleted, inserted)
    first = variant.interval.start
    return here, variant, window_at(first - draw(st.integers(0, 79)))


def aligned_or_none(here: Chromosome, variant: Variant, window: Window, policy: Policy):
    try:
        return align(variant, window, fetch=here.fetch, policy=policy)
    except CoordinateError:
        return None


@settings(max_examples=100, deadline=None)
@given(cases())
def test_both_alternates_are_windows_of_the_edited_chromosome(case) -> None:
    """Left in place: the edited chromosome from the same base on; right: up to the same base."""
    here, variant, window = case
    edited = here.edited(variant)
    shift = len(edited.text) - len(here.text)
    left_L, right_L = edited.fetch(window.input), edited.fetch(window.input.shift(shift))
    left_only = aligned_or_none(here, variant, window, Policy.LEFT)
    if left_only is not None:
        np.testing.assert_array_equal(left_only.codes_BL, [left_L])
    stitched = aligned_or_none(here, variant, window, Policy.STITCH)
    if stitched is None:
        return
    assert stitched.codes_BL.shape[1:] == (80,)
    assert stitched.codes_BL.dtype == np.uint8
    if len(stitched.codes_BL) == 2:
        np.testing.assert_array_equal(stitched.codes_BL, [left_L, right_L])
        # What lies wholly beside the variant's own bins is the reference, base for base.
        reference_L = here.fetch(window.input)
        before, after = (16 + 8 * edge for edge in (stitched.own.start, stitched.own.stop))
        if stitched.own.start > 0:
            np.testing.assert_array_equal(stitched.codes_BL[0, :before], reference_L[:before])
        if stitched.own.stop < 6:
            np.testing.assert_array_equal(stitched.codes_BL[1, after:], reference_L[after:])
    else:
        assert any(np.array_equal(stitched.codes_BL[0], one) for one in (left_L, right_L))


@settings(max_examples=100, deadline=None)
@given(cases())
def test_a_variant_is_refused_only_where_the_window_does_not_show_it(case) -> None:
    here, variant, window = case
    if aligned_or_none(here, variant, window, Policy.LEFT) is None and variant.ref != variant.alt:
        edited = here.edited(variant)
        shift = len(edited.text) - len(here.text)
        same_left = np.array_equal(edited.fetch(window.input), here.fetch(window.input))
        same_right = np.array_equal(
            edited.fetch(window.input.shift(shift)), here.fetch(window.input)
        )
        changed = changed_bases(here.text, edited.text)
        spans = min(changed) <= window.input.start and max(changed) >= window.input.end - 1
        assert same_left or same_right or spans


def changed_bases(text: str, edited: str) -> set[int]:
    """Every base that some way to spell the change replaces, or has beside an insertion."""
    shift = len(text) - len(edited)
    found: set[int] = set()
    if shift > 0:
        for start in range(len(text) - shift + 1):
            if text[:start] + text[start + shift :] == edited:
                found |= set(range(start, start + shift))
    elif shift < 0:
        for start in range(len(text) + 1):
            if edited[:start] + edited[start - shift :] == text:
                found |= {start - 1, start}
    if found:
        return found
    begin = next((i for i, (a, b) in enumerate(zip(text, edited, strict=False)) if a != b), 0)
    behind = zip(text[::-1], edited[::-1], strict=False)
    end = len(text) - next((i for i, (a, b) in enumerate(behind) if a != b), 0)
    return set(range(begin, end))


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(0, 5), st.integers(1, 6))
def test_own_bins_hold_every_spelling_of_the_variant(case, first: int, count: int) -> None:
    here, variant, _ = case
    bins = range(first, min(first + count, 6))
    # In the middle of a window, so that the window shows all of the repeat that matters.
    window = Window.around(variant.interval, SPEC)
    aligned = aligned_or_none(here, variant, window, Policy.STITCH)
    if aligned is None or variant.ref == variant.alt:
        return
    changed = changed_bases(here.text, here.edited(variant).text)
    own = align(variant, window, fetch=here.fetch, bins=bins).own
    starts = [window.target.start + 8 * n for n in bins]
    expected = [i for i, s in enumerate(starts) if changed & set(range(s, s + 8))]
    assert list(own) == expected
    if not own:
        assert own.start == (0 if max(changed) < starts[0] else len(bins))


def spellings(here: Chromosome, variant: Variant) -> list[Variant]:
    """All ways to write a variant with up to 6 bases of context at either end, or elsewhere."""
    edited = here.edited(variant).text
    shift = len(here.text) - len(edited)
    found = []
    interval = variant.interval
    for start in range(max(interval.start - 8, 0), interval.start + 9):
        for end in range(max(start, interval.end - 8) + 1, min(interval.end + 9, len(here.text))):
            ref, alt = here.text[start:end], edited[start : end - shift]
            fits = here.text[:start] + alt + here.text[end:] == edited
            if fits and end - shift > start:
                found.append(Variant("chr7", len(here.text[:start]) + 1, ref, alt))
    return found


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize(
    ("repeat", "deleted", "inserted"),
    [
        ("AAAAAAA", 1, ""),
        ("AAAAAAA", 0, "AA"),
        ("ACACACA", 2, ""),
        ("ACACACA", 0, "AC"),
        ("GTC", 2, "A"),
    ],
)
def test_spellings_of_one_variant_are_one(policy, repeat, deleted, inserted, local) -> None:
    """An indel of a repeat, at each of its places and with each context: the same numbers."""
    here = random_chromosome(8)
    text = here.text[:137] + "G" + repeat + "T" + here.text[146:]
    here = Chromosome(text)
    window = window_at(100)
    ways = spellings(here, here.variant(139, deleted, inserted))
    assert len({(way.pos, way.ref) for way in ways}) == len(ways) > 20
    results = [align(way, window, fetch=here.fetch, policy=policy) for way in ways]
    scores = [effect(local, here, way, window, policy) for way in ways[:5]]
    assert all(np.array_equal(one.codes_BL, two.codes_BL) for one, two in pairwise(results))
    assert len({one.own for one in results}) == 1
    assert all(torch.equal(one, two) for one, two in pairwise(scores))
    assert torch.count_nonzero(scores[0]) > 0


# With a model that sees two bases beyond a bin.


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(118, 160), st.integers(0, 20), st.text("ACGT", max_size=9)
)
def test_far_bins_are_exactly_zero_under_stitch(local, seed, start, deleted, inserted) -> None:
    here = random_chromosome(seed)
    deleted += not deleted and not inserted
    variant = here.variant(start, deleted, inserted)
    edited = here.edited(variant)
    found_NT = effect(local, here, variant, window_at(100))
    touched = changed_bases(here.text, edited.text) if here.text != edited.text else {start}
    near = {(base + step - 116) // 8 for base in touched for step in range(-REACH, REACH + 1)}
    far = [n for n in range(6) if n not in near]
    assert torch.count_nonzero(found_NT[far]) == 0
    # Under "left" the bins of the left flank are as far; those of the right flank are shifted.
    left_NT = effect(local, here, variant, window_at(100), Policy.LEFT)
    before = [n for n in far if n < min(near)]
    after = [n for n in far if n > max(near)]
    assert torch.count_nonzero(left_NT[before]) == 0
    if len(edited.text) != len(here.text) and after:
        assert torch.count_nonzero(left_NT[after]) > 0


def test_own_bins_are_the_mean_of_both(local: PlainEffects) -> None:
    here = Chromosome(random_chromosome(9).text[:130] + "GCAT" + random_chromosome(10).text[134:])
    variant, window = here.variant(131, 1, ""), window_at(100)
    edited = here.edited(variant)
    predict = local.open(here.fetch(window.input))
    left_NT, right_NT = predict.differences(
        np.stack([edited.fetch(window.input), edited.fetch(window.input.shift(-1))])
    )
    # Base 131 is the last of bin 1; bin 2 begins at 132.
    found_NT = effect(local, here, variant, window)
    assert torch.equal(found_NT[0], left_NT[0])
    assert torch.equal(found_NT[1], (left_NT[1] + right_NT[1]) / 2)
    assert torch.equal(found_NT[2:], right_NT[2:])
    assert not torch.equal(left_NT[1], right_NT[1])


@pytest.mark.parametrize("policy", Policy)
def test_insertion_and_deletion_undo_each_other(policy: Policy, local: PlainEffects) -> None:
    """Seen from the edited chromosome, the reverse variant restores the window of the first."""
    here = random_chromosome(11)
    there = here.variant(140, 0, "GATTACA")
    edited = here.edited(there)
    back = there.swapped()
    assert edited.edited(back).text == here.text
    window = window_at(100)
    one = align(there, window, fetch=here.fetch, policy=policy)
    two = align(back, window, fetch=edited.fetch, policy=policy)
    # The alternate of the way back, left flank in place, is the reference of the way there.
    np.testing.assert_array_equal(two.codes_BL[0], here.fetch(window.input))
    np.testing.assert_array_equal(one.codes_BL[0], edited.fetch(window.input))
    there_NT = local.open(here.fetch(window.input)).differences(one.codes_BL[:1])
    back_NT = local.open(edited.fetch(window.input)).differences(two.codes_BL[:1])
    assert torch.count_nonzero(there_NT) > 0
    assert torch.count_nonzero(there_NT + back_NT) == 0
    if policy is Policy.STITCH:
        np.testing.assert_array_equal(one.codes_BL[1], edited.fetch(window.input.shift(7)))
        np.testing.assert_array_equal(two.codes_BL[1], here.fetch(window.input.shift(-7)))


def test_no_net_change_of_a_chromosome_is_no_effect(local: PlainEffects) -> None:
    """Insert, then delete what was inserted, written as one record."""
    here = random_chromosome(12)
    edited = here.edited(here.variant(140, 0, "GAT"))
    restored = edited.edited(edited.variant(140, 3, ""))
    assert restored.text == here.text
    record = Variant("chr7", 131, here.text[130:160], restored.text[130:160])
    for policy in Policy:
        assert torch.count_nonzero(effect(local, here, record, window_at(100), policy)) == 0


# With Enformer.


def test_with_enformer(tiny: Enformer) -> None:
    effects = PlainEffects(tiny, tiny.tracks["human"], device=torch.device("cpu"))
    here = random_chromosome(13, 9_000)
    text = here.text[:4_200] + "CAAAAAAG" + here.text[4_208:]
    here = Chromosome(text)
    snv = Variant("chr7", 4_205, "A", "G")
    window = Window.around(Interval("chr7", 4_230, 4_231), effects.spec)
    one, two = (effect(effects, here, snv, window, policy) for policy in Policy)
    assert torch.equal(one, two)
    assert torch.count_nonzero(one) > 0
    # Deleting the first and the fifth A: the same bits.
    first, fifth = Variant("chr7", 4_201, "CA", "C"), Variant("chr7", 4_205, "AA", "A")
    one, two = (effect(effects, here, way, window) for way in (first, fifth))
    assert torch.equal(one, two)
    left = effect(effects, here, first, window, Policy.LEFT)
    # The bins before the variant's own are those of the left flank in place under both policies.
    own = align(first, window, fetch=here.fetch).own
    assert own == range(7, 8)
    assert torch.equal(one[:7], left[:7])
    assert not torch.equal(one[7:], left[7:])
    bins = range(5, 12)
    part = effect(effects, here, first, window, bins=bins)
    assert torch.allclose(part, one[5:12], atol=1e-7)


# Edges.


def test_beyond_the_chromosome_is_n() -> None:
    here = random_chromosome(14, 90)
    # Window -30 to 49: 30 N, then the chromosome. Delete 5 bases at 12.
    variant = Variant("chr7", 12, here.text[11:17], here.text[11])
    text = here.text[:12] + here.text[17:]
    window = window_at(-30)
    aligned = align(variant, window, fetch=here.fetch, policy=Policy.LEFT)
    assert texts(aligned) == ["N" * 30 + text[:50]]
    # Right in place: the chromosome begins 5 bases later, after 35 N.
    aligned = align(variant, window, fetch=here.fetch)
    assert texts(aligned)[-1] == "N" * 35 + text[:45]
    # At the other end, window 40 to 119: 50 bases and 30 N; left in place, 45 and 35.
    variant = Variant("chr7", 72, here.text[71:77], here.text[71])
    text = here.text[:72] + here.text[77:]
    aligned = align(variant, window_at(40), fetch=here.fetch)
    assert texts(aligned) == [text[40:85] + "N" * 35, text[35:85] + "N" * 30]


def test_the_first_and_the_last_base_of_a_chromosome() -> None:
    text = "G" + random_chromosome(15, 88).text + "C"
    here = Chromosome(text)
    aligned = align(Variant("chr7", 1, "G", "TTT"), window_at(-30), fetch=here.fetch)
    # Left of the target (-14 ... 33) lie the N; base 0 is in bin 1 (-6 to 1).
    assert aligned.own == range(1, 2)
    assert texts(aligned) == ["N" * 30 + "TTT" + text[1:48], "N" * 28 + "TTT" + text[1:50]]
    aligned = align(Variant("chr7", 90, "C", "CAT"), window_at(40), fetch=here.fetch)
    assert texts(aligned) == [text[40:90] + "AT" + "N" * 28, text[42:90] + "AT" + "N" * 30]


def test_a_variant_beside_the_bins_needs_one_flank_only() -> None:
    here = Chromosome(random_chromosome(16).text[:105] + "GCAT" + random_chromosome(17).text[109:])
    text = here.text
    window = window_at(100)
    # Base 106 lies left of the target: every bin is of the right flank.
    aligned = align(here.variant(106, 1, ""), window, fetch=here.fetch)
    assert texts(aligned) == [text[99:106] + text[107:180]]
    assert aligned.own == range(0)
    here = Chromosome(text[:165] + "GCAT" + text[169:])
    text = here.text
    # Base 166 lies right of it: every bin is of the left flank.
    aligned = align(here.variant(166, 1, ""), window, fetch=here.fetch)
    assert texts(aligned) == [text[100:166] + text[167:181]]
    assert aligned.own == range(6, 6)
    # So are bins 0 and 1 for a deletion in bin 3 (140 to 147), and bins 4 and 5 of the right.
    here = Chromosome(text[:142] + "GCAT" + text[146:])
    text = here.text
    aligned = align(here.variant(143, 1, ""), window, fetch=here.fetch, bins=range(2))
    assert texts(aligned) == [text[100:143] + text[144:181]]
    aligned = align(here.variant(143, 1, ""), window, fetch=here.fetch, bins=range(4, 6))
    assert texts(aligned) == [text[99:143] + text[144:180]]
    aligned = align(here.variant(143, 1, ""), window, fetch=here.fetch, bins=range(2, 5))
    assert aligned.own == range(1, 2)
    assert len(aligned.codes_BL) == 2


def test_a_deletion_longer_than_a_bin() -> None:
    text = random_chromosome(18).text
    here = Chromosome(text[:125] + "GC" + text[127:149] + "TA" + text[151:])
    text = here.text
    # 126 to 149 go: bins 1 (124), 2, 3 and 4 (148 to 155).
    aligned = align(here.variant(126, 24, ""), window_at(100), fetch=here.fetch)
    assert aligned.own == range(1, 5)
    assert texts(aligned) == [text[100:126] + text[150:204], text[76:126] + text[150:180]]


def test_a_deletion_beyond_the_end_of_the_window_leaves_one_flank() -> None:
    text = random_chromosome(19).text
    here = Chromosome(text[:149] + "GC" + text[151:229] + "TA" + text[231:])
    text = here.text
    # 150 to 229 go, the window ends at 180: only the left flank shows, and all bins are of it.
    aligned = align(here.variant(150, 80, ""), window_at(100), fetch=here.fetch)
    assert texts(aligned) == [text[100:150] + text[230:260]]
    assert aligned.own == range(4, 6)
    # 90 to 129 go from the window's left end on: only the right flank shows.
    text = text[:89] + "GC" + text[91:129] + "TA" + text[131:]
    here = Chromosome(text)
    variant = here.variant(90, 40, "")
    assert variant.interval == Interval("chr7", 89, 130)
    aligned = align(variant, window_at(100), fetch=here.fetch)
    # 130 and on in place; before it the 30 bases that end at 89.
    assert texts(aligned) == [text[60:90] + text[130:180]]
    assert aligned.own == range(2)


def test_a_deletion_from_or_to_the_very_end_of_a_window_leaves_one_flank() -> None:
    text = random_chromosome(24).text
    text = text[:99] + "GC" + text[101:119] + "TA" + text[121:159] + "GC" + text[161:179] + "TA"
    here = Chromosome(text + random_chromosome(25).text)
    # 100 to 119 go, 100 is the window's first base; 119 is in bin 0 (116 to 123).
    aligned = align(here.variant(100, 20, ""), window_at(100), fetch=here.fetch)
    assert texts(aligned) == [text[80:100] + text[120:180]]
    assert aligned.own == range(1)
    # 160 to 179 go, 179 is its last base; 160 is in bin 5 (156 to 163).
    aligned = align(here.variant(160, 20, ""), window_at(100), fetch=here.fetch)
    assert texts(aligned) == [text[100:160] + here.text[180:200]]
    assert aligned.own == range(5, 6)


@pytest.mark.parametrize(
    ("start", "deleted", "inserted", "message"),
    [
        (60, 1, "", "outside the window"),
        (185, 0, "GG", "outside the window"),
        (90, 100, "", "spans the whole"),
        (180, 2, "", "does not show"),  # its anchor is the window's last base
    ],
)
def test_what_a_window_cannot_show(start, deleted, inserted, message) -> None:
    text = random_chromosome(20).text
    here = Chromosome(text[:179] + "GCAT" + text[183:])
    variant = here.variant(start, deleted, inserted)
    for policy in Policy:
        with pytest.raises(CoordinateError, match=message):
            align(variant, window_at(100), fetch=here.fetch, policy=policy)


def test_other_errors() -> None:
    here = Chromosome(random_chromosome(21).text[:140] + "ACGT" + random_chromosome(22).text[144:])
    with pytest.raises(CoordinateError, match="has ACG at chr7:141-143"):
        align(Variant("chr7", 141, "ACC", "A"), window_at(100), fetch=here.fetch)
    with pytest.raises(CoordinateError, match="outside the window"):
        align(Variant("chr8", 141, "A", "C"), window_at(100), fetch=here.fetch)
    with pytest.raises(ValueError, match="asked for 80 codes"):
        align(Variant("chr7", 141, "A", "C"), window_at(100), fetch=lambda i: here.fetch(i)[:-1])
    with pytest.raises(ConfigError, match=r"'stich'.*Did you mean stitch/1"):
        Policy.named("stich")
    assert [Policy.named(n) for n in ("stitch", "left/1")] == [Policy.STITCH, Policy.LEFT]


# Many variants of one window.


@pytest.fixture
def mixed() -> tuple[Chromosome, list[Variant]]:
    here = random_chromosome(23)
    snv = Variant("chr7", 131, here.text[130], "ACGT"[("ACGT".index(here.text[130]) + 1) % 4])
    return here, [
        snv,
        here.variant(139, 2, ""),
        here.variant(133, 0, "GT"),
        snv,
        here.variant(155, 4, ""),
    ]


def test_variants_of_a_window_together(mixed, local: PlainEffects) -> None:
    here, variants = mixed
    window = window_at(100)
    aligned = [align(variant, window, fetch=here.fetch) for variant in variants]
    codes_BL = stack(aligned)
    assert len(codes_BL) == 1 + 2 + 2 + 1 + 2
    reference = local.open(here.fetch(window.input))
    given = reference.differences(codes_BL)
    kept = given.clone()
    together_BNT = merge_all(given, aligned)
    assert torch.equal(given, kept)
    alone = [effect(local, here, variant, window) for variant in variants]
    assert torch.equal(together_BNT, torch.stack(alone))
    substitutions = [aligned[0], aligned[3]]
    given = reference.differences(stack(substitutions))
    assert merge_all(given, substitutions) is given


def test_differences_that_do_not_fit(mixed) -> None:
    here, variants = mixed
    aligned = [align(variant, window_at(100), fetch=here.fetch) for variant in variants]
    for shape in ((5, 6, 3), (8, 5, 3), (9, 6, 3)):
        with pytest.raises(ValueError, match="8 sequences and"):
            merge_all(torch.zeros(shape), aligned)


def test_a_stretch_serves_its_variants_without_the_file(mixed) -> None:
    here, variants = mixed
    asked: list[Interval] = []

    def fetch(interval: Interval) -> np.ndarray:
        asked.append(interval)
        return here.fetch(interval)

    window = window_at(100)
    stretch = Stretch.around(window, variants, fetch)
    # The longest deletion has 4 bases: 4 beyond each end.
    assert asked == [Interval("chr7", 96, 184)]
    for variant in variants:
        from_memory = align(variant, window, fetch=stretch.fetch)
        np.testing.assert_array_equal(
            from_memory.codes_BL, align(variant, window, fetch=here.fetch).codes_BL
        )
    with pytest.raises(CoordinateError, match="leaves"):
        stretch.fetch(Interval("chr7", 95, 100))
    assert Stretch.around(window, [], here.fetch).interval == window.input


@pytest.mark.realdata
def test_the_indels_of_1000_genomes(shared: Path) -> None:
    """Each in its own full-size window, against the chromosome with the allele written into it."""
    vcf = shared / "data/chr20_hg19/1000g_phase3_sites_chr20_1000001-2000000.hg19.vcf.gz"
    with gzip.open(vcf, "rt") as lines:
        fields = [line.split("\t", 5)[:5] for line in lines if not line.startswith("#")]
    records = [
        (int(pos), ref, alt)
        for _, pos, _, ref, alts in fields
        for alt in alts.split(",")
        if len(alt) != len(ref) and set(alt) <= set("ACGT")
    ]
    assert sum(len(ref) > len(alt) for _, ref, alt in records) > 500
    with Genome.open(shared / "data/chr20_hg19/hg19_chr20.whole.fa.gz") as genome:
        chrom = genome.resolve("20")
        held = Interval(chrom, 850_000, 2_150_000)
        stretch = Stretch(held, genome.fetch(held))
    for pos, ref, alt in records:
        variant = Variant(chrom, pos, ref, alt)
        window = Window.around(variant.interval, WindowSpec())
        aligned = align(variant, window, fetch=stretch.fetch)
        # The file is left-aligned: the anchor is the last base of bin 447, what is deleted begins
        # bin 448, and what is inserted lies between the two.
        assert aligned.own.start == (448 if len(ref) > len(alt) else 447)
        assert aligned.own.stop == 449
        begin, end = variant.interval.start - held.start, variant.interval.end - held.start
        edited_S = np.concatenate([stretch.codes_S[:begin], encode(alt), stretch.codes_S[end:]])
        first = window.input.start - held.start
        moved = first + len(alt) - len(ref)
        left_L, right_L = edited_S[first : first + 196_608], edited_S[moved : moved + 196_608]
        np.testing.assert_array_equal(aligned.codes_BL, [left_L, right_L])


# Whether a window can show a variant.


class Counted:
    """Counts the bases that are fetched; asks for bases on the chromosome, as a genome does."""

    def __init__(self, here: Chromosome) -> None:
        self.here, self.bases = here, 0

    def fetch(self, interval: Interval) -> np.ndarray:
        assert interval.overlaps(Interval("chr7", 0, len(self.here.text)))
        self.bases += interval.width
        return self.here.fetch(interval)


@st.composite
def tight_cases(draw: st.DrawFn) -> tuple[Chromosome, Variant, Window]:
    """Repeats of short units, N among the letters, alleles of any lengths, windows near them."""
    units = st.text("ACN", min_size=1, max_size=4)
    text = "".join(draw(units) * draw(st.integers(1, 70)) for _ in range(draw(st.integers(1, 4))))
    text = (draw(st.text("ACGT", max_size=5)) + text + draw(st.text("ACGT", max_size=5)))[:400]
    start = draw(st.integers(0, len(text) - 1))
    deleted = draw(st.integers(1, min(100, len(text) - start)))
    ref = text[start : start + deleted]
    alt = draw(st.one_of(units, st.just(ref[:1]), st.just(ref + ref[-1:]), st.just(ref[::-1])))
    changed = draw(st.sampled_from([alt, ref[: len(ref) // 2] + alt, ref + alt, ref[:-1] or alt]))
    variant = Variant("chr7", len(text[:start] + "^"), ref, changed)
    # Sixteen bases, of which two bins of four in the middle are predicted.
    ends = st.integers(1, 15).map(lambda shown: start + deleted - shown)
    first = draw(st.one_of(ends, st.integers(start - 24, start + 3)))
    window = Window.for_target("chr7", first + 4, WindowSpec(input_bp=16, bin_bp=4, target_bins=2))
    return Chromosome(text), variant, window


def can_be_aligned(here: Chromosome, variant: Variant, window: Window) -> bool:
    return all(aligned_or_none(here, variant, window, policy) is not None for policy in Policy)


@settings(max_examples=400, deadline=None)
@given(st.one_of(tight_cases(), cases()))
def test_a_variant_fits_a_window_where_it_can_be_aligned(case) -> None:
    here, variant, window = case
    counted = Counted(here)
    assert fits_window(variant, window, counted.fetch) == can_be_aligned(here, variant, window)
    if len(variant.ref) == len(variant.alt):
        assert counted.bases == 0


def test_no_more_is_read_than_a_repeat_is_long() -> None:
    text = random_chromosome(30, 60_000).text
    text = text[:29_000] + "G" + "A" * 1_000 + "C" + text[30_001:]
    here = Chromosome(text)
    wide = Window.for_target("chr7", 10_000, WindowSpec(40_000, 8, 4_000))
    for variant, most in ((here.variant(35_000, 2, ""), 140), (here.variant(29_500, 1, ""), 7_000)):
        counted = Counted(here)
        assert fits_window(variant, wide, counted.fetch)
        assert 0 < counted.bases < most
    # One A less of 29,001 to 29,050 shows in the base after them or, the right flank in place, in
    # the first of them: the window of 80 bases has to reach from one to the other.
    here = Chromosome(text[:29_000] + "G" + "A" * 50 + "C" + text[29_051:])
    variant = here.variant(29_030, 1, "")
    for first in (28_970, 28_971, 28_972, 29_000, 29_001, 29_002):
        fits = 28_970 < first < 29_002
        assert fits_window(variant, window_at(first), here.fetch) == fits
        assert can_be_aligned(here, variant, window_at(first)) == fits


def test_a_variant_that_the_genome_does_not_have_fits_nowhere() -> None:
    here = Chromosome(random_chromosome(31).text[:140] + "ACGT")
    with pytest.raises(CoordinateError, match="does not fit the genome"):
        fits_window(Variant("chr7", 141, "ACC", "A"), window_at(100), here.fetch)


def test_a_substitution_shows_where_a_base_of_it_differs() -> None:
    here = random_chromosome(32)
    ref = here.text[98:102]
    # Window 100 to 179: of 98 to 101 the first base differs, or the last.
    first, last = (
        Variant("chr7", 99, ref, alt)
        for alt in (
            "ACGT"["ACGT".index(ref[0]) - 1] + ref[1:],
            ref[:3] + "ACGT"["ACGT".index(ref[3]) - 1],
        )
    )
    for variant, fits in ((first, False), (last, True), (Variant("chr7", 99, ref, ref), True)):
        assert fits_window(variant, window_at(100), here.fetch) == fits
        assert can_be_aligned(here, variant, window_at(100)) == fits
