"""SuSiE against what is known in closed form, and against the model fitted to people directly."""

from dataclasses import replace

import numpy as np
import pytest
from genotype_files import made_up_counts
from scipy import optimize, stats

from cisray.errors import EvaluationError
from cisray.evaluation.credible_sets import credible_sets, least_correlation
from cisray.evaluation.finemap_rows import correlations
from cisray.evaluation.linkage_check import Spectrum, check_linkage, mismatch, shrunken
from cisray.evaluation.susie import Evidence, SusieSettings, best_prior, fit_susie
from cisray.genome.genotypes import standardised

PEOPLE, VARIANTS = 200, 60


def people(seed: int, causal: dict[int, float]) -> tuple[np.ndarray, np.ndarray]:
    """Genotypes with columns of length 1, and a trait of mean 0 and length 1."""
    columns_IV, _ = standardised(made_up_counts(PEOPLE, VARIANTS, seed))
    dice = np.random.default_rng(seed + 1_000)
    trait_I = dice.normal(size=PEOPLE)
    for at, effect in causal.items():
        trait_I += effect * columns_IV[:, at] * np.sqrt(PEOPLE)
    trait_I -= trait_I.mean()
    return columns_IV, trait_I / np.linalg.norm(trait_I)


def evidence(columns_IV: np.ndarray, trait_I: np.ndarray) -> Evidence:
    return Evidence(columns_IV.T @ trait_I, PEOPLE, columns_IV)


def fit_to_people(x: np.ndarray, y: np.ndarray, effects: int, rounds: int) -> dict[str, np.ndarray]:
    """The algorithm of Wang et al. (2020), with genotypes and residuals of people.

    The model is y = X b + e with columns of squared length n - 1.
    """
    n, p = x.shape
    d, sigma2 = n - 1, 1.0
    alpha, mu, mu2 = (np.zeros((effects, p)) for _ in range(3))
    prior = np.full(effects, 0.2)
    for _ in range(rounds):
        for k in range(effects):
            left = y - x @ (np.delete(alpha, k, 0) * np.delete(mu, k, 0)).sum(axis=0)
            b, s2 = x.T @ left / d, sigma2 / d

            def logs(v: float, b: np.ndarray = b, s2: float = s2) -> np.ndarray:
                """Log density of the estimates with an effect, less that without."""
                with_v, without = (-0.5 * (np.log(u) + b * b / u) for u in (v + s2, s2))
                return with_v - without

            def unlikely(log_v: float, logs=logs) -> float:
                return -np.log(np.mean(np.exp(logs(np.exp(log_v)))))

            grid = np.linspace(-30, 15, 31)
            best = grid[np.argmin([unlikely(v) for v in grid])]
            found = optimize.minimize_scalar(
                unlikely, bounds=(best - 1.5, best + 1.5), method="bounded",
                options={"xatol": 1e-9},
            )  # fmt: skip
            prior[k] = np.exp(found.x) if found.fun < 0 else 0.0
            weight = np.exp(logs(prior[k]))
            alpha[k] = weight / weight.sum()
            post = 1 / (1 / prior[k] + 1 / s2) if prior[k] else 0.0
            mu[k], mu2[k] = post * b / s2, post + (post * b / s2) ** 2
        fitted = x @ (alpha * mu).sum(axis=0)
        extra = sum(
            d * (alpha[k] @ mu2[k]) - ((x @ (alpha[k] * mu[k])) ** 2).sum() for k in range(effects)
        )
        sigma2 = (((y - fitted) ** 2).sum() + extra) / n
    pip = 1 - np.prod(1 - alpha * (prior > 1e-9)[:, None], axis=0)
    return {"pip": pip, "effect": (alpha * mu).sum(axis=0), "sigma2": np.array(sigma2)}


@pytest.mark.parametrize("seed", range(2))
def test_summary_statistics_in_sample_equal_people(seed: int) -> None:
    columns_IV, trait_I = people(seed, {10: 0.6, 40: -0.5})
    scale = np.sqrt(PEOPLE - 1)
    expected = fit_to_people(columns_IV * scale, trait_I * scale, effects=3, rounds=120)
    # z of every variant alone, as a study reports them: t of scipy's regression.
    z_V = np.array(
        [(f := stats.linregress(column, trait_I)).slope / f.stderr for column in columns_IV.T]
    )
    told = Evidence(correlations(z_V, PEOPLE), PEOPLE, columns_IV)
    settings = SusieSettings(effects=3, tolerance=1e-13, iterations=200)
    found = fit_susie(told, settings)
    np.testing.assert_allclose(found.inclusion_V, expected["pip"], atol=2e-5)
    np.testing.assert_allclose(found.effect_V, expected["effect"], atol=2e-5)
    assert found.residual == pytest.approx(float(expected["sigma2"]), abs=2e-5)
    of_people = fit_susie(evidence(columns_IV, trait_I), settings)
    np.testing.assert_allclose(found.inclusion_V, of_people.inclusion_V, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_one_effect_has_wakefields_posterior(seed: int) -> None:
    columns_IV, trait_I = people(seed, {20: 0.4})
    settings = SusieSettings(effects=1, estimate_residual=False)
    fit = fit_susie(evidence(columns_IV, trait_I), settings)
    estimate_V, error = columns_IV.T @ trait_I, 1 / (PEOPLE - 1)
    prior = float(fit.prior_E[0])
    spread = stats.norm(0, np.sqrt(prior + error)), stats.norm(0, np.sqrt(error))
    factor_V = spread[0].pdf(estimate_V) / spread[1].pdf(estimate_V)
    np.testing.assert_allclose(fit.inclusion_V, factor_V / factor_V.sum(), rtol=1e-9)
    np.testing.assert_allclose(fit.mean_EV[0], estimate_V * prior / (prior + error), rtol=1e-12)
    assert fit.log_bayes_factor_E[0] == pytest.approx(np.log(factor_V.mean()))
    others = np.exp(np.linspace(-12, 3, 500))
    likeliest = max(
        np.mean(stats.norm.pdf(estimate_V, 0, np.sqrt(v + error)) / spread[1].pdf(estimate_V))
        for v in others
    )
    assert factor_V.mean() >= likeliest * (1 - 1e-6)


def test_the_bound_of_one_effect_is_the_evidence_itself() -> None:
    columns_IV, trait_I = people(4, {20: 0.4})
    settings = SusieSettings(effects=1, estimate_residual=False)
    fit = fit_susie(evidence(columns_IV, trait_I), settings)
    x, y = columns_IV * np.sqrt(PEOPLE - 1), trait_I * np.sqrt(PEOPLE - 1)
    densities = [
        stats.multivariate_normal.logpdf(
            y, np.zeros(PEOPLE), np.eye(PEOPLE) + fit.prior_E[0] * np.outer(column, column)
        )
        for column in x.T[:VARIANTS]
    ]
    expected = np.logaddexp.reduce(densities) - np.log(VARIANTS)
    assert fit.elbo[-1] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("estimate", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_the_bound_never_falls(seed: int, estimate: bool) -> None:
    columns_IV, trait_I = people(seed, {5: 0.7, 8: -0.7, 50: 0.4} if seed % 2 else {})
    settings = SusieSettings(effects=6, tolerance=-1.0, iterations=15, estimate_residual=estimate)
    fit = fit_susie(evidence(columns_IV, trait_I), settings)
    assert len(fit.elbo) == 15
    assert np.diff(fit.elbo).min() > -1e-8


def test_noise_has_no_credible_set_and_a_strong_effect_has_one() -> None:
    settings = SusieSettings()
    columns_IV, trait_I = people(7, {})
    fit = fit_susie(evidence(columns_IV, trait_I), settings)
    assert not list(credible_sets(fit, columns_IV, coverage=0.95, min_purity=0.5))
    columns_IV, trait_I = people(7, {30: 1.5})
    fit = fit_susie(evidence(columns_IV, trait_I), settings)
    (found,) = credible_sets(fit, columns_IV, coverage=0.95, min_purity=0.5)
    assert 30 in found.variants
    assert found.coverage >= 0.95
    assert fit.effect_V[found.variants].sum() > 0


def test_counting_the_other_allele_turns_effects_and_nothing_else() -> None:
    columns_IV, trait_I = people(3, {10: 0.6, 40: -0.5})
    first = fit_susie(evidence(columns_IV, trait_I), SusieSettings())
    sign_V = np.where(np.arange(VARIANTS) % 3 == 0, -1.0, 1.0)
    second = fit_susie(evidence(columns_IV * sign_V, trait_I), SusieSettings())
    np.testing.assert_allclose(second.inclusion_V, first.inclusion_V, atol=1e-9)
    np.testing.assert_allclose(second.effect_V, first.effect_V * sign_V, atol=1e-9)


def test_a_ridge_is_linkage_less_correlated() -> None:
    columns_IV, trait_I = people(3, {10: 0.6})
    told = evidence(columns_IV, trait_I)
    ridged = Evidence(told.correlation_V, PEOPLE, columns_IV, ridge=0.3)
    linkage_VV = 0.7 * np.corrcoef(columns_IV.T) + 0.3 * np.eye(VARIANTS)
    effect_V = np.random.default_rng(0).normal(size=VARIANTS)
    np.testing.assert_allclose(ridged.linked(effect_V), linkage_VV @ effect_V, atol=1e-10)


def test_best_prior_is_zero_where_nothing_is_there() -> None:
    assert best_prior(np.zeros(5), 0.01, 0.2) == 0.0
    assert best_prior(np.array([0.0, 0.9, 0.0]), 0.01, 0.2) == pytest.approx(0.8, rel=0.02)


def test_of_variants_that_are_the_same_the_first_are_in_the_set() -> None:
    columns_IV, trait_I = people(7, {30: 1.5})
    fit = fit_susie(evidence(columns_IV, trait_I), SusieSettings(effects=1))
    noise_V = 1 + 1e-14 * np.arange(VARIANTS)
    weight_V = np.where(np.arange(VARIANTS) < 40, 0.025, 0.0) * noise_V
    tied = replace(fit, weight_EV=weight_V[None])
    (found,) = credible_sets(tied, columns_IV, coverage=0.95, min_purity=0.0)
    assert found.variants.tolist() == list(range(38))


def test_purity_is_the_least_size_of_a_correlation() -> None:
    columns_IV, _ = people(2, {})
    expected = np.abs(np.corrcoef(columns_IV[:, 3:9].T)).min()
    assert least_correlation(columns_IV[:, 3:9], 0.0) == pytest.approx(expected)
    assert least_correlation(columns_IV[:, [4]], 0.5) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("correlation_V", "count", "told"),
    [([0.1, np.nan], 10, "not a number"), ([0.1], 10, "each variant needs both"),
     ([0.1, 0.2], 2, "3 people")],
)  # fmt: skip
def test_what_is_no_evidence_is_refused(correlation_V, count, told) -> None:
    with pytest.raises(EvaluationError, match=told):
        Evidence(np.array(correlation_V), count, np.eye(5)[:, :2])


@pytest.mark.parametrize("number", [20, 250])
def test_z_scores_are_predicted_as_by_the_whole_matrix(number: int) -> None:
    """With more people than variants, and with more variants than people."""
    columns_IV, _ = standardised(made_up_counts(PEOPLE, number, 5))
    dice = np.random.default_rng(6)
    z_V = columns_IV.T @ dice.normal(size=PEOPLE)
    checked = check_linkage(z_V, PEOPLE, Spectrum.of(columns_IV))
    scaled_V = shrunken(z_V, PEOPLE)
    whole = (1 - checked.share) * columns_IV.T @ columns_IV + checked.share * np.eye(number)
    for at in (0, 7, number - 1):
        others = np.delete(np.arange(number), at)
        slope = np.linalg.solve(whole[np.ix_(others, others)], whole[others, at])
        expected = slope @ scaled_V[others]
        spread = np.sqrt(whole[at, at] - slope @ whole[others, at])
        assert checked.expected_V[at] == pytest.approx(expected, abs=1e-4)
        residual = (scaled_V[at] - expected) / spread
        assert checked.residual_V[at] == pytest.approx(residual, rel=1e-2, abs=1e-3)


@pytest.mark.parametrize(("number", "share"), [(40, 0.02), (40, 0.5), (250, 0.1)])
def test_mismatch_is_the_likeliest_share(number: int, share: float) -> None:
    """Held to the density of the whole matrix on a grid of shares."""
    columns_IV, _ = standardised(made_up_counts(PEOPLE, number, 5))
    linkage_VV, same_VV = columns_IV.T @ columns_IV, np.eye(number)
    dice = np.random.default_rng(6)
    z_V = dice.multivariate_normal(np.zeros(number), (1 - share) * linkage_VV + share * same_VV)
    found = mismatch(z_V, Spectrum.of(columns_IV))

    def likely(s: float) -> float:
        return stats.multivariate_normal.logpdf(
            z_V, np.zeros(number), (1 - s) * linkage_VV + s * same_VV
        )

    assert likely(found) >= max(map(likely, np.linspace(0.004, 0.996, 30))) - 1e-6


def test_exchanged_alleles_are_outliers() -> None:
    columns_IV, _ = standardised(made_up_counts(PEOPLE, VARIANTS, 9, linkage=0.995))
    trait_I = columns_IV[:, 30] * 12 + np.random.default_rng(1).normal(size=PEOPLE)
    trait_I = (trait_I - trait_I.mean()) / np.linalg.norm(trait_I - trait_I.mean())
    r_V = columns_IV.T @ trait_I
    z_V = r_V * np.sqrt((PEOPLE - 2) / (1 - r_V**2))
    spectrum = Spectrum.of(columns_IV)
    assert not check_linkage(z_V, PEOPLE, spectrum).outlier_V.any()
    strong = np.flatnonzero(np.abs(z_V) > 8)
    assert len(strong) > 5
    wrong = strong[[1, 4]]
    z_V[wrong] *= -1
    assert set(np.flatnonzero(check_linkage(z_V, PEOPLE, spectrum).outlier_V)) == set(wrong)
