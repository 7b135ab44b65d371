"""Scores of variants: against a model called on sequences edited as text, and against themselves.

The tiny Enformer reads 4,096 bases and predicts 16 bins of 128 in the middle, from base 1,024 of a
window on. `Text` is an independent account of what is read: it knows strings and no codes.
"""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from weakref import WeakSet

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cisray.errors import ConfigError, CoordinateError
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.variant import Variant
from cisray.genome.windows import WindowSpec, central_bins
from cisray.inference.effects import PlainEffects
from cisray.inference.ensemble import Ensemble, Mean, Moments
from cisray.inference.fast.effects import DeltaEffects
from cisray.model.enformer.network import Enformer
from cisray.model.registry import load_model
from cisray.scoring.alignment import Policy
from cisray.scoring.variants import (
    EffectArrays,
    EffectOptions,
    ScoredRow,
    VariantScorer,
    VariantScores,
    scorer_bytes,
)
from cisray.tracks import TrackSet
from cisray_jobs.models import init_model

CPU = torch.device("cpu")
BASES, CROP, BIN, BINS = 4096, 1024, 128, 16
ALL = range(BINS)
STATS = ("REF", "SAD", "SADR", "SAX", "D2")
ONE = Ensemble(False)
SIX = Ensemble(True, (-43, 0, 43))
LENGTH = 12_288  # of chr1: 96 bins


class ExactDelta(DeltaEffects):
    wide = torch.float64


def random_text(seed: int, length: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), length))


def chromosome() -> str:
    """Random, with unknown bases at 7,000 to 7,099, and with GAAAAAAAC from 5,000 on."""
    text = random_text(1, LENGTH)
    return text[:5000] + "GAAAAAAAC" + text[5009:7000] + "N" * 100 + text[7100:]


TEXT = chromosome()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Enformer:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    init_model(path, "tiny", seed=5, randomise_all=True)
    return load_model(path)


@pytest.fixture(scope="module")
def exact(tiny: Enformer) -> Enformer:
    return copy.deepcopy(tiny).double()


@pytest.fixture(scope="module")
def plain(exact: Enformer) -> PlainEffects:
    """Subtraction in float64: the truth, but for rounding to float32 at its end."""
    return PlainEffects(exact, exact.tracks["human"], device=CPU, dtype=torch.float64)


@pytest.fixture(scope="module")
def genomes(tmp_path_factory: pytest.TempPathFactory):
    """Write texts as chr1 to a FASTA file and open it."""
    folder = tmp_path_factory.mktemp("genomes")

    def write(text: str) -> Genome:
        path = Path(folder) / f"{len(list(folder.iterdir()))}.fa"
        path.write_text(f">chr1\n{text}\n>chr2\n{text[::-1]}\n")
        return Genome.open(path)

    return write


@pytest.fixture(scope="module")
def genome(genomes) -> Genome:
    return genomes(TEXT)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def other(letters: str) -> str:
    return letters.translate(str.maketrans("ACGT", "CGTA"))


def edit(start: int, deleted: int, inserted: str, text: str = TEXT) -> Variant:
    """Replace bases; an indel gets the base before as its anchor."""
    if not deleted or not inserted:
        start, deleted, inserted = start - 1, deleted + 1, text[start - 1] + inserted
    return Variant.from_start("chr1", start, text[start : start + deleted], inserted)


def snv(start: int, text: str = TEXT) -> Variant:
    return edit(start, 1, other(text[start]), text)


def options(**changed) -> EffectOptions:
    return EffectOptions(**{"stats": STATS, **changed})


def score(predictor, genome: Genome, rows: Sequence[ScoredRow | Variant], **more) -> VariantScores:
    how = {key: more.pop(key) for key in ("alternates_at_once",) if key in more}
    watch = more.pop("watch", None)
    rows = [row if isinstance(row, ScoredRow) else ScoredRow(row, ALL) for row in rows]
    return VariantScorer(predictor, genome, options(**more), **how).score(rows, watch=watch)


# An account of its own.


class Text:
    """What is read of a chromosome, as text; and a model that is called on it."""

    def __init__(self, model: Enformer, text: str = TEXT) -> None:
        self.model, self.text = model, text

    def cut(self, text: str, start: int) -> str:
        return "".join(text[i] if 0 <= i < len(text) else "N" for i in range(start, start + BASES))

    @torch.no_grad()
    def predict(self, window: str, *, reverse: bool) -> NDArray[np.float64]:
        if reverse:
            window = window[::-1].translate(str.maketrans("ACGT", "TGCA"))
        rows = np.array([["ACGT".find(base) == i for i in range(4)] for base in window], float)
        pred_NT = self.model(torch.from_numpy(rows)[None], head="human")[0].numpy()
        return pred_NT[::-1] if reverse else pred_NT

    def effect(
        self, edited: str, start: int, policy: Policy, own: set[int], *, reverse: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Prediction and difference of a window from `start` on, with the variant's own bins."""
        shift = len(edited) - len(self.text)
        reference = self.predict(self.cut(self.text, start), reverse=reverse)
        left = self.predict(self.cut(edited, start), reverse=reverse) - reference
        if policy is Policy.LEFT or not shift:
            return reference, left
        right = self.predict(self.cut(edited, start + shift), reverse=reverse) - reference
        merged = left.copy()
        for n in range(BINS):
            if n in own:
                merged[n] = (left[n] + right[n]) / 2
            elif n > max(own):
                merged[n] = right[n]
        return reference, merged


def formulas(ref: NDArray[np.float64], d: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The statistics as their definitions say, from two predictions."""
    alt = ref + d
    largest = np.abs(d).argmax(axis=0)
    return {
        "REF": ref.sum(0),
        "SAD": alt.sum(0) - ref.sum(0),
        "SADR": np.log2(alt.sum(0) + 1) - np.log2(ref.sum(0) + 1),
        "SAX": np.take_along_axis(d, largest[None], axis=0)[0],
        "D2": np.sqrt((d**2).sum(0)),
    }


# Each with the bases that count as its own: deleted ones, or those beside an insertion.
CASES = {
    "SNV": (snv(6000), [6000]),
    "two bases": (edit(6001, 2, other(TEXT[6001:6003])), [6001, 6002]),
    "deletion": (edit(6005, 3, ""), [6005, 6006, 6007]),
    "insertion": (edit(6010, 0, "CATTACA"), [6009, 6010]),
    "replacement": (edit(6020, 4, other(TEXT[6020]) + other(TEXT[6023])), range(6020, 6024)),
    "deletion over a border": (edit(6100, 148, ""), range(6100, 6248)),
    "at the very start": (snv(0), [0]),
    "at the very end": (snv(LENGTH - 1), [LENGTH - 1]),
    "deletion near the end": (edit(LENGTH - 9, 3, ""), range(LENGTH - 9, LENGTH - 6)),
}


def is_placed_once(variant: Variant, own: Sequence[int]) -> bool:
    """No repeat: the bases at both ends of an indel differ from those beside it."""
    if len(variant.ref) > len(variant.alt) == 1:
        return TEXT[own[0] - 1] != TEXT[own[-1]] and TEXT[own[0]] != TEXT[own[-1] + 1]
    if len(variant.alt) > len(variant.ref) == 1:
        return variant.alt[-1] != TEXT[own[0]] and variant.alt[1] != TEXT[own[1]]
    return True


INDELS = [name for name, (variant, _) in CASES.items() if len(variant.ref) != len(variant.alt)]
LOOKS = [
    *((case, Policy.STITCH, placement) for case in CASES for placement in ("centered", "grid")),
    *((case, Policy.LEFT, "centered") for case in INDELS),
]


@pytest.mark.parametrize(("case", "policy", "placement"), LOOKS)
def test_scores_are_those_of_text_and_a_model_called_on_it(
    case, policy, placement, plain, exact, genome
) -> None:
    variant, own = CASES[case]
    assert is_placed_once(variant, own)
    begin = variant.interval.start
    start = begin - 2047
    if placement == "grid":
        start = min((128 * k for k in range(-40, 120)), key=lambda at: (abs(at - start), at))
    edited = TEXT[:begin] + variant.alt + TEXT[variant.interval.end :]
    bins = {(base - start - CROP) // BIN for base in own}
    ref, d = Text(exact).effect(edited, start, policy, bins, reverse=False)
    found = score(plain, genome, [variant], policy=policy, placement=placement)
    assert tuple(found.values) == STATS
    for name, expected in formulas(ref, d).items():
        assert found.values[name].shape == (8, 1)
        np.testing.assert_allclose(found.values[name][:, 0], expected, rtol=2e-6, atol=1e-9)
    assert np.abs(d).max() > 1e-4
    missing = max(0, -start) + max(0, start + BASES - LENGTH)
    assert found.missing_bp.tolist() == [missing]


def test_a_chromosome_may_be_shorter_than_a_window(plain, exact, genomes) -> None:
    """1,999 bases: N lie on both sides of them, and a deletion pulls in more."""
    text = TEXT[1000:2000] + "C" + TEXT[2000:2998]
    assert len(text) == 1999
    variants = [snv(990, text), edit(1000, 1, "", text)]
    assert text[999] != text[1000] != text[1001]
    rows = [ScoredRow(variant, ALL) for variant in variants]
    found = score(plain, genomes(text), rows, placement="centered")
    for row, (variant, own) in enumerate(zip(variants, (990, 1000), strict=True)):
        start = variant.interval.start - 2047
        edited = text[: variant.interval.start] + variant.alt + text[variant.interval.end :]
        bins = {(own - start - CROP) // BIN}
        ref, d = Text(exact, text).effect(edited, start, Policy.STITCH, bins, reverse=False)
        for name, expected in formulas(ref, d).items():
            np.testing.assert_allclose(found.values[name][:, row], expected, rtol=2e-6, atol=1e-9)
    assert found.missing_bp.tolist() == [4096 - 1999] * 2


@pytest.mark.parametrize(
    ("case", "policy"),
    [
        ("SNV", Policy.STITCH),
        ("deletion", Policy.STITCH),
        ("insertion", Policy.STITCH),
        ("insertion", Policy.LEFT),
    ],
)
def test_an_ensemble_averages_members_that_each_compare_their_own(
    case, policy, plain, exact, genome
) -> None:
    """An indel's own bins are those of each member: 43 bases on, bin 7 holds what bin 8 held."""
    variant, own = CASES[case]
    begin = variant.interval.start
    edited = TEXT[:begin] + variant.alt + TEXT[variant.interval.end :]
    members = []
    for reverse in (False, True):
        for shift in SIX.shifts:
            start = begin - 2047 + shift
            bins = {(base - start - CROP) // BIN for base in own}
            members.append(Text(exact).effect(edited, start, policy, bins, reverse=reverse))
    found = score(plain, genome, [variant], policy=policy, ensemble=SIX, spread=True)
    assert tuple(found.values) == (*STATS, *(f"{name}_sd" for name in STATS))
    means = (np.mean([member[i] for member in members], axis=0) for i in range(2))
    for name, expected in formulas(*means).items():
        np.testing.assert_allclose(found.values[name][:, 0], expected, rtol=1e-5, atol=1e-8)
    alone = [formulas(*member) for member in members]
    for name in STATS:
        sd = np.std([one[name] for one in alone], axis=0)
        np.testing.assert_allclose(found.values[f"{name}_sd"][:, 0], sd, rtol=1e-4, atol=1e-7)
        assert sd.min() > 0


# The fast way and the plain way, in float64: only the last rounding, to float32, is left.


def many_rows() -> list[ScoredRow]:
    """Variants of every kind, several in a window and some alone, some asked for twice."""
    variants = [
        *(edit(6000, 1, alt) for alt in "ACGT" if alt != TEXT[6000]),
        *(case for case, _ in CASES.values()),
        snv(6130),
        snv(6040),
        snv(6999),  # next to unknown bases
        edit(6990, 5, ""),
        edit(7050, 1, "A"),  # N to A
        edit(7040, 3, "N"),  # fewer unknown bases
        edit(7060, 0, "ACG"),
        edit(5003, 1, ""),  # one A of seven
        edit(5003, 0, "AA"),
        edit(1, 40, ""),
        edit(LENGTH - 1, 0, "CC"),
        snv(70),
        snv(11_000),
        edit(6000, 1, TEXT[6000]),  # no change at all
    ]
    rows = [ScoredRow(variant, ALL) for variant in variants]
    rows += [ScoredRow(variants[0], range(6, 9)), ScoredRow(variants[5], range(7, 16))]
    rows += [ScoredRow(variants[5], range(1)), ScoredRow(variants[4], ALL)]
    order = np.random.default_rng(3).permutation(len(rows))
    return [rows[i] for i in order]


def some_rows() -> list[ScoredRow]:
    """Every third of them, and a duplicate."""
    rows = many_rows()[::3]
    return [*rows, rows[0]]


def assert_same(found: VariantScores, expected: VariantScores, *, rtol: float, share: float):
    """Within `rtol` of a value, or of what it is the spread of, or `share` of the change (D2)."""
    assert found.values.keys() == expected.values.keys()
    np.testing.assert_array_equal(found.missing_bp, expected.missing_bp)
    changed = expected.values["D2"]
    for name, values in expected.values.items():
        apart = np.abs(found.values[name] - values)
        size = np.abs(expected.values[name.removesuffix("_sd")]) + np.abs(values)
        allowed = rtol * size + share * changed
        assert (apart <= allowed).all(), (name, float((apart - allowed).max()))


@pytest.mark.parametrize(
    ("placement", "policy", "ensemble"),
    [
        ("centered", Policy.STITCH, ONE),
        ("grid", Policy.STITCH, ONE),
        ("grid", Policy.LEFT, ONE),
        ("centered", Policy.LEFT, Ensemble(True)),
        ("grid", Policy.STITCH, Ensemble(True, (-64, 17))),
    ],
)
def test_the_fast_way_and_the_plain_way_agree(
    placement, policy, ensemble, plain, exact, genome
) -> None:
    fast = ExactDelta(exact, exact.tracks["human"], device=CPU, batch_size=4)
    spread = len(ensemble.members) > 1
    how = {"placement": placement, "policy": policy, "ensemble": ensemble, "spread": spread}
    rows = some_rows() if spread else many_rows()
    ours, theirs = (score(way, genome, rows, **how) for way in (fast, plain))
    # float32 keeps 6e-8 of each bin, of which up to 16 are added.
    assert_same(ours, theirs, rtol=1e-6, share=1e-6)


# What must not matter.


@pytest.fixture(scope="module")
def fast(tiny: Enformer) -> DeltaEffects:
    return DeltaEffects(tiny, tiny.tracks["human"], device=CPU, batch_size=4)


def picked(scores: VariantScores, rows: Sequence[int]) -> VariantScores:
    values = {name: values[:, rows] for name, values in scores.values.items()}
    return VariantScores(scores.missing_bp[rows], values)


def assert_equal(found: VariantScores, expected: VariantScores) -> None:
    """Bit for bit."""
    assert_same(found, expected, rtol=0, share=0)


PAIR = Ensemble(True, (0, 43))


@pytest.mark.parametrize(("placement", "ensemble"), [("centered", ONE), ("grid", PAIR)])
def test_the_same_rows_have_the_same_bits_in_any_order(placement, ensemble, fast, genome) -> None:
    rows = some_rows()
    how = {"placement": placement, "ensemble": ensemble}
    once = score(fast, genome, rows, **how)
    if ensemble is ONE:
        assert_equal(score(fast, genome, rows, **how), once)
    back = score(fast, genome, rows[::-1], **how)
    assert_equal(picked(back, np.arange(len(rows))[::-1]), once)


# Where other rows are there too, lanes of a product and cuts of the trunk's blocks differ, and with
# them the order of sums: differences are the same but for float32's rounding of the effect, which
# a unit near its threshold can magnify (docs/accuracy.md allows a tiny model 1e-4), and predictions
# but for that of the signal.
ROUNDING = {"rtol": 1e-5, "share": 1e-4}


@pytest.mark.parametrize(("placement", "ensemble"), [("centered", ONE), ("grid", PAIR)])
def test_other_rows_of_a_call_change_nothing(placement, ensemble, fast, genome) -> None:
    rows = some_rows()
    how = {"placement": placement, "ensemble": ensemble}
    together = score(fast, genome, rows, **how)
    for some in (range(0, len(rows), 3), [4]):
        alone = score(fast, genome, [rows[i] for i in some], **how)
        assert_same(alone, picked(together, list(some)), **ROUNDING)


@pytest.mark.parametrize(("at_once", "ensemble"), [(1, ONE), (5, ONE), (2, PAIR)])
def test_memory_changes_nothing(at_once, ensemble, fast, genome, monkeypatch) -> None:
    how = {"placement": "grid", "ensemble": ensemble, "spread": ensemble is PAIR}
    ample = score(fast, genome, some_rows(), **how)
    # Bins, tracks and 8 bytes, of a prediction and three differences: a part has few variants.
    monkeypatch.setattr("cisray.scoring.variants.HELD_BYTES", 4 * 16 * 8 * 8)
    monkeypatch.setattr("cisray.scoring.variants.STRETCH_BP", 4500)
    scarce = score(fast, genome, some_rows(), alternates_at_once=at_once, **how)
    assert_same(scarce, ample, **ROUNDING)


@pytest.mark.parametrize("ensemble", [ONE, PAIR])
def test_swapped_alleles_flip_the_sign(ensemble, plain, genomes, genome) -> None:
    there = [snv(6000), edit(6030, 3, other(TEXT[6030:6033])), snv(20)]
    for variant in there:
        begin, end = variant.interval.start, variant.interval.end
        edited = genomes(TEXT[:begin] + variant.alt + TEXT[end:])
        one = score(plain, genome, [variant], stats=("SAD", "D2"), ensemble=ensemble)
        two = score(plain, edited, [variant.swapped()], stats=("SAD", "D2"), ensemble=ensemble)
        np.testing.assert_array_equal(one.values["SAD"], -two.values["SAD"])
        np.testing.assert_array_equal(one.values["D2"], two.values["D2"])
        assert (one.values["SAD"] != 0).all()


@pytest.mark.parametrize("case", ["SNV", "deletion", "insertion"])
def test_both_strands_do_not_know_which_is_forward(case, plain, genomes, genome) -> None:
    """On the grid, whose windows are mirrored there: the chromosome is a whole number of bins.

    An indel's window is placed by its anchor, which on the other strand is the base on its other
    side; both lie in one cell here.
    """
    ensemble = Ensemble(True, (-43, 0, 43))
    mirrored = TEXT[::-1].translate(str.maketrans("ACGT", "TGCA"))
    here, own = CASES[case]
    shift = len(here.alt) - len(here.ref)
    if shift == 0:
        there = edit(LENGTH - 1 - own[0], 1, "TGCA"["ACGT".index(here.alt)], mirrored)
    elif shift < 0:
        there = edit(LENGTH - 1 - own[-1], -shift, "", mirrored)
    else:
        inserted = here.alt[1:][::-1].translate(str.maketrans("ACGT", "TGCA"))
        there = edit(LENGTH - own[-1], 0, inserted, mirrored)
    how = {"placement": "grid", "ensemble": ensemble, "stats": ("REF", "SAD", "D1", "D2", "JS")}
    one, two = score(plain, genome, [here], **how), score(plain, genomes(mirrored), [there], **how)
    assert_same(one, two, rtol=1e-6, share=1e-6)
    single = score(plain, genomes(mirrored), [there], **{**how, "ensemble": ONE})
    assert np.abs(single.values["SAD"] - one.values["SAD"]).max() > 1e-4


@pytest.mark.parametrize("policy", Policy)
def test_an_indel_in_a_repeat_scores_the_same_wherever_it_is_written(policy, fast, genome) -> None:
    """G AAAAAAA C from 5,000 on, of which one A goes; the window is the same on the grid."""
    first, last = (
        Variant.from_start("chr1", 5000, "GA", "G"),
        Variant.from_start("chr1", 5006, "AA", "A"),
    )
    one, two = (
        score(fast, genome, [variant], policy=policy, placement="grid") for variant in (first, last)
    )
    assert_equal(one, two)
    assert (one.values["SAD"] != 0).all()


# Who computes what: a predictor that keeps what it is asked, and whose values tell where they are.


class Told:
    """Bin n of a window that begins at base s predicts s + n; an alternate differs by its sum."""

    def __init__(self, told: "Telling", codes_L: NDArray[np.uint8], bins: range) -> None:
        self.told, self.codes_L = told, codes_L
        self.prediction_NT = torch.tensor(bins)[:, None].expand(-1, 2).float() + 1

    def differences(self, alternates_BL: NDArray[np.uint8]) -> torch.Tensor:
        self.told.calls.append(len(alternates_BL))
        self.told.lanes += [lane.tobytes() for lane in alternates_BL]
        moved = [float((lane != self.codes_L).sum()) for lane in alternates_BL]
        shape = (len(moved), *self.prediction_NT.shape)
        return torch.tensor(moved)[:, None, None].expand(shape).clone() * self.prediction_NT


class Telling:
    spec = WindowSpec(BASES, BIN, BINS)

    def __init__(self, batch_size: int = 1) -> None:
        self.batch_size = batch_size
        self.tracks = TrackSet.unnamed("human", 2)
        self.opened: list[tuple[bytes, range]] = []
        self.stretches: list[tuple[int, list[int]]] = []
        self.calls: list[int] = []
        self.lanes: list[bytes] = []

    def open(self, codes_L: NDArray[np.uint8], bins: range | None = None) -> Told:
        raise AssertionError("windows are opened along their stretch")

    def open_along(self, codes_S, starts, bins) -> Iterator[Told]:
        self.stretches.append((len(codes_S), list(starts)))
        for start, chosen in zip(starts, bins, strict=True):
            codes_L = codes_S[start : start + BASES]
            self.opened.append((codes_L.tobytes(), chosen))
            yield Told(self, codes_L, chosen)


def test_rows_of_a_window_share_its_reference_and_duplicates_their_alternate(genome) -> None:
    telling = Telling()
    # The cell around base 47 * 128 has the bases 5,952 to 6,079.
    near = [snv(6000), snv(6079), snv(5952), edit(6005, 3, "")]
    rows = [ScoredRow(near[0], range(8, 10)), *(ScoredRow(one, range(6, 9)) for one in near)]
    rows += [ScoredRow(snv(6080), range(16)), ScoredRow(snv(5951), range(2)), rows[0]]
    found = score(telling, genome, rows, placement="grid")
    cells = [46 * 128, 47 * 128, 48 * 128]
    windows = [Interval("chr1", cell - 2048, cell + 2048) for cell in cells]
    codes = [genome.fetch_padded(window).tobytes() for window in windows]
    # The bins are those that any row of the window asks for, and no others.
    assert telling.opened == list(zip(codes, [range(2), range(6, 10), range(16)], strict=True))
    assert telling.calls == [1, 5, 1]  # a deletion is two sequences
    assert len(set(telling.lanes)) == 7
    # Bin n predicts n + 1, and differs by as much for each changed base: 9 + 10 in bins 8 and 9.
    np.testing.assert_array_equal(found.values["SAD"][:, [0, -1]], np.full((2, 2), 19))
    np.testing.assert_array_equal(found.values["SAD"][0, 1:4], [7 + 8 + 9] * 3)
    np.testing.assert_array_equal(found.values["SAD"][0, [5, 6]], [16 * 17 / 2, 1 + 2])
    np.testing.assert_array_equal(found.values["REF"][0, [0, 1, 5]], [19, 24, 136])


def test_no_call_holds_more_sequences_than_allowed(genome) -> None:
    variants = [edit(6000, 1, alt) for alt in "ACGT" if alt != TEXT[6000]]
    variants += [edit(6005, 3, ""), edit(6010, 0, "CATTACA"), snv(6020)]
    for at_once, calls in ((1, [1, 1, 1, 2, 2, 1]), (3, [3, 2, 3]), (4, [3, 4, 1]), (100, [8])):
        telling = Telling()
        score(telling, genome, variants, placement="grid", alternates_at_once=at_once)
        assert telling.calls == calls
        assert len(telling.opened) == 1
    telling = Telling()
    score(telling, genome, variants, placement="grid", policy=Policy.LEFT, alternates_at_once=4)
    assert telling.calls == [4, 2]


def test_by_default_a_call_is_bounded_in_bytes(genome, monkeypatch) -> None:
    # 16 bins, 2 tracks, 4 bytes and three times 4,096 bases: room for five.
    monkeypatch.setattr("cisray.scoring.variants.CALL_BYTES", 5 * (16 * 2 * 4 + 3 * 4096))
    variants = [snv(at) for at in range(6000, 6011)]
    # As many as are carried at a time, or several times as many.
    for batch_size, calls in ((1, [5, 5, 1]), (2, [4, 4, 3]), (3, [3, 3, 3, 2]), (8, [8, 3])):
        telling = Telling(batch_size)
        score(telling, genome, variants, placement="grid")
        assert telling.calls == calls


@pytest.mark.parametrize(
    ("ensemble", "spread"), [(ONE, False), (PAIR, False), (PAIR, True), (SIX, True)]
)
@pytest.mark.parametrize(("call", "held"), [(10**9, 10**9), (10**5, 10**9), (10**5, 60_000)])
def test_what_a_scorer_holds_is_foreseen(
    genome, monkeypatch, call: int, held: int, ensemble: Ensemble, spread: bool
) -> None:
    """Sequences and differences of the largest call, and all means that there are at one time."""
    alive: WeakSet[Mean] = WeakSet()
    most = 0

    def weighed(kind: type[Mean]) -> type[Mean]:
        class Weighed(kind):
            def add(self, values: torch.Tensor) -> None:
                nonlocal most
                super().add(values)
                alive.add(self)
                tensors = [t for one in alive for t in vars(one).values() if torch.is_tensor(t)]
                most = max(most, sum(t.numel() * t.element_size() for t in tensors))

        return Weighed

    monkeypatch.setattr("cisray.scoring.variants.CALL_BYTES", call)
    monkeypatch.setattr("cisray.scoring.variants.HELD_BYTES", held)
    for kind in (Mean, Moments):
        monkeypatch.setattr(f"cisray.scoring.variants.{kind.__name__}", weighed(kind))
    telling = Telling(batch_size=2)
    # Each in a window of its own, and the last eight in one.
    variants = [snv(at) for at in range(5200, 6000, 128)]
    variants += [edit(6010, 2, ""), *(snv(at) for at in range(6020, 6027))]
    how = {"ensemble": ensemble, "spread": spread, "placement": "grid"}
    score(telling, genome, variants, **how)
    each = 16 * 2 * 4 + 3 * BASES
    really = max(telling.calls) * each + most
    foreseen = scorer_bytes(
        options(**how), telling.spec, tracks=2, bins=16, rows=len(variants), carried=2
    )
    assert (most > 0) == (ensemble is not ONE)
    # As if every row were two sequences in a window of its own: no less, and not much more.
    assert really <= foreseen < 3.5 * really
    fewer = scorer_bytes(options(**how), telling.spec, tracks=2, bins=4, rows=14, carried=2)
    assert fewer < foreseen


def test_stretches_end_where_windows_part_and_where_they_are_long(genome, monkeypatch) -> None:
    # Centred windows reach 2,047 to the left and 2,048 to the right of a variant's first base.
    variants = [snv(2100), snv(2100 + 4096), snv(2100 + 2 * 4096 + 1), snv(5000)]
    telling = Telling()
    score(telling, genome, variants[::-1])
    assert telling.stretches == [(2 * 4096, [0, 2900, 4096]), (4096, [0])]
    telling = Telling()
    monkeypatch.setattr("cisray.scoring.variants.STRETCH_BP", 4096 + 2900)
    score(telling, genome, variants)
    assert telling.stretches == [(4096 + 2900, [0, 2900]), (4096, [0]), (4096, [0])]
    # A deletion is lined up with as many bases beyond both ends.
    telling = Telling()
    score(telling, genome, [edit(6005, 3, "")])
    assert telling.stretches == [(4096 + 6, [3])]


def test_members_of_an_ensemble_go_along_the_stretch_in_turn(genome, monkeypatch) -> None:
    variants = [snv(6000), snv(6000 + 128), edit(6140, 0, "CC"), snv(6000 + 256)]
    telling = Telling()
    ensemble = Ensemble(True, (-43, 5))
    score(telling, genome, variants, placement="grid", ensemble=ensemble)
    # Windows 128 apart, read 43 bases earlier and 5 later; on the other strand from the other end.
    length = 4096 + 256 + 48
    forward = [[0, 128, 256], [48, 176, 304]]
    assert telling.stretches == [
        *((length, starts) for starts in forward),
        *((length, [304 - start for start in starts]) for starts in forward),
    ]
    # Where the means of one batch only are held, each window is opened by all members in turn.
    monkeypatch.setattr("cisray.scoring.variants.HELD_BYTES", 1)
    telling = Telling()
    score(telling, genome, variants, placement="grid", ensemble=ensemble)
    assert [len(starts) for _, starts in telling.stretches] == [1] * 12


def test_every_row_is_shown_what_its_statistics_are_computed_from(fast, genome) -> None:
    seen: dict[int, EffectArrays] = {}
    rows = some_rows()

    def watch(row: int, arrays: EffectArrays) -> None:
        assert row not in seen
        copied = (arrays.prediction_NT.clone(), arrays.difference_NT.clone())
        seen[row] = EffectArrays(arrays.bins, *copied)

    for ensemble in (ONE, PAIR):
        seen.clear()
        found = score(fast, genome, rows, ensemble=ensemble, watch=watch, placement="grid")
        assert sorted(seen) == list(range(len(rows)))
        for row, arrays in seen.items():
            first = rows[row].bins.start - arrays.bins.start
            part = slice(first, first + len(rows[row].bins))
            assert arrays.prediction_NT.dtype == arrays.difference_NT.dtype == torch.float32
            sad = arrays.difference_NT[part].double().sum(0).float()
            np.testing.assert_array_equal(found.values["SAD"][:, row], sad)
            total = arrays.prediction_NT[part].double().sum(0).float()
            np.testing.assert_array_equal(found.values["REF"][:, row], total)


def test_columns_of_tracks_are_contiguous(fast, genome) -> None:
    found = score(fast, genome, [snv(6000), snv(6100)], stats=("SAD",))
    assert found.values["SAD"].shape == (8, 2)
    assert found.values["SAD"].dtype == np.float32
    assert found.values["SAD"][3].flags.c_contiguous
    assert found.missing_bp.dtype == np.int32
    nothing = score(fast, genome, [])
    assert nothing.values["D2"].shape == (8, 0)
    assert nothing.missing_bp.shape == (0,)


def test_bins_around_the_middle(fast, genome) -> None:
    # A centred variant lies in bin 7; the four bins around the middle are 6 to 9.
    assert central_bins(fast.spec, 4) == range(6, 10)
    rows = [ScoredRow(snv(6000), central_bins(fast.spec, count)) for count in (2, 4, 16)]
    found = score(fast, genome, rows, stats=("D1",)).values["D1"]
    assert (found[:, 0] < found[:, 1]).all()
    assert (found[:, 1] < found[:, 2]).all()


def test_what_cannot_be_scored_is_refused(fast, genome) -> None:
    with pytest.raises(ValueError, match="one chromosome"):
        score(fast, genome, [snv(6000), Variant("chr2", 5, "A", "C")])
    with pytest.raises(ValueError, match="neighbours of 0 to 15"):
        score(fast, genome, [ScoredRow(snv(6000), range(10, 17))])
    wrong = Variant.from_start("chr1", 6000, other(TEXT[6000]), TEXT[6000])
    with pytest.raises(CoordinateError, match="does not fit the genome"):
        score(fast, genome, [wrong])
    with pytest.raises(ConfigError, match="no statistic 'SAT'"):
        options(stats=("SAT",))
    with pytest.raises(ConfigError, match="one member"):
        options(spread=True)
    with pytest.raises(ConfigError, match="more than half"):
        score(fast, genome, [], ensemble=Ensemble(False, (65,)))


def test_spread_is_told_beside_every_statistic() -> None:
    both = options(stats=("SAD", "D1"), ensemble=Ensemble(True), spread=True)
    assert both.columns == ("SAD", "D1", "SAD_sd", "D1_sd")
    assert options(stats=("SAD",), ensemble=Ensemble(True)).columns == ("SAD",)


def test_members_read_windows_of_their_own() -> None:
    spec = WindowSpec(BASES, BIN, BINS)
    how = options(ensemble=Ensemble(True, (-43, 0)), placement="grid")
    window = how.window(snv(6000), spec)
    assert window.input == Interval("chr1", 47 * 128 - 2048, 47 * 128 + 2048)
    assert how.windows(snv(6000), spec) == [window.shift(-43), window]
    assert options().window(snv(6000), spec).input.start == 6000 - 2047


@pytest.mark.gpu
@pytest.mark.parametrize("kind", [PlainEffects, DeltaEffects])
def test_cuda_scores_as_the_cpu_does(kind, tiny, exact, plain, genome) -> None:
    """The plain way in float64: the rounding of its two passes in float32 alone fills the bound."""
    cuda = torch.device("cuda")
    how = {"placement": "grid", "ensemble": PAIR, "spread": True}
    is_plain = kind is PlainEffects
    model = copy.deepcopy(exact if is_plain else tiny).to(cuda)
    options = {"dtype": torch.float64} if is_plain else {}
    predictor = kind(model, model.tracks["human"], device=cuda, **options)
    found = score(predictor, genome, some_rows(), **how)
    rtol, share = (1e-6, 1e-6) if is_plain else (1e-4, 1e-2)
    assert_same(found, score(plain, genome, some_rows(), **how), rtol=rtol, share=share)
