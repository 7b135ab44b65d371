"""Reporter assays against scores: a lasso of each element, and a score that needs no training.

Knows the effects of an element's variants and features as arrays; knows no files and no runs.
Neighbouring variants resemble each other, in their effects and in their features. Intervals
therefore come from a bootstrap of blocks of neighbours, and beside the published random split of
variants stands one of whole blocks, across which a regression cannot copy from the next base.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import LassoCV
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cisray.errors import EvaluationError
from cisray.evaluation.metrics import BOOTSTRAPS, LEVEL, SHUFFLED, Doubles, Estimate, Metric

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]
EVALUATION = "mpra"
CONSTANT = "one side is constant"
LASSO, MATCHED, EVERY = "lasso", "matched PC1", "all PC1"
RANDOM_SPLIT, BLOCK_SPLIT, GIVEN_SPLIT = "shuffled", "grouped", "given"
INNER_FOLDS = 10
LAMBDAS = 100
# The smallest penalty over the largest: glmnet's, where features outnumber rows.
SMALLEST_PENALTY = 0.01
_MAX_ITERATIONS = 10_000
# Two rows of every inner fold.
FEWEST_TRAINING = 2 * INNER_FOLDS
FEWEST_BLOCKS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class MpraSettings:
    """What decides the numbers beside the data."""

    train_share: float = 0.25
    block_bp: int = 20
    bootstraps: int = BOOTSTRAPS
    seed: int = 0
    control: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Scores of an element's V variants: T features, and which of them a PC takes, by its name."""

    values_VT: Doubles
    groups: Mapping[str, Mask] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class ElementData:
    """An element: 1-based positions and measured effects of V variants, and what predicts them.

    `features` are those of models, by name; `external` are scores that are taken as they are.
    `train_V` is a split that is given; None where there is none.
    """

    name: str
    pos_V: Ints
    effect_V: Doubles
    features: Mapping[str, Features]
    external: Mapping[str, Doubles]
    train_V: Mask | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What came of an element: its numbers, and for each variant block, splits and predictions.

    A lasso's predictions are NaN for the rows that it was trained on, and where there is none.
    """

    metrics: list[Metric]
    block_V: Ints
    train: dict[str, Mask]
    predictions: dict[str, Doubles]


def judge_element(element: ElementData, settings: MpraSettings) -> Judged:
    """Judge all scores of an element, on all rows and on the rows that no lasso is trained on.

    What is drawn depends on the seed and the element's name alone. Raises EvaluationError for
    features or effects that are not finite.
    """
    _check(element)
    block_V = blocks_of(element.pos_V, settings.block_bp)
    train = splits_of(element, block_V, settings)
    metrics, predictions = _judge(element, element.effect_V, block_V, train, settings)
    if settings.control:
        dice = _dice(element.name, settings.seed, 2)
        effect_V = dice.permutation(element.effect_V)
        metrics += _judge(element, effect_V, block_V, train, settings, SHUFFLED)[0]
    return Judged(metrics, block_V, train, predictions)


def _judge(
    element: ElementData,
    effect_V: Doubles,
    block_V: Ints,
    train: Mapping[str, Mask],
    settings: MpraSettings,
    control: str = "",
) -> tuple[list[Metric], dict[str, Doubles]]:
    metrics, predictions = [], {}
    everything = {"": np.zeros(len(effect_V), dtype=np.bool_), **train}
    for split, train_V in everything.items():
        test_V = ~train_V
        for name, score_V in _scores(element, effect_V, split, train_V, settings.seed):
            estimate = _estimate(score_V, effect_V, block_V, test_V, settings)
            if isinstance(score_V, np.ndarray) and not control:
                key = f"{name}, {split}" if split and name.endswith(LASSO) else name
                predictions[key] = score_V
            metrics.append(
                Metric(
                    evaluation=EVALUATION,
                    task=element.name,
                    scores=name,
                    metric="pearson_r",
                    estimate=estimate,
                    folds=split,
                    control=control,
                    seed=settings.seed,
                )
            )
    return metrics, predictions


def _estimate(
    score_V: Doubles | str,
    effect_V: Doubles,
    block_V: Ints,
    test_V: Mask,
    settings: MpraSettings,
) -> Estimate:
    if isinstance(score_V, str):
        return Estimate(None, int(test_V.sum()), reason=score_V)
    return block_pearson(
        score_V[test_V],
        effect_V[test_V],
        block_V[test_V],
        seed=settings.seed,
        bootstraps=settings.bootstraps,
    )


def _scores(
    element: ElementData, effect_V: Doubles, split: str, train_V: Mask, seed: int
) -> Iterator[tuple[str, Doubles | str]]:
    """Give every score by name, or the reason why there is none. A lasso needs a split."""
    for name, features in element.features.items():
        if split:
            yield f"{name} {LASSO}", lasso(features.values_VT, effect_V, train_V, seed=seed)
        for group, chosen_T in features.groups.items():
            pc_V = first_component(features.values_VT[:, chosen_T])
            missing = "no such track in the run" if not chosen_T.any() else "no feature varies"
            yield f"{name} {group}", missing if pc_V is None else pc_V
    yield from element.external.items()


def blocks_of(pos_V: Ints, block_bp: int) -> Ints:
    """Number blocks of neighbours: `block_bp` bases each, from the first position on."""
    if not len(pos_V):
        return pos_V
    numbers: Ints = (pos_V - pos_V.min()) // block_bp
    return numbers


def splits_of(element: ElementData, block_V: Ints, settings: MpraSettings) -> dict[str, Mask]:
    """Choose the training rows: by row and by block, or as given."""
    if element.train_V is not None:
        return {GIVEN_SPLIT: element.train_V}
    share = settings.train_share
    return {
        RANDOM_SPLIT: random_part(len(block_V), share, _dice(element.name, settings.seed, 0)),
        BLOCK_SPLIT: block_part(block_V, share, _dice(element.name, settings.seed, 1)),
    }


def random_part(rows: int, share: float, dice: np.random.Generator) -> Mask:
    """Draw a share of the rows, rounded, without replacement."""
    train_V = np.zeros(rows, dtype=np.bool_)
    train_V[dice.permutation(rows)[: round(share * rows)]] = True
    return train_V


def block_part(block_V: Ints, share: float, dice: np.random.Generator) -> Mask:
    """Draw whole blocks until they hold at least a share of the rows; one block stays at least."""
    train_V = np.zeros(len(block_V), dtype=np.bool_)
    order = dice.permutation(np.unique(block_V))
    for block in order[:-1]:
        if train_V.sum() >= share * len(block_V):
            break
        train_V |= block_V == block
    return train_V


def lasso(values_VT: Doubles, effect_V: Doubles, train_V: Mask, *, seed: int) -> Doubles | str:
    """Predict effects by a lasso of the training rows; NaN for these rows themselves.

    Features are standardised by the training rows' mean and deviation. The penalty is the one of
    100, down to a hundredth of the largest, with the least squared error in ten-fold
    cross-validation of the training rows. Gives the reason where there is nothing to train on.
    """
    count = int(train_V.sum())
    if count < FEWEST_TRAINING:
        return f"{count} training rows, fewer than {FEWEST_TRAINING}"
    if np.ptp(effect_V[train_V]) == 0:
        return "all training effects are equal"
    folds = KFold(INNER_FOLDS, shuffle=True, random_state=seed)
    model = LassoCV(eps=SMALLEST_PENALTY, alphas=LAMBDAS, cv=folds, max_iter=_MAX_ITERATIONS)
    fitted = make_pipeline(StandardScaler(), model).fit(values_VT[train_V], effect_V[train_V])
    predicted_V = np.full(len(effect_V), np.nan)
    if not train_V.all():
        predicted_V[~train_V] = fitted.predict(values_VT[~train_V])
    return predicted_V


def first_component(values_VT: Doubles) -> Doubles | None:
    """Project V rows of standardised features on their first principal component.

    The component's sign is not defined; it is set so that the projection agrees with the mean over
    features: a variant that raises most tracks scores high. No measured effect is looked at.
    Features that do not vary are left out; None where none does.
    """
    if len(values_VT) < 2 or not values_VT.shape[1]:
        return None
    varying_VT = values_VT[:, np.ptp(values_VT, axis=0) > 0]
    if not varying_VT.shape[1]:
        return None
    scaled_VT = StandardScaler().fit_transform(varying_VT)
    left, sizes, _ = np.linalg.svd(scaled_VT, full_matrices=False)
    score_V: Doubles = left[:, 0] * sizes[0]
    return score_V if score_V @ scaled_VT.mean(axis=1) >= 0 else -score_V


def block_pearson(
    x_V: Doubles, y_V: Doubles, block_V: Ints, *, seed: int, bootstraps: int = BOOTSTRAPS
) -> Estimate:
    """Estimate Pearson's correlation, with the percentiles of a bootstrap of whole blocks.

    Draws in which either side is constant have no correlation and are left out.
    """
    n = len(x_V)
    if n < 2:
        return Estimate(None, n, reason="fewer than two rows")
    if np.ptp(x_V) == 0 or np.ptp(y_V) == 0:
        return Estimate(None, n, reason=CONSTANT)
    r = float(stats.pearsonr(x_V, y_V).statistic)
    numbers, place_V = np.unique(block_V, return_inverse=True)
    if len(numbers) < FEWEST_BLOCKS:
        return Estimate(r, n, reason=f"no interval of fewer than {FEWEST_BLOCKS} blocks")
    drawn = drawn_correlations(stats.zscore(x_V), stats.zscore(y_V), place_V, seed, bootstraps)
    drawn = drawn[~np.isnan(drawn)]
    if len(drawn) < 2:
        return Estimate(r, n, reason="no draw of blocks has a correlation")
    low, high = (float(q) for q in np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return Estimate(r, n, None, float(drawn.std(ddof=1)), low, high, "bootstrap of blocks")


def drawn_correlations(
    x_V: Doubles, y_V: Doubles, place_V: Ints, seed: int, bootstraps: int
) -> Doubles:
    """Draw as many blocks as there are, again and again: correlations from the blocks' sums.

    `place_V` numbers the blocks from 0, `x_V` and `y_V` are standardised. Draws in which either is
    constant are NaN. The same seed draws the same blocks, whatever is correlated.
    """
    blocks = int(place_V.max()) + 1
    moments = (np.ones_like(x_V), x_V, y_V, x_V * x_V, y_V * y_V, x_V * y_V)
    sums = np.stack([np.bincount(place_V, moment, blocks) for moment in moments], axis=1)
    dice = np.random.default_rng(seed)
    counts = dice.multinomial(blocks, np.full(blocks, 1 / blocks), size=bootstraps)
    n, x, y, xx, yy, xy = (counts @ sums).T
    spread = (xx - x * x / n) * (yy - y * y / n)
    defined = spread > np.finfo(np.float64).eps * n * n
    r: Doubles = np.full(bootstraps, np.nan)
    r[defined] = (xy - x * y / n)[defined] / np.sqrt(spread[defined])
    return r


def _dice(name: str, seed: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, purpose, zlib.crc32(name.encode())])


def _check(element: ElementData) -> None:
    held = {"effects": element.effect_V[:, None]}
    held |= {f"features of {n}": f.values_VT for n, f in element.features.items()}
    held |= {f"scores of {n}": values[:, None] for n, values in element.external.items()}
    for name, values in held.items():
        if len(values) != len(element.pos_V):
            raise EvaluationError(
                f"{element.name} has {len(element.pos_V):,} variants and {name} of {len(values):,}."
            )
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            raise EvaluationError(
                f"{element.name}: {name} are not finite in {len(bad):,} places, the first "
                f"({values[tuple(bad[0])]}) in variant {bad[0][0]:,}, counted from 0: leave those "
                f"rows out, with their reason."
            )
