"""A row computed again the plain way agrees with the fast one, and not with a wrong one."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cisray.genome.reference import Genome
from cisray.genome.variant import Variant
from cisray.inference.effects import PlainEffects
from cisray.inference.ensemble import Ensemble
from cisray.inference.fast.effects import DeltaEffects
from cisray.model.enformer.network import Enformer
from cisray.model.registry import load_model
from cisray.scoring.alignment import Policy
from cisray.scoring.effect_check import EffectCheck, EffectDeviation
from cisray.scoring.variants import EffectArrays, EffectOptions, ScoredRow, VariantScorer
from cisray_jobs.models import init_model

CPU = torch.device("cpu")
TEXT = "".join(np.random.default_rng(4).choice(list("ACGT"), 9_000))
SNV = Variant.from_start("chr1", 4000, TEXT[4000], "ACGT"[("ACGT".index(TEXT[4000]) + 1) % 4])
DELETION = Variant.from_start("chr1", 4010, TEXT[4010:4015], TEXT[4010])
INSERTION = Variant.from_start("chr1", 4020, TEXT[4020], TEXT[4020] + "GATTACA")
ROWS = [ScoredRow(variant, range(6, 10)) for variant in (SNV, DELETION, INSERTION)]
ROWS.append(ScoredRow(SNV, range(2, 16)))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Enformer:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    init_model(path, "tiny", seed=5, randomise_all=True)
    return load_model(path)


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Genome:
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    path.write_text(f">chr1\n{TEXT}\n")
    return Genome.open(path)


class Remembering(PlainEffects):
    """Predict no window twice: most checks here are of the same rows."""

    def __init__(self, model: Enformer) -> None:
        super().__init__(model, model.tracks["human"], device=CPU)
        self._told: dict[tuple[bytes, range], torch.Tensor] = {}

    def predict(self, codes_L: NDArray[np.uint8], bins: range) -> torch.Tensor:
        asked = codes_L.tobytes(), bins
        if asked not in self._told:
            self._told[asked] = super().predict(codes_L, bins)
        return self._told[asked].clone()


@pytest.fixture(scope="module")
def plain(tiny: Enformer) -> Remembering:
    return Remembering(tiny)


Distort = Callable[[EffectArrays], EffectArrays]
Checked = Callable[..., list[EffectDeviation]]


@pytest.fixture(scope="module")
def checked(tiny: Enformer, plain: Remembering, genome: Genome) -> Checked:
    """Score all rows once for each precision, and check what their statistics are computed from."""
    scored: dict[object, dict[int, EffectArrays]] = {}

    def check(
        options: EffectOptions,
        precision: str = "float32",
        distort: Distort = lambda seen: seen,
    ) -> list[EffectDeviation]:
        seen = scored.setdefault((options, precision), {})
        if not seen:
            tracks = tiny.tracks["human"]
            fast = DeltaEffects(tiny, tracks, device=CPU, precision=precision, batch_size=4)

            def keep(row: int, arrays: EffectArrays) -> None:
                seen[row] = copy.deepcopy(arrays)  # they are valid during the call

            VariantScorer(fast, genome, options).score(ROWS, watch=keep)
        checking = EffectCheck(plain, genome, options)
        return [checking.check(row, distort(seen[n])) for n, row in enumerate(ROWS)]

    return check


def options(**changed) -> EffectOptions:
    return EffectOptions(**{"stats": ("SADR",), "placement": "grid", **changed})


@pytest.mark.parametrize(
    "how",
    [
        options(),
        options(placement="centered", policy=Policy.LEFT),
        options(ensemble=Ensemble(True, (-43, 5)), spread=True),
    ],
)
def test_sound_effects_are_within_the_tolerance(how, checked) -> None:
    worst: dict[str, float] = {}
    for precision in ("float32", "bfloat16"):
        found = checked(how, precision)
        assert all(deviation.is_within(precision) for deviation in found)
        assert all(deviation.reference.error < 1e-5 for deviation in found)
        worst[precision] = max(deviation.effect.error for deviation in found)
    # The products of bfloat16 are seen, and are not those of float32.
    assert worst["float32"] < 1e-3 < worst["bfloat16"]


def stronger(seen: EffectArrays) -> EffectArrays:
    return EffectArrays(seen.bins, seen.prediction_NT, 1.2 * seen.difference_NT)


def a_bin_off(seen: EffectArrays) -> EffectArrays:
    return EffectArrays(seen.bins, seen.prediction_NT, seen.difference_NT.roll(1, dims=0))


def one_track_is_another(seen: EffectArrays) -> EffectArrays:
    difference_NT = seen.difference_NT.clone()
    difference_NT[:, 3] = difference_NT[:, 2]
    return EffectArrays(seen.bins, seen.prediction_NT, difference_NT)


def nothing(seen: EffectArrays) -> EffectArrays:
    return EffectArrays(seen.bins, seen.prediction_NT, torch.zeros_like(seen.difference_NT))


def another_reference(seen: EffectArrays) -> EffectArrays:
    return EffectArrays(seen.bins, 1.001 * seen.prediction_NT, seen.difference_NT)


@pytest.mark.parametrize(
    "distort", [stronger, a_bin_off, one_track_is_another, nothing, another_reference]
)
def test_wrong_effects_are_not(distort: Distort, checked) -> None:
    for precision in ("float32", "bfloat16"):
        for deviation in checked(options(), precision, distort):
            assert not deviation.is_within(precision)


def test_in_float64_the_plain_way_takes_nothing_off(tiny, genome) -> None:
    exact = copy.deepcopy(tiny).double()
    fast = DeltaEffects(tiny, tiny.tracks["human"], device=CPU)
    single = PlainEffects(tiny, tiny.tracks["human"], device=CPU)
    double = PlainEffects(exact, tiny.tracks["human"], device=CPU, dtype=torch.float64)
    checks = [EffectCheck(plain, genome, options()) for plain in (single, double)]
    errors: list[float] = []

    def watch(row: int, seen: EffectArrays) -> None:
        off = EffectArrays(seen.bins, seen.prediction_NT, 1.002 * seen.difference_NT)
        errors.extend(check.check(ROWS[row], off).effect.error for check in checks)
        errors.append(checks[1].check(ROWS[row], seen).effect.error)

    VariantScorer(fast, genome, options()).score(ROWS[:1], watch=watch)
    assert errors[1] == pytest.approx(2e-3, rel=0.05)
    assert errors[0] < errors[1]
    assert errors[2] < 1e-4


def test_another_policy_or_ensemble_is_another_effect(plain, genome) -> None:
    for other, rows in (
        (options(policy=Policy.LEFT), (1, 2)),
        (options(ensemble=Ensemble(True)), range(4)),
    ):
        check = EffectCheck(plain, genome, other)
        found: list[int] = []

        def watch(row: int, seen: EffectArrays, check=check, found=found) -> None:
            if not check.check(ROWS[row], seen).is_within("bfloat16"):
                found.append(row)

        VariantScorer(plain, genome, options()).score(ROWS, watch=watch)
        assert sorted(found) == list(rows)
