"""Paired bootstraps against scikit-learn and scipy, and their p-values on known truths."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score

from cisray.evaluation.compared import Evaluated, pairs_of_scores
from cisray.evaluation.metrics import average_precision, precision_of_draws
from cisray.evaluation.mpra import block_pearson
from cisray.evaluation.paired import correlation_paired, precision_paired


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.integers(1, 40))
def test_precision_of_draws_is_scikit_learns_with_ties_and_repetitions(seed, levels) -> None:
    dice = np.random.default_rng(seed)
    labels_V = dice.permutation(np.arange(40) < 9)
    scores_V = dice.integers(0, levels, 40).astype(float)
    times_V = dice.integers(0, 3, 40).astype(float)
    times_V[np.flatnonzero(labels_V)[0]] = 1
    told = precision_of_draws(labels_V, scores_V)(times_V)
    repeated = np.repeat(np.arange(40), times_V.astype(int))
    assert told == pytest.approx(average_precision_score(labels_V[repeated], scores_V[repeated]))


def judged(seed: int, *, better: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and two scores that share most of their noise; the first is better by so much."""
    dice = np.random.default_rng(seed)
    labels_V = np.arange(200) < 25
    shared_V = dice.normal(size=200) + 1.2 * labels_V
    return (
        labels_V,
        shared_V + better * labels_V + 0.3 * dice.normal(size=200),
        (shared_V + 0.3 * dice.normal(size=200)),
    )


def test_a_difference_of_precisions_is_that_of_the_rows_and_paired() -> None:
    labels_V, first_V, second_V = judged(1, better=0.5)
    found = precision_paired(labels_V, first_V, second_V, seed=0, bootstraps=400)
    expected = average_precision_score(labels_V, first_V) - average_precision_score(
        labels_V, second_V
    )
    assert found.difference == pytest.approx(expected)
    assert (found.pairs, found.test) == (200, "bootstrap within classes")
    # Scores that share their noise differ by less than two independent ones would.
    alone = [
        average_precision(labels_V, x_V, seed=0, bootstraps=400).se for x_V in (first_V, second_V)
    ]
    assert found.se < 0.7 * np.hypot(*alone)
    turned = precision_paired(labels_V, second_V, first_V, seed=0, bootstraps=400)
    assert (turned.difference, turned.p_value) == (-found.difference, found.p_value)
    assert found.p_value < 0.05


def test_equal_scores_are_seldom_told_apart_and_better_ones_often() -> None:
    """Of 60 null tests at 0.05 more than 8 would come by chance with probability 0.001."""
    null = [precision_paired(*judged(s, better=0), seed=s, bootstraps=150) for s in range(60)]
    assert sum(one.p_value < 0.05 for one in null) <= 8
    real = [precision_paired(*judged(s, better=0.8), seed=s, bootstraps=150) for s in range(20)]
    assert sum(one.p_value < 0.05 for one in real) >= 15


def test_the_same_scores_have_no_difference_and_no_p_value() -> None:
    labels_V, first_V, _ = judged(2, better=0)
    found = precision_paired(labels_V, first_V, first_V, seed=0, bootstraps=20)
    assert (found.difference, found.p_value, found.reason) == (0.0, None, "equal in every draw")
    assert precision_paired(labels_V[:26], *[first_V[:26]] * 2, seed=0).reason == (
        "fewer than two rows of a class"
    )


def blocked(seed: int, blocks: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Effects and a score that agree within blocks of nine, and the blocks."""
    dice = np.random.default_rng(seed)
    block_V = np.repeat(np.arange(blocks), 9) * 3 + 7  # any numbers, not from 0
    effect_V = np.repeat(dice.normal(size=blocks), 9) + dice.normal(size=9 * blocks)
    return effect_V, effect_V + np.repeat(dice.normal(size=blocks), 9) * 2, block_V


def test_a_difference_of_correlations_is_scipys_and_draws_blocks() -> None:
    effect_V, first_V, block_V = blocked(3)
    second_V = np.random.default_rng(4).normal(size=len(effect_V))
    found = correlation_paired(effect_V, (first_V, second_V), block_V, seed=0)
    r = [stats.pearsonr(effect_V, x_V).statistic for x_V in (first_V, second_V)]
    assert found.difference == pytest.approx(r[0] - r[1])
    assert found.p_value < 0.05
    # By rows instead of blocks the error would be less.
    by_rows = correlation_paired(effect_V, (first_V, second_V), np.arange(len(effect_V)), seed=0)
    assert found.se > 1.2 * by_rows.se
    # Against a score that nothing is known of, the error is about that of the first alone or more.
    assert found.se > 0.8 * block_pearson(first_V, effect_V, block_V, seed=0).se
    few = correlation_paired(effect_V[:36], (first_V[:36], second_V[:36]), block_V[:36], seed=0)
    assert (few.p_value, few.reason) == (None, "no test of fewer than 5 blocks")
    flat = correlation_paired(effect_V, (first_V, np.ones_like(first_V)), block_V, seed=0)
    assert (flat.difference, flat.reason) == (None, "one side is constant")


def test_equally_good_correlations_are_seldom_told_apart() -> None:
    rejected = 0
    for seed in range(60):
        effect_V, first_V, block_V = blocked(seed)
        second_V = effect_V + np.repeat(np.random.default_rng([seed, 1]).normal(size=40), 9) * 2
        found = correlation_paired(effect_V, (first_V, second_V), block_V, seed=1, bootstraps=200)
        rejected += found.p_value < 0.05
    assert rejected <= 8


def test_scores_of_two_models_meet_whatever_the_models_are_called() -> None:
    def side(model: str, *scores: str) -> Evaluated:
        return Evaluated("enhancers", pl.DataFrame({"scores": [*scores]}), models=(model,))

    first = side("old", "distance", "old gradient", "old attention", "older gradient")
    second = side("new", "distance", "new gradient", "new lasso", "older gradient")
    assert pairs_of_scores(first, second) == [
        ("distance", "distance"),
        ("old gradient", "new gradient"),
        ("older gradient", "older gradient"),
    ]
