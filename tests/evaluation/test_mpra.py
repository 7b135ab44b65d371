"""Scores of reporter assays: splits, the lasso, the first component, and honest intervals."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.linear_model import LassoCV
from sklearn.model_selection import KFold

from cisray.errors import EvaluationError
from cisray.evaluation.metrics import Estimate, Metric
from cisray.evaluation.mpra import (
    ElementData,
    Features,
    MpraSettings,
    block_part,
    block_pearson,
    blocks_of,
    first_component,
    judge_element,
    lasso,
    random_part,
)
from cisray.evaluation.mpra_summary import over_elements

POSITIONS = np.repeat(np.arange(1_000, 1_080), 3)


def element(seed: int, weight: float, tracks: int = 12) -> ElementData:
    """240 variants whose effects follow two of the features by `weight`."""
    dice = np.random.default_rng(seed)
    values_VT = dice.normal(size=(len(POSITIONS), tracks)) * 1e-3
    effect_V = weight * (values_VT[:, 0] - values_VT[:, 3]) * 1e3
    effect_V += dice.normal(size=len(POSITIONS))
    groups = {"all PC1": np.ones(tracks, bool), "matched PC1": np.zeros(tracks, bool)}
    return ElementData("E", POSITIONS, effect_V, {"m": Features(values_VT, groups)}, {})


def told(metrics: list[Metric]) -> dict[tuple[str, str, str], Estimate]:
    return {(m.scores, m.folds, m.control): m.estimate for m in metrics}


def test_blocks_start_at_the_first_position() -> None:
    assert blocks_of(np.array([107, 100, 119, 120]), 20).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_splits_have_their_share_and_blocks_stay_whole(seed: int) -> None:
    dice = np.random.default_rng(seed)
    assert random_part(241, 0.25, dice).sum() == 60
    blocks = blocks_of(POSITIONS, 8)
    train = block_part(blocks, 0.25, dice)
    assert 60 <= train.sum() < 60 + 24
    assert set(blocks[train]).isdisjoint(blocks[~train])
    assert not block_part(np.zeros(9, int), 0.25, dice).any()


def test_the_lasso_is_that_of_scikit_learn_on_standardised_training_rows() -> None:
    data = element(1, 1.0)
    values_VT = data.features["m"].values_VT
    train_V = random_part(240, 0.5, np.random.default_rng(0))
    predicted = lasso(values_VT, data.effect_V, train_V, seed=7)
    assert np.isnan(predicted[train_V]).all()
    mean, sd = values_VT[train_V].mean(axis=0), values_VT[train_V].std(axis=0)
    scaled = (values_VT - mean) / sd
    model = LassoCV(
        eps=0.01, alphas=100, cv=KFold(10, shuffle=True, random_state=7), max_iter=10_000
    )
    model.fit(scaled[train_V], data.effect_V[train_V])
    np.testing.assert_allclose(predicted[~train_V], model.predict(scaled[~train_V]), rtol=1e-6)


def test_the_first_component_is_that_of_scikit_learn_with_a_stated_sign() -> None:
    dice = np.random.default_rng(2)
    shared = dice.normal(size=50)
    values = shared[:, None] * [1, 2, -0.5, 3] + dice.normal(size=(50, 4))
    score = first_component(np.column_stack([values, np.full(50, 7.0)]))
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    expected = PCA(1).fit_transform(scaled)[:, 0]
    assert abs(np.corrcoef(score, expected)[0, 1]) == pytest.approx(1)
    np.testing.assert_allclose(np.abs(score), np.abs(expected), atol=1e-9)
    assert np.corrcoef(score, scaled.mean(axis=1))[0, 1] > 0
    np.testing.assert_allclose(first_component(-values), -score, atol=1e-9)
    assert first_component(np.ones((5, 2))) is None


def test_correlations_are_scipys_and_blocks_widen_the_interval() -> None:
    dice = np.random.default_rng(3)
    place = np.repeat(np.arange(40), 10)
    x, y = (dice.normal(size=40)[place] + 0.1 * dice.normal(size=400) for _ in range(2))
    found = block_pearson(x, y, place, seed=1)
    assert found.value == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    alone = block_pearson(x, y, np.arange(400), seed=1)
    # Forty numbers said ten times are forty numbers.
    assert found.se / alone.se == pytest.approx(math.sqrt(10), rel=0.25)
    assert alone.se == pytest.approx(1 / math.sqrt(400), rel=0.2)


def test_the_bootstrap_equals_one_that_draws_rows() -> None:
    dice = np.random.default_rng(4)
    place = np.repeat(np.arange(8), [3, 5, 2, 4, 6, 1, 7, 4])
    x, y = dice.normal(size=(2, len(place)))
    found = block_pearson(x, y, place, seed=9, bootstraps=50)
    counts = np.random.default_rng(9).multinomial(8, np.full(8, 1 / 8), size=50)
    drawn = []
    for row in counts:
        rows = np.concatenate([np.flatnonzero(place == b) for b in np.repeat(np.arange(8), row)])
        drawn.append(stats.pearsonr(x[rows], y[rows]).statistic)
    assert (found.ci_low, found.ci_high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]))
    assert found.se == pytest.approx(np.std(drawn, ddof=1))


def test_what_is_there_is_found_and_shuffled_effects_are_not() -> None:
    judged = judge_element(element(5, 2.0), MpraSettings(control=True, block_bp=4))
    numbers = told(judged.metrics)
    for split in ("shuffled", "grouped"):
        assert numbers["m lasso", split, ""].ci_low > 0.7
        control = numbers["m lasso", split, "shuffled labels"]
        assert control.value is None or abs(control.value) < 0.2
        assert numbers["m lasso", split, ""].n == (~judged.train[split]).sum()
    assert numbers["m matched PC1", "", ""].reason == "no such track in the run"
    assert judged.predictions["m lasso, grouped"].shape == (240,)


def test_effects_by_place_do_not_pass_for_effects_of_bases() -> None:
    """Features that know nothing but the position: a random split copies from neighbours."""
    place = (POSITIONS - 1_000) / 80
    features = np.column_stack([np.sin(k * math.pi * place) for k in range(1, 30)])
    dice = np.random.default_rng(6)
    effect = dice.normal(size=8).repeat(10)[POSITIONS - 1_000] + 0.1 * dice.normal(size=240)
    data = ElementData("E", POSITIONS, effect, {"m": Features(features)}, {})
    numbers = told(judge_element(data, MpraSettings(block_bp=10, train_share=0.5)).metrics)
    grouped = numbers["m lasso", "grouped", ""]
    assert numbers["m lasso", "shuffled", ""].value > 0.7
    assert grouped.value is None or grouped.value < 0.5


def test_the_result_follows_from_seed_and_name_alone() -> None:
    data, settings = element(7, 1.0), MpraSettings()
    first, again = (judge_element(data, settings) for _ in range(2))
    assert first.metrics == again.metrics
    other = judge_element(replace(data, name="F"), settings)
    assert (other.train["shuffled"] != first.train["shuffled"]).any()
    turned = replace(data, effect_V=-3 * data.effect_V, external={"x": data.effect_V})
    numbers = told(judge_element(turned, settings).metrics)
    for split in ("shuffled", "grouped"):
        plain = told(first.metrics)["m lasso", split, ""].value
        assert numbers["m lasso", split, ""].value == pytest.approx(plain, abs=1e-6)
    assert numbers["x", "", ""].value == pytest.approx(-1)


def test_too_few_variants_and_bad_values_are_told() -> None:
    data = element(8, 1.0)
    few = replace(
        data,
        pos_V=data.pos_V[:30],
        effect_V=data.effect_V[:30],
        features={"m": Features(data.features["m"].values_VT[:30])},
    )
    reason = told(judge_element(few, MpraSettings()).metrics)["m lasso", "shuffled", ""].reason
    assert reason == "8 training rows, fewer than 20"
    assert block_pearson(np.arange(6.0), np.ones(6), np.arange(6), seed=0).value is None
    close = block_pearson(np.arange(6.0), np.arange(6.0) ** 2, np.zeros(6, int), seed=0)
    assert close.reason == "no interval of fewer than 5 blocks"
    values = data.features["m"].values_VT.copy()
    values[5, 2] = np.nan
    with pytest.raises(EvaluationError, match=r"E: features of m are not finite .* variant 5,"):
        judge_element(replace(data, features={"m": Features(values)}), MpraSettings())


def test_the_mean_counts_a_constant_score_as_zero() -> None:
    estimates = [Estimate(0.6, 10), Estimate(0.3, 20), Estimate(None, 30, reason="no rows")]
    estimates.append(Estimate(None, 40, reason="one side is constant"))
    metrics = [
        Metric(evaluation="mpra", task=f"E{k}", scores="m", metric="pearson_r", estimate=one)
        for k, one in enumerate(estimates)
    ]
    (mean,) = over_elements(metrics)
    half = stats.t.ppf(0.975, 2) * np.std([0.6, 0.3, 0], ddof=1) / math.sqrt(3)
    assert mean.estimate.value == pytest.approx(0.3)
    assert (mean.estimate.ci_low, mean.estimate.n) == (pytest.approx(0.3 - half), 70)
    assert mean.estimate.reason == (
        "1 elements count as 0: one side is constant; 1 elements have no number"
    )
