"""Signed LD profile regression against its formulas written out, and on traits of known truth."""

import itertools

import numpy as np
import pytest
from genotype_files import made_up_counts
from scipy import stats

from cisray.errors import EvaluationError
from cisray.evaluation.sldp import (
    BlockProfiles,
    BlockSums,
    chunks_of,
    flip_test,
    functional_correlation,
    linkage_scores,
    regress,
)
from cisray.genome.genotypes import standardised

PEOPLE, VARIANTS, BLOCKS, N = 120, 50, 40, 20_000.0
VARIANCE = 2e-4


@pytest.fixture(scope="module")
def blocks() -> list[np.ndarray]:
    return [
        standardised(made_up_counts(PEOPLE, VARIANTS, seed, linkage=0.95))[0]
        for seed in range(BLOCKS)
    ]


@pytest.fixture(scope="module")
def roots(blocks) -> list[np.ndarray]:
    """Square roots of each block's linkage."""
    found = []
    for columns_IV in blocks:
        _, singular, vectors = np.linalg.svd(columns_IV, full_matrices=False)
        found.append((vectors.T * singular) @ vectors)
    return found


def z_scores(columns_IV, root_VV, effect_V, dice) -> np.ndarray:
    """Draw z of a study of N people: N(sqrt(N) R b, R)."""
    through_V = columns_IV.T @ (columns_IV @ effect_V)
    return np.sqrt(N) * through_V + root_VV @ dice.normal(size=len(effect_V))


def sums_of(blocks, annotations, z, backgrounds=None) -> list[BlockSums]:
    found = []
    for at, columns_IV in enumerate(blocks):
        back = np.empty((VARIANTS, 0)) if backgrounds is None else backgrounds[at]
        every = np.ones(VARIANTS, bool)
        profiles = BlockProfiles.of(columns_IV, every, back, annotations[at])
        found.append(profiles.sums(z[at], np.full(VARIANTS, N), VARIANCE))
    return found


def simulate(blocks, roots, seed: int, mu: float, tracks: int = 1):
    """Annotations of unit variance, and z of effects mu v + noise of the polygenic variance."""
    dice = np.random.default_rng(seed)
    annotations = [dice.normal(size=(VARIANTS, tracks)) for _ in blocks]
    spread = np.sqrt(VARIANCE - mu**2)
    z = [
        z_scores(c, r, mu * v[:, 0] + dice.normal(0, spread, VARIANTS), dice)
        for c, r, v in zip(blocks, roots, annotations, strict=True)
    ]
    return annotations, z


def test_sums_are_those_of_whole_matrices(blocks, roots) -> None:
    """With a background, some variants without z, and the inverse on the leading eigenvectors."""
    dice = np.random.default_rng(3)
    columns_IV, typed_V = blocks[0], dice.random(VARIANTS) < 0.7
    back_VB, v_VT = dice.normal(size=(VARIANTS, 2)), dice.normal(size=(VARIANTS, 3))
    z_V, people_V = dice.normal(size=typed_V.sum()), dice.uniform(5_000, 9_000, typed_V.sum())
    sums = BlockProfiles.of(columns_IV, typed_V, back_VB, v_VT).sums(z_V, people_V, VARIANCE)
    whole_VV = np.corrcoef(columns_IV.T)
    typed_VV = whole_VV[np.ix_(typed_V, typed_V)]
    value, vector = np.linalg.eigh(typed_VV)
    value, vector = value[::-1], vector[:, ::-1]
    rank = next(k for k in range(len(value)) if value[: k + 1].sum() >= 0.95 * value.sum()) + 1
    weight = np.diag(1 / (VARIANCE * value[:rank] ** 2 + value[:rank] / people_V.mean()))
    inverse = vector[:, :rank] @ weight @ vector[:, :rank].T
    a_V = z_V / np.sqrt(people_V)
    back, profile = whole_VV[typed_V] @ back_VB, whole_VV[typed_V] @ v_VT
    np.testing.assert_allclose(sums.trait_T, profile.T @ inverse @ a_V, rtol=1e-8)
    np.testing.assert_allclose(sums.trait_B, back.T @ inverse @ a_V, rtol=1e-8)
    np.testing.assert_allclose(sums.own_T, np.diag(profile.T @ inverse @ profile), rtol=1e-8)
    np.testing.assert_allclose(sums.cross_TB, profile.T @ inverse @ back, rtol=1e-8)
    np.testing.assert_allclose(sums.background_BB, back.T @ inverse @ back, rtol=1e-8)
    assert sums.variants == typed_V.sum()


def test_estimates_are_those_of_least_squares_with_the_background(blocks, roots) -> None:
    annotations, z = simulate(blocks, roots, 1, 0.004, tracks=3)
    dice = np.random.default_rng(9)
    backgrounds = [dice.normal(size=(VARIANTS, 2)) for _ in blocks]
    backgrounds = [np.column_stack([b, np.zeros(VARIANTS)]) for b in backgrounds]
    sums = sums_of(blocks, annotations, z, backgrounds)
    found = regress(sums)

    def slope(chosen: list[BlockSums], at: int) -> float:
        whole = np.zeros((3, 3))
        whole[:2, :2] = sum(s.background_BB[:2, :2] for s in chosen)
        whole[2, :2] = whole[:2, 2] = sum(s.cross_TB[at, :2] for s in chosen)
        whole[2, 2] = sum(s.own_T[at] for s in chosen)
        right = [*sum(s.trait_B[:2] for s in chosen), sum(s.trait_T[at] for s in chosen)]
        return np.linalg.solve(whole, right)[-1]

    for at in range(3):
        assert found.mu_T[at] == pytest.approx(slope(sums, at))
        without = [slope(sums[:k] + sums[k + 1 :], at) for k in range(BLOCKS)]
        error = np.sqrt((BLOCKS - 1) * np.mean((without - np.mean(without)) ** 2))
        assert found.error_T[at] == pytest.approx(error)
    # The score is what is left of products after the background is out of both sides.
    own = sum(s.own_T for s in sums) - np.array(
        [
            (c := sum(s.cross_TB[at, :2] for s in sums))
            @ np.linalg.solve(sum(s.background_BB[:2, :2] for s in sums), c)
            for at in range(3)
        ]
    )
    np.testing.assert_allclose(found.score_GT.sum(axis=0) / own, found.mu_T)


def test_turning_an_annotation_turns_z_and_mu_exactly(blocks, roots) -> None:
    annotations, z = simulate(blocks, roots, 2, 0.004)
    both = [np.column_stack([v, -v]) for v in annotations]
    found = regress(sums_of(blocks, both, z))
    tested = flip_test(found.score_GT, flips=20_000, seed=1)
    assert found.mu_T[0] == -found.mu_T[1] != 0
    assert tested.z_T[0] == -tested.z_T[1] != 0
    assert tested.p_T[0] == tested.p_T[1]


def test_nothing_planted_gives_uniform_p_values(blocks, roots) -> None:
    p, z_jackknife = [], []
    for seed in range(40):
        annotations, z = simulate(blocks, roots, seed, 0.0, tracks=4)
        found = regress(sums_of(blocks, annotations, z))
        p += flip_test(found.score_GT, flips=2_000, seed=seed).p_T.tolist()
        z_jackknife += (found.mu_T / found.error_T).tolist()
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.05)
    assert np.std(z_jackknife) == pytest.approx(1, abs=0.15)


def test_a_planted_effect_is_found_with_its_sign_and_size(blocks, roots) -> None:
    for mu in (0.006, -0.006):
        found = []
        for seed in range(24):
            annotations, z = simulate(blocks, roots, seed, mu)
            regression = regress(sums_of(blocks, annotations, z))
            found.append((regression.mu_T[0], regression.error_T[0]))
            tested = flip_test(regression.score_GT, flips=2_000, seed=0)
            assert np.sign(tested.z_T[0]) == np.sign(mu)
            assert tested.p_T[0] < 0.01
        values, errors = np.array(found).T
        assert values.mean() == pytest.approx(mu, abs=4 * values.std() / np.sqrt(len(values)))
        assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.35)
        covered = np.abs(values - mu) < 1.96 * errors
        assert covered.mean() >= 0.8


def test_few_chunks_have_every_flip_and_a_least_p() -> None:
    dice = np.random.default_rng(0)
    score_GT = np.column_stack([dice.normal(size=8), np.arange(1.0, 9), np.zeros(8)])
    tested = flip_test(score_GT, flips=1_000, seed=0)
    assert tested.exact
    assert (tested.draws_T == 256).all()
    assert tested.least == 2 / 256
    signs = np.array(list(itertools.product([-1, 1], repeat=8)))
    sums = np.abs(signs @ score_GT)
    expected = (sums >= np.abs(score_GT.sum(axis=0)) - 1e-12).mean(axis=0)
    np.testing.assert_array_equal(tested.p_T, expected)
    assert tested.p_T.tolist()[1:] == [2 / 256, 1.0]
    assert tested.z_T[1] == pytest.approx(stats.norm.isf(1 / 256))
    assert tested.z_T[2] == 0


def test_drawn_flips_are_near_all_of_them_and_follow_the_seed() -> None:
    dice = np.random.default_rng(5)
    score_GT = np.abs(dice.normal(size=(21, 3))) * dice.choice([-1, 1], (21, 3), p=[0.3, 0.7])
    tested = flip_test(score_GT, flips=200_000, seed=3)
    assert not tested.exact
    assert (tested.draws_T == 98_304).all()
    again = flip_test(score_GT, flips=200_000, seed=3)
    np.testing.assert_array_equal(tested.p_T, again.p_T)
    alone = flip_test(score_GT[:, [1]], flips=200_000, seed=3)
    assert alone.p_T[0] == tested.p_T[1]
    # The last chunk's sign is of no matter to sizes of sums: 2^20 of them are all.
    signs = 1 - 2 * (np.arange(2**20)[:, None] >> np.arange(20) & 1)
    sums = np.abs(signs @ score_GT[:20] + score_GT[20])
    expected = (sums >= np.abs(score_GT.sum(axis=0))).mean(axis=0)
    np.testing.assert_allclose(tested.p_T, expected, atol=4 * np.sqrt(0.25 / 98_304))


def test_chunks_hold_neighbours_and_about_as_many_variants() -> None:
    def block(variants: int) -> BlockSums:
        one = np.array([float(variants)])
        return BlockSums(variants, one, one, one[:, None], one[:, None], one)

    sums = [block(variants) for variants in (10, 10, 10, 10, 40, 1, 1, 38, 0, 5)]
    found = chunks_of(sums, 3)
    assert [c.variants for c in found] == [40, 42, 43]
    assert [c.trait_T[0] for c in found] == [40, 42, 43]
    assert chunks_of(sums, 10) == sums
    assert len(chunks_of(sums, 300)) == 10


def test_ld_scores_are_unbiased_sums_of_squares() -> None:
    columns_IV, _ = standardised(made_up_counts(PEOPLE, 600, 4))
    squares = np.corrcoef(columns_IV.T) ** 2
    expected = (squares - (1 - squares) / (PEOPLE - 2)).sum(axis=0)
    np.testing.assert_allclose(linkage_scores(columns_IV), expected)


def test_functional_correlation_follows_its_definition() -> None:
    # r_f = mu sqrt(|v|² / h2): 0.01 sqrt(400 / 0.25) = 0.4; its error 0.1; 0.16 - 0.01.
    assert functional_correlation(0.01, 0.0025, 400.0, 0.25) == pytest.approx((0.4, 0.1, 0.15))


def test_one_block_and_a_constant_annotation_have_no_number(blocks, roots) -> None:
    annotations, z = simulate(blocks, roots, 0, 0.0)
    sums = sums_of(blocks, [np.column_stack([v, np.zeros(VARIANTS)]) for v in annotations], z)
    with pytest.raises(EvaluationError, match="1 block has z-scores"):
        regress(sums[:1])
    found = regress(sums)
    assert np.isfinite(found.mu_T[0])
    assert np.isnan(found.mu_T[1])
    assert np.isnan(flip_test(np.full((30, 1), np.nan), flips=1_000, seed=0).p_T[0])
