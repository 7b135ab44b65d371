"""First-order scores of substitutions, held to autograd through text that was edited by hand.

The tiny Enformer reads 4,096 bases and predicts 16 bins of 128 in the middle. A window on the grid
begins at a multiple of 128 and serves the bases 1,984 to 2,111 of it. `Truth` is an account of its
own: it cuts windows out of text, lets autograd differentiate the statistics' definitions of the
members' mean prediction in float64, and subtracts.
"""

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cisray.errors import ConfigError, CoordinateError
from cisray.genome.reference import Genome
from cisray.genome.variant import Variant
from cisray.inference.ensemble import Ensemble
from cisray.inference.fast.gradients import FastGradients
from cisray.inference.gradients import PlainGradients
from cisray.model.enformer.network import Enformer
from cisray.model.registry import load_model
from cisray.scoring.first_order import GradientScorer, gradients_per_track, largest
from cisray.scoring.variants import EffectOptions, ScoredRow
from cisray_jobs.models import init_model

CPU = torch.device("cpu")
BASES, LENGTH = 4096, 9_000
STATS = ("SADR", "logSAD", "SAD")
ONE, SIX = Ensemble(False), Ensemble(True, (-43, 0, 43))


def chromosome() -> str:
    """Random, with unknown bases among known ones at 5,000 to 5,019."""
    text = "".join(np.random.default_rng(9).choice(list("ACGT"), LENGTH))
    return text[:5000] + "NNNNNNNNNNACNNNNNNNN" + text[5020:]


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
def genome(tmp_path_factory: pytest.TempPathFactory) -> Genome:
    path = Path(tmp_path_factory.mktemp("genome")) / "g.fa"
    path.write_text(f">chr1\n{TEXT}\n")
    return Genome.open(path)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Truth:
    """Gradients of statistics with respect to the letters of a stretch of text."""

    def __init__(self, model: Enformer, tracks: list[int]) -> None:
        self.model, self.tracks = model, tracks

    @cache  # noqa: B019, as it lives as long as the module's models
    def gradients(self, start: int, ensemble: Ensemble, bins: range) -> dict[str, np.ndarray]:
        """Of the window from `start` on: (T, bases, letters), first base 43 before the window."""
        text = "".join(
            TEXT[i] if 0 <= i < LENGTH else "N" for i in range(start - 43, start + BASES + 43)
        )
        rows = torch.tensor([[float(base == letter) for letter in "ACGT"] for base in text])
        rows = rows.double().requires_grad_()
        members = []
        for reverse in (False, True) if ensemble.reverse_complement else (False,):
            for shift in ensemble.shifts:
                lane = rows[43 + shift : 43 + shift + BASES]
                pred = self.model((lane.flip(0).flip(1) if reverse else lane)[None], head="human")
                pred = pred[0].flip(0) if reverse else pred[0]
                members.append(pred[bins.start : bins.stop][:, self.tracks])
        mean = sum(members) / len(members)
        sums = mean.sum(0)
        values = {
            "SAD": sums,
            "SADR": torch.log2(sums + 1),
            "logSAD": torch.log2(mean + 1).sum(0),
        }
        return {
            name: np.stack(
                [torch.autograd.grad(one, rows, retain_graph=True)[0].numpy() for one in found]
            )
            for name, found in values.items()
        }

    def scores(
        self, variant: Variant, placement: str, ensemble: Ensemble, bins: range
    ) -> dict[str, np.ndarray]:
        at = variant.pos - 1
        start = at - 2047
        if placement == "grid":
            start = min((128 * k for k in range(-40, 120)), key=lambda k: (abs(k - start), k))
        ref, alt = ("ACGT".index(letter) for letter in (variant.ref, variant.alt))
        return {
            name: slopes[:, 43 + at - start, alt] - slopes[:, 43 + at - start, ref]
            for name, slopes in self.gradients(start, ensemble, bins).items()
        }


@pytest.fixture(scope="module")
def truth(exact: Enformer) -> Truth:
    return Truth(exact, [1, 6])


def substitutions(*places: int) -> list[Variant]:
    return [
        Variant("chr1", at + 1, TEXT[at], alt) for at in places for alt in "ACGT" if alt != TEXT[at]
    ]


# Windows change between the bases 4,031 and 4,032, and serve as far as 4,159.
PLACES = (0, 3, 4031, 4032, 4033, 4100, 4159, 4160, 5010, 5011, 8998, 8999)
CASES = {
    "one": ("grid", ONE, range(16), PLACES),
    "one, four bins": ("grid", ONE, range(6, 10), PLACES),
    "one, centered": ("centered", ONE, range(16), (0, 4031, 8999)),
    "six": ("grid", SIX, range(16), (0, 4031, 4032, 5011, 8999)),
    "six, four bins": ("grid", SIX, range(6, 10), (4031, 4032)),
    "six, centered": ("centered", SIX, range(16), (4031,)),
}


@pytest.mark.parametrize("case", CASES)
def test_scores_are_derivatives_of_the_statistics(exact, genome, truth, case: str) -> None:
    placement, ensemble, bins, places = CASES[case]
    variants = substitutions(*places)
    # Rows come in no order.
    np.random.default_rng(3).shuffle(variants)
    tracks = exact.tracks["human"].select(["1", "6"])
    plain = PlainGradients(exact, tracks, device=CPU, dtype=torch.float64)
    options = EffectOptions(stats=STATS, placement=placement, ensemble=ensemble)
    rows = [ScoredRow(variant, bins) for variant in variants]
    found = GradientScorer(plain, genome, options).score(rows)
    assert list(found) == ["gradSADR", "gradlogSAD", "gradSAD"]
    for name in STATS:
        expected = np.stack(
            [truth.scores(variant, placement, ensemble, bins)[name] for variant in variants], 1
        )
        assert found[f"grad{name}"].dtype == np.float32
        largest_one = np.abs(expected).max()
        assert largest_one > 1e-6
        np.testing.assert_allclose(
            found[f"grad{name}"], expected, rtol=2e-5, atol=1e-6 * largest_one
        )


@pytest.mark.parametrize("ensemble", [ONE, SIX], ids=["one", "six"])
def test_the_fast_way_gives_the_same(tiny, genome, truth, ensemble) -> None:
    variants = substitutions(4031, 4032, 4090)
    fast = FastGradients(tiny, tiny.tracks["human"].select(["1", "6"]), device=CPU)
    options = EffectOptions(stats=STATS, placement="grid", ensemble=ensemble)
    rows = [ScoredRow(variant, range(16)) for variant in variants]
    found = GradientScorer(fast, genome, options).score(rows)
    for name in STATS:
        expected = np.stack(
            [truth.scores(variant, "grid", ensemble, range(16))[name] for variant in variants], 1
        )
        np.testing.assert_allclose(
            found[f"grad{name}"], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max()
        )


def test_rows_of_other_bins_have_windows_of_their_own(tiny, genome) -> None:
    tracks = tiny.tracks["human"].select(["1"])
    options = EffectOptions(stats=("SAD",), placement="grid")
    scorer = GradientScorer(PlainGradients(tiny, tracks, device=CPU), genome, options)
    variant = substitutions(4100)[0]
    asked = [range(16), range(6, 10), range(16)]
    seen: list[tuple[list[int], range, range]] = []
    found = scorer.score(
        [ScoredRow(variant, bins) for bins in asked],
        watch=lambda rows, window: seen.append((list(rows), window.bins, window.region)),
    )["gradSAD"]
    # The window of base 4,100 begins at 16 x 128.
    assert seen == [([0, 2], range(16), range(2052, 2053)), ([1], range(6, 10), range(2052, 2053))]
    assert found[0, 0] == found[0, 2] != found[0, 1]


def test_sums_share_a_gradient() -> None:
    assert gradients_per_track(("SAD",)) == gradients_per_track(("SADR", "SAD")) == 1
    assert gradients_per_track(("logSAD", "SADR")) == gradients_per_track(STATS) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stats": ("SAD", "D2")}, "D2 cannot be approximated by a gradient: choose from SAD"),
        ({"stats": ("SAD",), "ensemble": SIX, "spread": True}, "no spread"),
    ],
)
def test_what_has_no_first_order_is_refused(tiny, genome, options, words: str) -> None:
    plain = PlainGradients(tiny, tiny.tracks["human"], device=CPU)
    with pytest.raises(ConfigError, match=words):
        GradientScorer(plain, genome, EffectOptions(**options))


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        (Variant("chr1", 4101, TEXT[4100], TEXT[4100] + "A"), "one letter in another's place"),
        (Variant("chr1", 4101, TEXT[4100:4102], "A"), "one letter in another's place"),
        (Variant("chr1", 4101, "A" if TEXT[4100] != "A" else "C", "G"), "not one of this genome"),
        (Variant("chr1", 5001, "A", "G"), "has N there"),
    ],
)
def test_other_than_a_letter_for_the_genome_s_is_refused(tiny, genome, variant, words) -> None:
    tracks = tiny.tracks["human"].select(["1"])
    scorer = GradientScorer(
        PlainGradients(tiny, tracks, device=CPU), genome, EffectOptions(stats=("SAD",))
    )
    with pytest.raises(CoordinateError, match=words):
        scorer.score([ScoredRow(variant, range(7, 9))])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 3), st.integers(-3, 3)), max_size=30),
    st.integers(1, 6),
    st.randoms(use_true_random=False),
)
@example([(0, 1, -2), (0, 2, 0), (0, -2, 1), (5, 0, 0)], 2, None)
def test_the_largest_of_each_region(rows, count: int, order) -> None:
    numbers = list(range(len(rows)))
    if order is not None:
        order.shuffle(numbers)
    regions, *tracks = zip(*rows, strict=True) if rows else ((), (), ())
    scores = np.array(tracks, np.float32)
    found = largest(scores, np.array(regions, np.int32), np.array(numbers, np.int64), count)
    expected = []
    for region in set(regions):
        own = [i for i, one in enumerate(regions) if one == region]
        own.sort(key=lambda i: (-max(abs(rows[i][1]), abs(rows[i][2])), numbers[i]))
        expected += own[:count]
    assert found.tolist() == sorted(expected)
