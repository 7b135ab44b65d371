"""Areas and correlations equal those of scikit-learn and scipy, and their intervals cover."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from cisray.errors import EvaluationError
from cisray.evaluation import metrics
from cisray.evaluation.metrics import (
    Estimate,
    Metric,
    auroc,
    average_precision,
    metrics_table,
    over_folds,
    pearson,
    spearman,
)
from cisray_schemas import METRICS


def drawn(seed: int, n: int = 60, shift: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    dice = np.random.default_rng(seed)
    labels = np.arange(n) % 3 == 0
    # Rounded, so that there are ties.
    return labels, np.round(dice.normal(size=n) + shift * labels, 1)


@pytest.mark.parametrize("seed", range(5))
def test_areas_equal_those_of_scikit_learn(seed: int) -> None:
    labels, scores = drawn(seed)
    assert auroc(labels, scores).value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    precision = average_precision(labels, scores, seed=1, bootstraps=20)
    assert precision.value == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert (precision.n, precision.n_positive) == (60, 20)
    assert precision.ci_low < precision.value < precision.ci_high


@pytest.mark.parametrize("seed", range(3))
def test_delong_is_the_variance_of_all_pairs(seed: int) -> None:
    labels, scores = drawn(seed, n=24)
    above, below = scores[labels], scores[~labels]
    wins = (above[:, None] > below) + 0.5 * (above[:, None] == below)
    by_positive, by_negative = wins.mean(axis=1), wins.mean(axis=0)
    variance = by_positive.var(ddof=1) / len(above) + by_negative.var(ddof=1) / len(below)
    assert auroc(labels, scores).se == pytest.approx(math.sqrt(variance), rel=1e-12)


@given(st.lists(st.integers(-5, 5), min_size=4, max_size=30), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_an_area_turns_with_its_scores_and_ignores_their_scale(scores: list[int], cut: int) -> None:
    labels = np.arange(len(scores)) < cut
    plain = auroc(labels, scores)
    turned = auroc(labels, [-score for score in scores])
    scaled = auroc(labels, [3.5 * score + 7 for score in scores])
    assert plain.value + turned.value == pytest.approx(1)
    assert plain == scaled
    assert 0 <= plain.ci_low <= plain.value <= plain.ci_high <= 1


def test_bootstrapped_precisions_are_those_of_scikit_learn() -> None:
    labels, scores = drawn(0, n=30)
    found = metrics._drawn_precisions(labels, scores, np.random.default_rng(5), 4)
    dice = np.random.default_rng(5)
    order = np.argsort(-scores, kind="stable")
    for value in found:
        times = np.empty(30)
        times[labels[order]] = dice.multinomial(10, np.full(10, 0.1))
        times[~labels[order]] = dice.multinomial(20, np.full(20, 0.05))
        expected = average_precision_score(labels[order], scores[order], sample_weight=times)
        assert value == pytest.approx(expected, abs=1e-12)


def test_intervals_cover_what_they_promise() -> None:
    """Of normal scores one deviation apart the area is Phi(1 / sqrt 2); 400 draws of 90 rows."""
    true, inside = stats.norm.cdf(1 / math.sqrt(2)), 0
    dice = np.random.default_rng(0)
    labels = np.arange(90) < 30
    for _ in range(400):
        found = auroc(labels, dice.normal(size=90) + labels)
        inside += found.ci_low <= true <= found.ci_high
    assert 0.92 <= inside / 400 <= 0.98


def test_separated_classes_have_an_honest_interval() -> None:
    labels = np.arange(20) < 10
    found = auroc(labels, -np.arange(20))
    assert (found.value, found.se, found.ci_high) == (1.0, None, 1.0)
    assert found.ci_method == "Newcombe 4"
    assert 0.7 < found.ci_low < 0.9
    other = auroc(labels, np.arange(20))
    assert (other.value, other.ci_low) == (0.0, 0.0)
    assert other.ci_high == pytest.approx(1 - found.ci_low)


@pytest.mark.parametrize("labels", [[True] * 4, [False] * 4])
def test_one_class_has_no_area_and_a_reason(labels: list[bool]) -> None:
    for estimate in (
        auroc(np.array(labels), [1, 2, 3, 4]),
        average_precision(np.array(labels), [1, 2, 3, 4], seed=0),
    ):
        assert estimate.value is None
        assert estimate.reason.startswith("no negatives" if labels[0] else "no positives")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(EvaluationError, match=r"1 of 3 values are not finite, .* in row 1"):
        auroc(np.array([True, False, True]), [0.0, bad, 1.0])
    with pytest.raises(EvaluationError, match="not finite"):
        pearson([0.0, 1.0, bad], [1.0, 2.0, 3.0])


@pytest.mark.parametrize("seed", range(3))
def test_correlations_equal_those_of_scipy(seed: int) -> None:
    dice = np.random.default_rng(seed)
    x = dice.normal(size=50)
    y = np.round(x + dice.normal(size=50), 1)
    reference = stats.pearsonr(x, y)
    bounds = reference.confidence_interval(0.95)
    found = pearson(x, y)
    assert found.value == pytest.approx(reference.statistic, abs=1e-12)
    assert (found.ci_low, found.ci_high) == pytest.approx((bounds.low, bounds.high), abs=1e-12)
    ranked = spearman(x, y)
    assert ranked.value == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    # Bonett and Wright: wider than Pearson's by sqrt(1 + r² / 2) on the scale of atanh.
    half = math.atanh(ranked.ci_high) - math.atanh(ranked.value)
    assert half == pytest.approx(1.959964 * math.sqrt((1 + ranked.value**2 / 2) / 47), rel=1e-6)


def test_correlations_without_an_answer_say_why() -> None:
    assert pearson([1.0], [2.0]).reason == "fewer than two rows"
    assert pearson([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]).value is None
    assert spearman([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]).ci_low is None
    assert pearson([1.0, 2.0, 4.0], [1.0, 3.0, 2.0]).reason == "no interval of fewer than 4 rows"


def test_folds_average_with_both_errors() -> None:
    values = [0.6, 0.7, 0.65, math.nan, 0.8]
    found = over_folds(values, test_share=1 / 8, n=100, n_positive=50)
    spread = np.std([0.6, 0.7, 0.65, 0.8], ddof=1)
    assert found.value == pytest.approx(0.6875)
    assert found.se == pytest.approx(spread / 2)
    half = stats.t.ppf(0.975, 3) * spread * math.sqrt(1 / 4 + 1 / 7)
    assert (found.ci_low, found.ci_high) == pytest.approx((0.6875 - half, 0.6875 + half))
    mean = metrics.mean_over("tissues", [0.6, 0.7, 0.8], least=0.0, n=9)
    assert (mean.value, mean.se) == pytest.approx((0.7, 0.1 / math.sqrt(3)))
    assert mean.ci_high == pytest.approx(0.7 + stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3))
    assert over_folds([0.9, 1.0], test_share=1 / 8, n=9, n_positive=4).ci_high == 1.0
    assert over_folds([math.nan], test_share=0.1, n=3, n_positive=3).value is None


def test_the_table_has_its_schema_and_order() -> None:
    rows = [
        Metric(evaluation="eqtl", task=task, scores="m", metric="auroc", estimate=Estimate(0.5, 3))
        for task in ("b", "a")
    ]
    table = metrics_table(rows)
    assert table.schema == METRICS.schema
    assert table["task"].to_pylist() == ["a", "b"]
    assert table["n_positive"].null_count == 2
