"""Expression of genes and bins along the genome: how predictions correlate with what is measured.

Knows arrays of genes and tracks, and sums over bins; knows no files. After Avsec et al. (2021): the
logarithm of one plus a gene's sum, standardised across genes for each track, correlated across
genes for each track, and across tracks for each gene; and one correlation per track over all bins.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cisray.errors import EvaluationError
from cisray.evaluation.expression_sums import Moments
from cisray.evaluation.metrics import BOOTSTRAPS, LEVEL, Estimate, Metric, mean_over, student
from cisray.evaluation.observed import Values

EVALUATION = "expression"
ACROSS_GENES, ACROSS_TRACKS, OVER_BINS = "gene_pearson_r", "track_pearson_r", "bin_pearson_r"
ALL_TRACKS, ALL_GENES = "all tracks", "all genes"
SHUFFLED = "shuffled genes"
QUARTILES = tuple(f"variance quartile {number}" for number in range(1, 5))
OBSERVED_CONSTANT, CONSTANT = "measured values are constant", "predictions are constant"
FEWEST_TRACKS, FEWEST_BLOCKS = 3, 10
_PIECE = 256
_TINY = 1e-13
_NEARLY_1 = 1 - 1e-12
_ENDS = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
BY_GENES = "bootstrap over genes, Fisher z"


@dataclass(frozen=True, slots=True)
class ExpressionSettings:
    """How many draws make an interval, from which seed, and how few genes make no number."""

    bootstraps: int = BOOTSTRAPS
    seed: int = 0
    min_genes: int = 30


@dataclass(frozen=True, slots=True, eq=False)
class GeneTable:
    """Measured sums of G genes and T tracks, and those predicted by each score; raw scale."""

    genes: tuple[str, ...]
    tracks: tuple[str, ...]
    observed_GT: Values
    predicted: Mapping[str, Values]


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A mean over tracks, and what it is when its `units`, genes or blocks of bins, are redrawn.

    Scores that were judged together have the same draws.
    """

    value: float
    redrawn_D: Values
    units: int


@dataclass(frozen=True, slots=True, eq=False)
class JudgedGenes:
    """Metrics; of each gene the variance of what is measured, its stratum, and R by score.

    Values that are not defined are NaN. `means` are over tracks of R across genes, by score; a
    score without one is not there.
    """

    metrics: list[Metric]
    variance_G: Values
    stratum: tuple[str, ...]
    r_G: dict[str, Values]
    r_T: dict[str, Values]
    means: dict[str, Drawn]


@dataclass(frozen=True, slots=True, eq=False)
class JudgedBins:
    """Metrics of one score over all bins, and the mean over tracks; None where there is none."""

    metrics: list[Metric]
    mean: Drawn | None


def standardised(name: str, sums_GT: Values, genes: Sequence[str], tracks: Sequence[str]) -> Values:
    """Take log(1 + x), and of each track its mean from it and its deviation out of it; NaN for 0/0.

    Raises EvaluationError for values that are not finite, or not above -1.
    """
    bad = np.argwhere(~(np.isfinite(sums_GT) & (sums_GT > -1)))
    if len(bad):
        gene, track = bad[0]
        raise EvaluationError(
            f"{name} has {sums_GT[gene, track]:g} for gene {genes[gene]} and track "
            f"{tracks[track]}, and {len(bad):,} such values: log(1 + x) takes numbers above -1. "
            f"Tracks of the minus strand may be stored as negative: give a scale of -1."
        )
    logs_GT = np.log1p(sums_GT)
    centred_GT = logs_GT - logs_GT.mean(axis=0) if len(logs_GT) else logs_GT
    spread_T = np.sqrt(np.square(centred_GT).mean(axis=0)) if len(logs_GT) else np.ones(len(tracks))
    # Where nothing varies the mean leaves its own rounding behind.
    spread_T[np.ptp(logs_GT, axis=0) == 0 if len(logs_GT) else []] = np.nan
    result: Values = centred_GT / spread_T
    return result


def judge_genes(table: GeneTable, settings: ExpressionSettings) -> JudgedGenes:
    """Correlate across genes for each track, and across tracks for each gene.

    A track whose measured values are constant has no number, for any score; constant predictions
    count as R = 0 in means. Raises EvaluationError as `standardised` does.
    """
    y_GT = standardised("what is measured", table.observed_GT, table.genes, table.tracks)
    variance_G, stratum = _strata(y_GT)
    metrics: list[Metric] = []
    r_G: dict[str, Values] = {}
    r_T: dict[str, Values] = {}
    means: dict[str, Drawn] = {}
    for name, sums_GT in table.predicted.items():
        x_GT = standardised(name, sums_GT, table.genes, table.tracks)
        across, r_T[name], mean = _across_genes(name, x_GT, y_GT, table.tracks, settings)
        metrics += across
        if mean is not None:
            means[name] = mean
        r_G[name] = across_tracks(x_GT, y_GT)
        metrics += _gene_means(name, r_G[name], stratum, _defined(y_GT).sum(), settings)
    return JudgedGenes(metrics, variance_G, stratum, r_G, r_T, means)


def across_tracks(x_GT: Values, y_GT: Values) -> Values:
    """Correlate every gene's tracks, (G,); NaN where a side is constant, or fewer than 3 tracks.

    Tracks whose measured values are constant do not count; of those whose predictions are constant
    the standardised prediction is 0.
    """
    kept = _defined(y_GT)
    if kept.sum() < FEWEST_TRACKS:
        return np.full(len(y_GT), np.nan)
    x, y = np.nan_to_num(x_GT[:, kept]), y_GT[:, kept]
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    spread_G = np.sqrt(np.square(x).sum(axis=1) * np.square(y).sum(axis=1))
    r_G: Values = np.full(len(y), np.nan)
    np.divide((x * y).sum(axis=1), spread_G, out=r_G, where=spread_G > _TINY)
    return r_G


def _defined(y_GT: Values) -> NDArray[np.bool_]:
    defined: NDArray[np.bool_] = np.logical_not(np.isnan(y_GT).any(axis=0))
    return defined


def _strata(y_GT: Values) -> tuple[Values, tuple[str, ...]]:
    """Give each gene's variance over tracks of what is measured, and its quartile among genes."""
    kept = _defined(y_GT)
    if kept.sum() < FEWEST_TRACKS or not len(y_GT):
        return np.full(len(y_GT), np.nan), ("",) * len(y_GT)
    variance_G = y_GT[:, kept].var(axis=1)
    edges = np.quantile(variance_G, [0.25, 0.5, 0.75])
    numbers = np.searchsorted(edges, variance_G, side="left")
    return variance_G, tuple(QUARTILES[number] for number in numbers)


def _across_genes(
    name: str, x_GT: Values, y_GT: Values, tracks: Sequence[str], settings: ExpressionSettings
) -> tuple[list[Metric], Values, Drawn | None]:
    """Correlate across genes track by track, with intervals of a bootstrap over genes."""

    def metric(task: str, estimate: Estimate, control: str = "") -> Metric:
        return Metric(
            evaluation=EVALUATION, task=task, scores=name, metric=ACROSS_GENES,
            estimate=estimate, control=control, seed=settings.seed,
        )  # fmt: skip

    n, kept = len(y_GT), _defined(y_GT)
    reason_T = [_why(*pair) for pair in zip(kept, _defined(x_GT), strict=True)]
    if n < settings.min_genes:
        none = Estimate(None, n, reason=f"fewer than {settings.min_genes} genes")
        undefined_T = np.full(len(tracks), np.nan)
        return [metric(task, none) for task in (*tracks, ALL_TRACKS)], undefined_T, None
    dice = np.random.default_rng(settings.seed)
    drawn_DG = dice.multinomial(n, np.full(n, 1 / n), size=settings.bootstraps)
    x = np.nan_to_num(x_GT)
    r_T = np.where(kept, (x * np.nan_to_num(y_GT)).mean(axis=0), np.nan)
    found, mean_D = [], np.zeros(settings.bootstraps)
    for first in range(0, len(tracks), _PIECE):
        piece = slice(first, first + _PIECE)
        r_DT = _redrawn(x[:, piece], np.nan_to_num(y_GT[:, piece]), drawn_DG)
        mean_D += r_DT[:, kept[piece]].sum(axis=1)
        for at, task in enumerate(tracks[piece]):
            told = reason_T[first + at]
            estimate = _with_interval(float(r_T[first + at]), n, r_DT[:, at], n, BY_GENES)
            found.append(metric(task, Estimate(None, n, reason=told) if told else estimate))
    mean, told_mean = None, Estimate(None, n, reason=OBSERVED_CONSTANT)
    if kept.any():
        mean = Drawn(float(r_T[kept].mean()), mean_D / int(kept.sum()), n)
        told_mean = _with_interval(mean.value, n, mean.redrawn_D, n, BY_GENES)
    found.append(metric(ALL_TRACKS, told_mean))
    found.append(metric(ALL_TRACKS, _shuffled(x, y_GT, kept, dice), SHUFFLED))
    return found, r_T, mean


def _why(observed_varies: bool, predicted_varies: bool) -> str:
    if not observed_varies:
        return OBSERVED_CONSTANT
    return "" if predicted_varies else CONSTANT


def _with_interval(r: float, n: int, drawn_D: Values, units: int, method: str) -> Estimate:
    """Give R of n rows the interval of redrawn ones, symmetric in Fisher's z.

    Half of it is Student's t of `units` less one times the deviation of what was drawn: percentiles
    of few units would be too narrow.
    """
    if abs(r) > _NEARLY_1:
        return Estimate(r, n, reason="no interval of a perfect correlation")
    z_D = np.arctanh(np.clip(drawn_D, -_NEARLY_1, _NEARLY_1))
    half = student(units) * float(z_D.std(ddof=1))
    low, high = (math.tanh(math.atanh(r) + side) for side in (-half, half))
    return Estimate(r, n, None, float(drawn_D.std(ddof=1)), low, high, method)


def _redrawn(x_GT: Values, y_GT: Values, drawn_DG: NDArray[np.int64]) -> Values:
    """Correlate redrawn genes: (D, T); 0 where a draw has nothing that varies."""
    weights = drawn_DG / drawn_DG.sum(axis=1, keepdims=True)
    x, y = weights @ x_GT, weights @ y_GT
    xx, yy, xy = (weights @ part for part in (x_GT * x_GT, y_GT * y_GT, x_GT * y_GT))
    spread = (xx - x * x) * (yy - y * y)
    r_DT: Values = np.zeros_like(x)
    np.divide(xy - x * y, np.sqrt(np.maximum(spread, 0)), out=r_DT, where=spread > _TINY)
    return r_DT


def _shuffled(
    x_GT: Values, y_GT: Values, kept: NDArray[np.bool_], dice: np.random.Generator
) -> Estimate:
    """Average R over tracks with predictions given to other genes, over 100 shuffles."""
    x, y = x_GT[:, kept], y_GT[:, kept]
    if not x.shape[1]:
        return Estimate(None, len(x), reason=OBSERVED_CONSTANT)
    means = [float((x[dice.permutation(len(x))] * y).mean()) for _ in range(100)]
    low, high = (float(end) for end in np.quantile(means, _ENDS))
    error = float(np.std(means, ddof=1))
    return Estimate(float(np.mean(means)), len(x), None, error, low, high, "100 shuffles")


def _gene_means(
    name: str, r_G: Values, stratum: Sequence[str], tracks: int, settings: ExpressionSettings
) -> Iterator[Metric]:
    """Average R across tracks over genes: all of them, and by quartile of their variance."""
    labels = np.array(stratum, dtype=object)
    for part in ("all", *QUARTILES):
        held = r_G if part == "all" else r_G[labels == part]
        defined = held[~np.isnan(held)]
        if tracks < FEWEST_TRACKS:
            estimate = Estimate(None, len(held), reason=f"fewer than {FEWEST_TRACKS} tracks")
        elif len(r_G) < settings.min_genes:
            estimate = Estimate(None, len(held), reason=f"fewer than {settings.min_genes} genes")
        else:
            estimate = mean_over("genes", defined, least=-1.0, n=len(defined))
        yield Metric(
            evaluation=EVALUATION, task=ALL_GENES, stratum=part, scores=name, metric=ACROSS_TRACKS,
            estimate=estimate,
        )  # fmt: skip


def judge_bins(
    name: str, moments: Moments, tracks: Sequence[str], settings: ExpressionSettings
) -> JudgedBins:
    """Correlate over all bins, raw scale, one number per track; intervals by blocks of bins.

    Neighbouring bins are alike: whole blocks of them are drawn.
    """
    blocks, n = len(moments.bins), int(moments.bins.sum())
    if not n:
        none = Estimate(None, 0, reason="no bins")
        nothing = [_of_bins(task, name, none, settings) for task in (*tracks, ALL_TRACKS)]
        return JudgedBins(nothing, None)
    r_T, reasons = _over_bins(moments.sums.sum(axis=0), n)
    counted_T = np.array([reason != OBSERVED_CONSTANT for reason in reasons])
    drawn = np.random.default_rng(settings.seed).multinomial(
        blocks, np.full(blocks, 1 / blocks), size=settings.bootstraps
    )
    # Draws one by one: those of all tracks together may not fit into memory.
    r_DT = np.stack([_over_bins(*_redrawn_sums(moments, weights))[0] for weights in drawn])
    found = [
        _of_bins(task, name, _bin_estimate(r, n, blocks, r_DT[:, at], reason), settings)
        for at, (task, r, reason) in enumerate(zip(tracks, r_T.tolist(), reasons, strict=True))
    ]
    mean, told_mean = None, Estimate(None, n, reason=OBSERVED_CONSTANT)
    if counted_T.any():
        mean = Drawn(float(r_T[counted_T].mean()), r_DT[:, counted_T].mean(axis=1), blocks)
        told_mean = _bin_estimate(mean.value, n, blocks, mean.redrawn_D, "")
    return JudgedBins([*found, _of_bins(ALL_TRACKS, name, told_mean, settings)], mean)


def _of_bins(task: str, name: str, estimate: Estimate, settings: ExpressionSettings) -> Metric:
    return Metric(
        evaluation=EVALUATION, task=task, scores=name, metric=OVER_BINS, estimate=estimate,
        seed=settings.seed,
    )  # fmt: skip


def _redrawn_sums(moments: Moments, weights: NDArray[np.int64]) -> tuple[Values, int]:
    sums_ST: Values = np.tensordot(weights.astype(np.float64), moments.sums, axes=1)
    return sums_ST, int(weights @ moments.bins)


def _over_bins(sums_ST: Values, n: int) -> tuple[Values, list[str]]:
    """Give R of each track from its sums over n bins, 0 where something is constant, and why."""
    p, y, pp, yy, py = sums_ST / n
    # A variance that is nothing but the rounding of its two terms is none.
    p_varies, y_varies = pp - p * p > _TINY * pp, yy - y * y > _TINY * yy
    spread = np.sqrt(np.where(p_varies & y_varies, (pp - p * p) * (yy - y * y), 1.0))
    r_T: Values = np.where(p_varies & y_varies, (py - p * y) / spread, 0.0)
    return r_T, [_why(*pair) for pair in zip(y_varies, p_varies, strict=True)]


def _bin_estimate(r: float, n: int, blocks: int, drawn_D: Values, reason: str) -> Estimate:
    if reason:
        return Estimate(None, n, reason=reason)
    if blocks < FEWEST_BLOCKS:
        return Estimate(r, n, reason=f"no interval of fewer than {FEWEST_BLOCKS} blocks of bins")
    method = f"bootstrap over {blocks} blocks of bins, Fisher z"
    return _with_interval(r, n, drawn_D, blocks, method)
