"""Correlations of genes and bins equal scipy's, and their intervals hold what they promise."""

import numpy as np
import pytest
from scipy import stats

from cisray.errors import EvaluationError
from cisray.evaluation import expression
from cisray.evaluation.expression import (
    ACROSS_GENES,
    ALL_TRACKS,
    CONSTANT,
    OBSERVED_CONSTANT,
    OVER_BINS,
    QUARTILES,
    ExpressionSettings,
    GeneTable,
    judge_bins,
    judge_genes,
)
from cisray.evaluation.expression_compared import compare_expression, over_draws
from cisray.evaluation.expression_sums import Moments

FEW = ExpressionSettings(bootstraps=50, seed=3, min_genes=5)


def drawn(seed: int = 1, genes: int = 40, tracks: int = 6) -> GeneTable:
    dice = np.random.default_rng(seed)
    level = dice.gamma(2, 20, size=(genes, 1))
    observed = level * dice.gamma(3, 1, size=(genes, tracks))
    predicted = observed * dice.lognormal(0, 0.7, size=(genes, tracks))
    return table(observed, m=predicted)


def table(observed: np.ndarray, **predicted: np.ndarray) -> GeneTable:
    genes, tracks = observed.shape
    names = (tuple(f"g{i}" for i in range(genes)), tuple(f"t{i:04d}" for i in range(tracks)))
    return GeneTable(*names, observed, predicted)


def by_hand(one: GeneTable, name: str = "m") -> tuple[list[float], list[float]]:
    """R of each track across genes and of each gene across tracks, by loops and scipy."""
    x, y = (
        [[np.log(1 + v) for v in row] for row in sums.tolist()]
        for sums in (one.predicted[name], one.observed_GT)
    )
    genes, tracks = len(one.genes), len(one.tracks)
    z = {}
    for side, rows in (("x", x), ("y", y)):
        columns = [stats.zscore([rows[g][t] for g in range(genes)]) for t in range(tracks)]
        z[side] = [[columns[t][g] for t in range(tracks)] for g in range(genes)]
    across_genes = [
        stats.pearsonr([r[t] for r in x], [r[t] for r in y]).statistic for t in range(tracks)
    ]
    across_tracks = [stats.pearsonr(z["x"][g], z["y"][g]).statistic for g in range(genes)]
    return across_genes, across_tracks


def metrics_of(found, metric: str, control: str = "") -> dict[tuple[str, str], object]:
    return {
        (m.task, m.stratum): m.estimate
        for m in found
        if m.metric == metric and m.control == control
    }


def test_numbers_equal_those_of_scipy_by_loops() -> None:
    one = drawn()
    judged = judge_genes(one, FEW)
    across_genes, across_tracks = by_hand(one)
    np.testing.assert_allclose(judged.r_T["m"], across_genes, rtol=1e-10)
    np.testing.assert_allclose(judged.r_G["m"], across_tracks, rtol=1e-9)
    told = metrics_of(judged.metrics, ACROSS_GENES)
    assert told[ALL_TRACKS, "all"].value == pytest.approx(np.mean(across_genes))
    assert [told[t, "all"].value for t in one.tracks] == pytest.approx(across_genes)
    means = metrics_of(judged.metrics, "track_pearson_r")
    assert means["all genes", "all"].value == pytest.approx(np.mean(across_tracks))
    y = stats.zscore(np.log1p(one.observed_GT), axis=0)
    variance = y.var(axis=1)
    np.testing.assert_allclose(judged.variance_G, variance)
    order = np.argsort(variance)
    for number, name in enumerate(QUARTILES):
        members = order[10 * number : 10 * number + 10]
        assert {judged.stratum[g] for g in members} == {name}
        assert means["all genes", name].value == pytest.approx(
            np.array(across_tracks)[members].mean()
        )


def test_a_gene_whose_prediction_is_another_s_changes_the_numbers() -> None:
    one = drawn()
    moved = np.roll(one.predicted["m"], 1, axis=0)
    other = judge_genes(table(one.observed_GT, m=moved), FEW)
    assert other.r_T["m"].mean() < 0.5 < judge_genes(one, FEW).r_T["m"].mean()


def test_scale_of_predictions_and_order_of_genes_do_not_matter() -> None:
    one = drawn()
    order = np.random.default_rng(5).permutation(len(one.genes))
    turned = table(one.observed_GT[order], m=one.predicted["m"][order])
    a, b = judge_genes(one, FEW), judge_genes(turned, FEW)
    np.testing.assert_allclose(a.r_T["m"], b.r_T["m"], rtol=1e-10)
    np.testing.assert_allclose(a.r_G["m"][order], b.r_G["m"], rtol=1e-9)


def test_constants_are_told_apart() -> None:
    """What is not measured to vary has no number; what does not predict counts as 0."""
    one = drawn(tracks=5)
    observed, predicted = one.observed_GT.copy(), one.predicted["m"].copy()
    observed[:, 1], predicted[:, 3] = 7.25, 3.5
    judged = judge_genes(table(observed, m=predicted), FEW)
    told = metrics_of(judged.metrics, ACROSS_GENES)
    assert (told["t0001", "all"].value, told["t0001", "all"].reason) == (None, OBSERVED_CONSTANT)
    assert (told["t0003", "all"].value, told["t0003", "all"].reason) == (None, CONSTANT)
    held = [by_hand(one)[0][t] for t in (0, 2, 4)]
    assert told[ALL_TRACKS, "all"].value == pytest.approx(sum(held) / 4)
    assert told[ALL_TRACKS, "all"].ci_low < sum(held) / 4 < told[ALL_TRACKS, "all"].ci_high


def test_too_few_genes_or_tracks_have_a_reason_and_no_number() -> None:
    few = judge_genes(drawn(genes=4), FEW)
    assert {m.estimate.value for m in few.metrics} == {None}
    assert {m.estimate.reason for m in few.metrics} == {"fewer than 5 genes"}
    narrow = judge_genes(drawn(tracks=2), FEW)
    reasons = {m.estimate.reason for m in narrow.metrics if m.metric == "track_pearson_r"}
    assert reasons == {"fewer than 3 tracks"}
    none = judge_genes(table(np.zeros((0, 3)), m=np.zeros((0, 3))), FEW)
    assert {m.estimate.reason for m in none.metrics} == {"fewer than 5 genes"}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, -3.0])
def test_what_has_no_logarithm_is_refused_with_its_place(bad: float) -> None:
    one = drawn()
    one.observed_GT[2, 1] = bad
    with pytest.raises(EvaluationError, match="for gene g2 and track t0001, and 1 such"):
        judge_genes(one, FEW)


def test_shuffled_genes_know_nothing() -> None:
    judged = judge_genes(drawn(genes=300), ExpressionSettings(bootstraps=20))
    (control,) = metrics_of(judged.metrics, ACROSS_GENES, expression.SHUFFLED).values()
    assert control.ci_low < 0 < control.ci_high
    assert abs(control.value) < 0.02


def test_intervals_across_genes_hold_the_truth_19_times_in_20() -> None:
    """Genes of a known correlation, 0.6 of logarithms, in two tracks that are alike."""
    dice, held, held_mean, times = np.random.default_rng(8), 0, 0, 200
    for _ in range(times):
        common = dice.normal(size=(60, 1))
        y = common + 0.5 * dice.normal(size=(60, 2))
        x = 0.6 * y / np.sqrt(1.25) + 0.8 * dice.normal(size=(60, 2))
        one = table(np.exp(y + 4) - 1 + 1e-9, m=np.exp(x + 4) - 1 + 1e-9)
        told = metrics_of(judge_genes(one, ExpressionSettings(200, 1)).metrics, ACROSS_GENES)
        first, mean = told["t0000", "all"], told[ALL_TRACKS, "all"]
        held += first.ci_low <= 0.6 <= first.ci_high
        held_mean += mean.ci_low <= 0.6 <= mean.ci_high
    # Binomial of 200 and 0.95: from 181 to 197 in 99 of 100 times.
    assert 181 <= held <= 197
    assert 181 <= held_mean <= 197


def moments(p: np.ndarray, y: np.ndarray, blocks: int) -> Moments:
    parts = np.array_split(np.arange(len(p)), blocks)
    sums = [[q[i].sum(axis=0) for q in (p, y, p * p, y * y, p * y)] for i in parts]
    return Moments(np.array(sums), np.array([len(i) for i in parts]))


def test_bins_correlate_as_by_scipy_over_all_of_them() -> None:
    dice = np.random.default_rng(2)
    y = dice.gamma(0.5, 30, size=(777, 3))
    p = y + dice.gamma(1, 20, size=(777, 3))
    p[:, 2] = 4.0
    found = judge_bins("m", moments(p, y, 20), ("a", "b", "c"), FEW).metrics
    told = metrics_of(found, OVER_BINS)
    r = [stats.pearsonr(p[:, t], y[:, t]).statistic for t in range(2)]
    assert [told[t, "all"].value for t in "ab"] == pytest.approx(r, rel=1e-10)
    assert (told["c", "all"].value, told["c", "all"].reason) == (None, CONSTANT)
    assert told[ALL_TRACKS, "all"].value == pytest.approx(sum(r) / 3)
    assert told["a", "all"].n == 777
    assert told["a", "all"].ci_low < r[0] < told["a", "all"].ci_high
    # One correlation over everything is no mean of correlations of blocks.
    each = [stats.pearsonr(p[i, 0], y[i, 0]).statistic for i in np.array_split(np.arange(777), 20)]
    assert told["a", "all"].value != pytest.approx(np.mean(each), abs=1e-3)


def test_intervals_over_bins_know_that_neighbours_are_alike() -> None:
    """Bins in runs of 20 that are alike: Fisher's interval would be far too narrow."""
    dice, held, held_fisher, times = np.random.default_rng(4), 0, 0, 100
    for _ in range(times):
        common, own = (np.repeat(dice.normal(size=(100, 1)), 20, axis=0) for _ in range(2))
        p, y = common, 0.5 * common + np.sqrt(0.75) * own
        found = metrics_of(judge_bins("m", moments(p, y, 50), ("a",), FEW).metrics, OVER_BINS)[
            "a", "all"
        ]
        held += found.ci_low <= 0.5 <= found.ci_high
        half = 1.96 / np.sqrt(2_000 - 3)
        held_fisher += abs(np.arctanh(found.value) - np.arctanh(0.5)) < half
    assert held >= 88  # of 100, whose 0.95 it is
    assert held_fisher < 60


def test_few_blocks_have_no_interval() -> None:
    p = np.arange(30.0)[:, None]
    told = judge_bins("m", moments(p, p**2, 9), ("a",), FEW).metrics[0].estimate
    assert told.value is not None
    assert told.ci_low is None
    assert "fewer than 10 blocks" in told.reason
    empty = Moments(np.zeros((0, 5, 1)), np.zeros(0, np.int64))
    assert judge_bins("m", empty, ("a",), FEW).metrics[0].estimate.reason == "no bins"


def two_scores(seed: int, better: float) -> GeneTable:
    """Two scores of 80 genes that follow the measures alike, or the first more by `better`."""
    dice = np.random.default_rng(seed)
    y, one, other = (dice.normal(size=(80, 4)) for _ in range(3))
    logs = {"a": y + one * (1 - better), "b": y + other}
    return table(np.exp(y + 5), **{name: np.exp(x + 5) for name, x in logs.items()})


def p_values(seed: int, better: float) -> dict[str, float | None]:
    judged = judge_genes(two_scores(seed, better), ExpressionSettings(200, seed))
    return {c.metric: c.result.p_value for c in compare_expression(judged, {})}


def test_equal_scores_seldom_differ_and_better_ones_do() -> None:
    alike = [p_values(seed, 0.0) for seed in range(100)]
    for metric in (ACROSS_GENES, "track_pearson_r"):
        # Of 100 and 0.05 more than 11 come once in 200 times.
        assert sum(found[metric] < 0.05 for found in alike) <= 11
    assert all(p < 0.01 for p in p_values(1, 0.6).values())


def test_differences_are_those_of_the_numbers_and_turn_with_the_order() -> None:
    one = two_scores(3, 0.3)
    turned = table(one.observed_GT, b=one.predicted["b"], a=one.predicted["a"])
    p, y = one.predicted["a"], one.observed_GT
    bins = {
        name: judge_bins(name, moments(values, y, 16), one.tracks, FEW).mean
        for name, values in (("a", p), ("b", one.predicted["b"]), ("c", p))
    }
    for given, sign in ((one, 1), (turned, -1)):
        judged = judge_genes(given, FEW)
        found = {c.metric: c for c in compare_expression(judged, bins)}
        assert set(found) == {ACROSS_GENES, "track_pearson_r", OVER_BINS}
        means = metrics_means(judged)
        for metric in (ACROSS_GENES, "track_pearson_r"):
            difference = sign * (means["a", metric] - means["b", metric])
            assert found[metric].result.difference == pytest.approx(difference)
        over_bins = sign * (bins["a"].value - bins["b"].value)
        assert found[OVER_BINS].result.difference == pytest.approx(over_bins)
        r = stats.ttest_rel(judged.r_G["a"], judged.r_G["b"])
        assert found["track_pearson_r"].result.p_value == pytest.approx(r.pvalue)
    same = over_draws(bins["a"], bins["c"])
    assert (same.difference, same.p_value, same.reason) == (0, None, "equal in every draw")
    assert over_draws(None, bins["a"]).reason == "undefined for one of the two"


def metrics_means(judged) -> dict[tuple[str, str], float]:
    return {
        (m.scores, m.metric): m.estimate.value
        for m in judged.metrics
        if m.task.startswith("all") and m.stratum == "all" and not m.control
    }
